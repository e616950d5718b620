//! While it is not decided which process goes on, the old one opens no socket and lets none listen:
//! the new one would not know of it. What is lacking for a moment is waited for.

use crate::common::at;
use crate::common::wire::{ask, bounded, free, lds, port};
use crate::meeting::*;
use listener_versions::VersionState;
use tokio::net::TcpStream;
use tokio::task::yield_now;

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_worker_that_begins_meanwhile_opens_its_socket_when_it_is_decided() {
    bounded(async {
        let meeting = Meeting::new("worker");
        let a = free();
        let old = process(1);
        lds(&old, [at("a", a, 0).reuse_port(true)]).await;
        let sockets = || old.copy_sockets().expect("descriptors").len();
        assert_eq!(ask(port(&old, "a")).await.expect("it serves"), 1);
        let attempt = offered(&meeting, &old).await;
        let takeover = meeting.take_over().await;
        work(&old, 2);
        for _ in 0..100 {
            yield_now().await;
        }
        assert_eq!(sockets(), 1);
        drop(takeover);
        failed(attempt).await;
        while sockets() < 3 {
            yield_now().await;
        }
        assert_eq!(ask(port(&old, "a")).await.expect("it serves"), 1);
    })
    .await;
}

#[tokio::test]
async fn a_version_that_gets_warm_meanwhile_accepts_when_it_is_decided() {
    bounded(async {
        let meeting = Meeting::new("warm");
        let (a, b) = (free(), free());
        let old = process(1);
        let configs = [at("a", a, 0), at("b", b.clone(), 0).warming()];
        lds(&old, configs).await;
        let attempt = offered(&meeting, &old).await;
        let takeover = meeting.take_over().await;
        let versions = old.snapshot();
        let warming = versions
            .iter()
            .find(|version| version.state == VersionState::Warming);
        let version = warming.expect("it warms").number;
        assert!(old.warmed(version).expect("it can listen"));
        for _ in 0..100 {
            yield_now().await;
        }
        let b = b.as_socket().expect("TCP");
        assert!(TcpStream::connect(b).await.is_err(), "it does not listen");
        drop(takeover);
        failed(attempt).await;
        old.until_warm(version).await;
        assert_eq!(ask(b).await.expect("it listens"), version);
        assert!(!old.warmed(version).expect("it is active"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_ready_waits_for_what_the_system_lacks_when_the_old_one_is_dead() {
    let meeting = Meeting::new("lacks");
    let a = free();
    let old = process(0);
    lds(&old, [at("a", a.clone(), 0)]).await;
    let at_a = port(&old, "a");
    let kill = offering_until_killed(&meeting, &old).await;
    let mut takeover = meeting.take_over().await;
    let parked = park(at_a);
    kill(old).await;
    let new = process(0);
    new.inherit(takeover.sockets());
    lds(&new, [at("a", a, 0)]).await;
    // The lock file cannot be opened, as without a descriptor.
    let (lock, aside) = (meeting.0.join("edge.sock.lock"), meeting.0.join("aside"));
    std::fs::rename(&lock, &aside).expect("it is there");
    std::fs::create_dir(&lock).expect("a folder");
    let serving = tokio::spawn({
        let new = new.clone();
        async move { takeover.serving(&new).await }
    });
    for _ in 0..100 {
        yield_now().await;
    }
    std::fs::remove_dir(&lock).expect("it is empty");
    std::fs::rename(&aside, &lock).expect("it is there");
    let _offer = serving.await.expect("no panic").expect("it is alone");
    work(&new, 1);
    answered(parked).await;
}
