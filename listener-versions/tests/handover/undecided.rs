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
