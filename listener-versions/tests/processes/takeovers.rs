//! Handovers that need a program: one whose descriptors are counted, and one in another network
//! namespace.

use listener_versions::handover::{HandoverError, HandoverOptions, take_over};

use crate::common::at;
use crate::common::wire::{ask, bounded, free, lds, port};
use crate::meeting::*;

/// The path, for the process in another network namespace.
const PATH: &str = "LISTENER_VERSIONS_STRANGER";

/// What the process in another network namespace does: it is this test of this program, started by
/// the next one.
#[tokio::test]
#[ignore = "started by another test"]
async fn asks_from_another_network_namespace() {
    let path = std::env::var_os(PATH).expect("another test has started this one");
    let error = take_over(path.as_ref(), &HandoverOptions::default()).await;
    println!("asked: {}", error.expect_err("two namespaces"));
}

#[tokio::test]
async fn a_process_in_another_network_namespace_is_refused_and_both_namespaces_are_named() {
    bounded(async {
        let possible = std::process::Command::new("unshare")
            .args(["-n", "true"])
            .output();
        if !possible.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: this user may not make a network namespace");
            return;
        }
        let meeting = Meeting::new("namespace");
        let old = process(1);
        lds(&old, [at("a", free(), 0)]).await;
        let attempt = offered(&meeting, &old).await;
        let mut stranger = std::process::Command::new("unshare");
        stranger
            .arg("-n")
            .arg(std::env::current_exe().expect("this program"))
            .args([
                "takeovers::asks_from_another_network_namespace",
                "--ignored",
                "--nocapture",
            ])
            .env(PATH, meeting.path());
        let asked = tokio::task::spawn_blocking(move || stranger.output());
        let (offer, error) = failed(attempt).await;
        let HandoverError::Namespace { theirs, ours, .. } = error else {
            panic!("{error}")
        };
        let output = asked.await.expect("no panic").expect("unshare");
        let said = String::from_utf8_lossy(&output.stdout);
        let expected = format!(
            "asked: the other process is in network namespace {ours}, this one in {theirs}"
        );
        assert!(said.contains(&expected), "{said}");
        // The old process serves on, and one of its own namespace is not refused.
        let attempt = offering(offer, &old);
        assert_eq!(ask(port(&old, "a")).await.expect("it serves"), 1);
        drop(meeting.take_over().await);
        failed(attempt).await;
    })
    .await;
}

/// All descriptors are counted, so no other test may run in this process.
#[test]
fn nothing_is_left_of_twenty_handovers() {
    let test = std::env::current_exe().expect("this program");
    let output = std::process::Command::new(test)
        .args(["--ignored", "--exact", "takeovers::twenty_handovers"])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

#[tokio::test]
#[ignore = "run by the test above, in a process of its own"]
async fn twenty_handovers() {
    let meeting = Meeting::new("leaks");
    let (a, b) = (free(), free());
    let configs = || {
        let a = at("a", a.clone(), 0).reuse_port(true);
        vec![a, at("b", b.clone(), 0)]
    };
    let mut serving = process(1);
    lds(&serving, configs()).await;
    let mut attempt = offered(&meeting, &serving).await;
    let mut counts = Vec::new();
    for _ in 0..20 {
        // One that comes to nothing, and one that does.
        drop(meeting.take_over().await);
        let (offer, _) = failed(attempt).await;
        attempt = offering(offer, &serving);
        let (new, mut offer) = restart(&meeting, configs()).await;
        let ended = offer.predecessor_ends(std::future::pending());
        drop(replaced(attempt).await);
        attempt = offering(offer, &new);
        ended.await.expect("it ends by itself");
        serving = new;
        assert_eq!(ask(port(&serving, "a")).await.expect("it serves"), 1);
        // The workers of the one before have gone by the time when this one has answered some.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        counts.push(std::fs::read_dir("/proc/self/fd").expect("Linux").count());
    }
    assert_eq!(
        counts[2..].iter().min(),
        counts[2..].iter().max(),
        "{counts:?}"
    );
}
