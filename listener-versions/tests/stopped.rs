//! A stopped process (`SIGSTOP`): connections that wait in the kernel's queue over an update are
//! all served when it goes on.
#![cfg(target_os = "linux")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use common::at;
use common::wire::{answer, any_port, lds, listeners, port};
use listener_versions::ReusePort;

const CONNECTIONS: usize = 40;

#[test]
fn connections_parked_over_a_switch_are_all_served() {
    parked_over_a_switch("shared");
}

#[test]
fn connections_parked_over_a_switch_are_all_served_with_a_socket_for_each_worker() {
    parked_over_a_switch("per_worker");
}

/// Ends the process also when the test fails.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Served {
    fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([signal, &self.0.id().to_string()])
            .status();
        assert!(status.expect("kill is there").success());
    }

    /// What the kernel says about it: `T` is stopped.
    fn state(&self) -> String {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).expect("it lives");
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        after_name
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned()
    }
}

fn parked_over_a_switch(mode: &str) {
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--ignored", "--exact", "--nocapture", mode])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut served = Served(child.expect("it starts"));
    let mut stdin = served.0.stdin.take().expect("a pipe");
    let mut stdout = BufReader::new(served.0.stdout.take().expect("a pipe"));
    let mut next = |prefix: &str| loop {
        let mut line = String::new();
        assert!(
            stdout.read_line(&mut line).expect("a pipe") > 0,
            "it has ended"
        );
        if let Some((_, rest)) = line.split_once(prefix) {
            break rest.trim().to_owned();
        }
    };
    let address: SocketAddr = next("serving ").parse().expect("an address");
    assert_eq!(
        ask(&mut TcpStream::connect(address).expect("it listens")),
        1
    );

    served.signal("-STOP");
    while served.state() != "T" {
        std::thread::yield_now();
    }
    let connect = |_| TcpStream::connect(address).expect("the kernel takes it");
    let mut parked: Vec<TcpStream> = (0..CONNECTIONS).map(connect).collect();
    stdin.write_all(b"update\n").expect("a pipe");
    let more: Vec<TcpStream> = (0..CONNECTIONS).map(connect).collect();
    served.signal("-CONT");

    parked.extend(more);
    for client in &mut parked {
        // Who takes them is a race of the worker and the update, as in Envoy.
        assert!([1, 2].contains(&ask(client)));
    }
    next("updated");
    assert_eq!(
        ask(&mut TcpStream::connect(address).expect("it listens")),
        2
    );
    drop(stdin);
    assert!(served.0.wait().expect("it ends").success());
}

fn ask(client: &mut TcpStream) -> u64 {
    // A hang fails the test; nothing is measured by it.
    let hang = std::time::Duration::from_secs(60);
    client.set_read_timeout(Some(hang)).expect("a socket");
    let mut version = [0; 8];
    client
        .read_exact(&mut version)
        .expect("it is served, not reset");
    u64::from_be_bytes(version)
}

#[test]
#[ignore = "run by the tests above, in a process that is stopped"]
fn shared() {
    serve(ReusePort::Shared);
}

#[test]
#[ignore = "run by the tests above, in a process that is stopped"]
fn per_worker() {
    serve(ReusePort::PerWorker);
}

/// Two single-threaded runtimes accept; each line of input is an update, its end is the end.
fn serve(reuse_port: ReusePort) {
    let (listeners, driver) = listeners();
    for index in 0..2 {
        let worker = listeners.worker();
        let (answered, ready) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().expect("a runtime");
            answered.send(index).expect("the test listens");
            runtime.block_on(worker.run(answer));
        });
        ready.recv().expect("it runs");
    }
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    runtime.spawn(driver);
    let update = |content| {
        runtime.block_on(lds(
            &listeners,
            [at("a", any_port(), content).reuse_port(reuse_port)],
        ))
    };
    update(0);
    println!("serving {}", port(&listeners, "a"));
    for (line, content) in std::io::stdin().lines().zip(1..) {
        line.expect("a pipe");
        update(content);
        println!("updated");
    }
}
