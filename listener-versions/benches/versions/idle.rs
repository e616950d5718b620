//! The processor time of a process that drains 10 000 idle connections for 60 s, against one that
//! has a timer for each.
//!
//! Servers and their clients are processes of their own, so that each needs no more than 10 000
//! descriptors.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use listener_versions::{Accepted, Update};
use tokio::io::AsyncReadExt;

use crate::config::{Config, listeners, port, runtime};
use measure::{Row, Target};

/// A process of this program. It ends when this is dropped.
struct Part(Child);

impl Part {
    fn start(args: &[&str]) -> (Self, BufReader<std::process::ChildStdout>) {
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.expect("it starts");
        let said = BufReader::new(child.stdout.take().expect("a pipe"));
        (Self(child), said)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

pub(crate) fn rows(quick: bool) -> Vec<Row> {
    let (connections, seconds) = if quick { ("200", "1") } else { ("10000", "60") };
    let designs = ["versions", "timers"].map(|design| {
        let (server, mut said) = Part::start(&["--drain", design, connections, seconds]);
        let mut address = String::new();
        said.read_line(&mut address).expect("a pipe");
        let (holder, _) = Part::start(&["--hold", address.trim(), connections]);
        (server, holder, said)
    });
    let [ours, timers] = designs.map(|(server, holder, mut said)| {
        let mut took = String::new();
        said.read_line(&mut took).expect("a pipe");
        drop((server, holder));
        took.trim().parse::<f64>().expect("seconds")
    });
    vec![Row {
        row: format!("idle: processor time of draining {connections} connections for {seconds} s"),
        unit: "ms",
        value: ours * 1e3,
        floor_name: "two timers for each connection",
        floor: timers * 1e3,
        ratio: ours / timers,
        target: Target::None,
        peers: vec![],
    }]
}

/// Keeps connections open and says nothing.
pub(crate) fn holder(args: &[String]) {
    let port: u16 = args[0].parse().expect("a port");
    let count: usize = args[1].parse().expect("a number");
    let connect = |index: usize| {
        let address = SocketAddr::from(([127, 0, 1, (index % 250 + 1) as u8], port));
        TcpStream::connect(address).expect("it listens")
    };
    let held: Vec<TcpStream> = (0..count).map(connect).collect();
    // Until the one who started it is gone.
    drop(std::io::stdin().read_to_end(&mut Vec::new()));
    drop(held);
}

/// Serves, drains when all are there, and says how many seconds of processor time that took.
pub(crate) fn server(args: &[String]) {
    let with_timers = args[0] == "timers";
    let count: usize = args[1].parse().expect("a number");
    let time = Duration::from_secs(args[2].parse().expect("seconds"));
    let (listeners, driver) = listeners(time);
    let runtime = runtime();
    runtime.block_on(async {
        let (start, started) = tokio::sync::watch::channel(());
        let (sender, mut ended) = tokio::sync::mpsc::unbounded_channel();
        let accepted_before = AtomicUsize::new(0);
        let (opened, mut open) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(driver);
        tokio::spawn(listeners.worker().run(move |accepted: Accepted<Config>| {
            let (started, sender) = (started.clone(), sender.clone());
            opened.send(()).expect("it is awaited");
            let index = accepted_before.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                if with_timers {
                    timers(accepted, started, time, index).await;
                } else {
                    drains(accepted).await;
                }
                sender.send(()).expect("it is awaited");
            });
        }));
        assert!(
            listeners
                .apply(Update::lds("v", [Config::new("ingress", 0)]))
                .await
                .is_success()
        );
        println!("{}", port(&listeners, "ingress"));
        std::io::stdout().flush().expect("a pipe");
        for _ in 0..count {
            open.recv().await.expect("clients come");
        }
        tokio::time::sleep(Duration::from_secs(1).min(time)).await;
        let before = processor_time();
        if with_timers {
            drop(start);
        } else {
            assert!(
                listeners
                    .apply(Update::lds("v", [Config::new("ingress", 1)]))
                    .await
                    .is_success()
            );
        }
        for _ in 0..count {
            ended.recv().await.expect("connections end");
        }
        println!("{}", processor_time() - before);
    });
    std::io::stdout().flush().expect("a pipe");
    drop(std::io::stdin().read_to_end(&mut Vec::new()));
}

/// An idle connection that is notified at its slot, has nothing to say, and is closed at the
/// deadline.
async fn drains(accepted: Accepted<Config>) {
    let Accepted {
        mut stream,
        watch,
        conn,
        ..
    } = accepted;
    let quiet = async {
        watch.signaled().await;
        watch.expired().await;
    };
    tokio::select! {
        () = quiet => {}
        _ = stream.read_u8() => {}
    }
    drop((stream, watch, conn));
}

/// The same without this crate: each connection sleeps until its turn, then until the deadline.
async fn timers(
    accepted: Accepted<Config>,
    mut started: tokio::sync::watch::Receiver<()>,
    time: Duration,
    index: usize,
) {
    let Accepted { mut stream, .. } = accepted;
    let quiet = async {
        drop(started.changed().await);
        let deadline = tokio::time::Instant::now() + time;
        tokio::time::sleep(time.mul_f64(0.25 * (index % 1000) as f64 / 1000.0)).await;
        tokio::time::sleep_until(deadline).await;
    };
    tokio::select! {
        () = quiet => {}
        _ = stream.read_u8() => {}
    }
}

/// Seconds that all threads of this process have run.
fn processor_time() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let nanoseconds = tasks.filter_map(|task| {
        let stat = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        stat.split_whitespace().next()?.parse::<u64>().ok()
    });
    nanoseconds.sum::<u64>() as f64 / 1e9
}
