//! A test program started again as a process that is spoken to, stopped and killed.
//!
//! The runner of `xtask/lab/rig` is for tests on a runtime; these block, so that nothing of theirs
//! runs beside the processes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::common::wire::HANG;

/// It is killed with this value.
pub(crate) struct Process {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    heard: Vec<String>,
}

impl Process {
    /// Starts this test of this program with these variables; `by` a program that starts the one
    /// behind its arguments, if there is one.
    pub(crate) fn start(
        by: &[&str],
        test: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut command = match by {
            [] => Command::new(program),
            [by, args @ ..] => {
                let mut command = Command::new(by);
                command.args(args).arg(program);
                command
            }
        };
        let mut child = command
            .args(["--ignored", "--exact", "--nocapture", test])
            .envs(variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let stdin = child.stdin.take().expect("it is piped");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let (said, lines) = channel();
        std::thread::spawn(move || {
            stdout
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| said.send(line))
        });
        Self {
            child,
            stdin,
            lines,
            heard: Vec::new(),
        }
    }

    /// Waits until it has said this.
    pub(crate) fn until(&mut self, what: &str) -> String {
        loop {
            let Ok(line) = self.lines.recv_timeout(HANG) else {
                panic!("it has not said {what:?}: {:#?}", self.heard);
            };
            self.heard.push(line.clone());
            if line.contains(what) {
                return line;
            }
        }
    }

    pub(crate) fn say(&mut self, what: &str) {
        // A process that has ended hears nothing.
        drop(writeln!(self.stdin, "{what}"));
    }

    /// `SIGSTOP`, and waits until none of its threads runs.
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
        let stopped = waitpid(Some(Pid::from_child(&self.child)), WaitOptions::UNTRACED);
        let (_, status) = stopped.expect("it is a child").expect("this waits");
        assert!(status.stopped(), "{status:?}");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is there");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
