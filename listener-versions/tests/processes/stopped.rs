//! A stopped process (`SIGSTOP`): connections that wait in the kernel's queue over an update are
//! all served when it goes on.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};

use crate::child::Process;
use crate::common::at;
use crate::common::wire::{answer, any_port, lds, listeners, port};
use rustix::process::Signal;

const CONNECTIONS: usize = 40;

#[test]
fn connections_parked_over_a_switch_are_all_served() {
    parked_over_a_switch("stopped::shared");
}

#[test]
fn connections_parked_over_a_switch_are_all_served_with_a_socket_for_each_worker() {
    parked_over_a_switch("stopped::per_worker");
}

fn parked_over_a_switch(test: &str) {
    let mut served = Process::start(&[], test, []);
    let line = served.until("serving ");
    let address = line.rsplit(' ').next().expect("an address");
    let address: SocketAddr = address.parse().expect("an address");
    assert_eq!(
        ask(&mut TcpStream::connect(address).expect("it listens")),
        1
    );

    served.stop();
    let connect = |_| TcpStream::connect(address).expect("the kernel takes it");
    let mut parked: Vec<TcpStream> = (0..CONNECTIONS).map(connect).collect();
    served.say("update");
    let more: Vec<TcpStream> = (0..CONNECTIONS).map(connect).collect();
    served.signal(Signal::CONT);

    parked.extend(more);
    for client in &mut parked {
        // Who takes them is a race of the worker and the update, as in Envoy.
        assert!([1, 2].contains(&ask(client)));
    }
    served.until("updated");
    assert_eq!(
        ask(&mut TcpStream::connect(address).expect("it listens")),
        2
    );
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
    serve(false);
}

#[test]
#[ignore = "run by the tests above, in a process that is stopped"]
fn per_worker() {
    serve(true);
}

/// Two single-threaded runtimes accept; each line of input is an update, its end is the end.
fn serve(reuse_port: bool) {
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
