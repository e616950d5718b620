//! A new process takes the sockets of an old one; both are in this test.
//!
//! No test here starts a program: until it runs, it has the sockets and locks of all other tests,
//! and these find them open when they should be closed. Such tests are in `processes`.
#![cfg(unix)]

#[path = "../common/mod.rs"]
mod common;
mod death;
mod faults;
mod meeting;
mod paths;
mod several;
mod strangers;
mod undecided;

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use common::at;
use common::wire::{answer, ask, bounded, free, lds, port};
use drain_tree::DrainReason;
use listener_versions::handover::{HandoverOptions, Offer, take_over};
use listener_versions::{Inherited, ListenAddress};
use meeting::*;
use tokio::time::sleep;

#[tokio::test]
async fn the_new_process_goes_on_with_what_it_took_and_the_old_one_drains() {
    bounded(async {
        let meeting = Meeting::new("whole");
        let (a, b) = (free(), free());
        let old = process(0);
        let worker = old.worker();
        lds(&old, [at("a", a.clone(), 0), at("b", b, 0)]).await;
        let (at_a, at_b) = (port(&old, "a"), port(&old, "b"));
        // One connection is the old one's.
        let drained = old
            .active("a")
            .expect("it is there")
            .drain()
            .watch()
            .expect("it does not drain");
        let attempt = offered(&meeting, &old).await;
        let mode = std::fs::metadata(meeting.path())
            .expect("the path")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        // No process accepts: these wait while the sockets change hands.
        let (parked_at_a, parked_at_b) = (park(at_a), park(at_b));
        let (new, mut offer) = restart(&meeting, vec![at("a", a, 0)]).await;
        let mut successor = replaced(attempt).await;
        assert_eq!(
            (successor.pid(), offer.predecessor()),
            (std::process::id(), Some(std::process::id()))
        );
        answered(parked_at_a).await;
        answered(park(at_a)).await;
        let event = drained.event().expect("it drains");
        assert_eq!(event.reason, DrainReason::HotRestart);
        // What no listener wants any more is closed by the old process, which serves what waited.
        refused(at_b).await;
        tokio::spawn(worker.run(answer));
        answered(parked_at_b).await;
        let (ended, ()) = tokio::join!(offer.predecessor_ends(sleep(Duration::ZERO)), async {
            successor.terminated().await;
            drop(successor);
        });
        ended.expect("it ends when it is asked to");
        // Ours alone now.
        lds(&new, []).await;
        refused(at_a).await;
    })
    .await;
}

#[tokio::test]
async fn as_many_listeners_as_do_not_fit_into_one_message_change_hands() {
    bounded(async {
        let meeting = Meeting::new("many");
        let names: Vec<String> = (0..100)
            .map(|number| format!("listener-{number}"))
            .collect();
        let configs: Vec<_> = names.iter().map(|name| at(name, free(), 0)).collect();
        let old = process(0);
        lds(&old, configs.clone()).await;
        let attempt = offered(&meeting, &old).await;
        let parked: Vec<_> = names
            .iter()
            .map(|name| park(port(&old, name)).swap_remove(0))
            .collect();
        let (new, _offer) = restart(&meeting, configs).await;
        let _successor = replaced(attempt).await;
        answered(parked).await;
        assert_eq!(new.unclaimed(), []);
    })
    .await;
}

#[tokio::test]
async fn of_two_new_processes_one_takes_over_and_the_other_one_hears_which() {
    bounded(async {
        let meeting = Meeting::new("two");
        let old = process(1);
        lds(&old, [at("a", free(), 0)]).await;
        let attempt = offered(&meeting, &old).await;
        let winner = meeting.take_over().await;
        let error = meeting.ask().await.expect_err("another one is first");
        let pid = std::process::id();
        assert_eq!(
            error.to_string(),
            format!("process {pid} is taking over already")
        );
        drop(winner);
        failed(attempt).await;
    })
    .await;
}

#[tokio::test]
async fn a_third_process_finds_the_second_one_while_the_first_drains() {
    bounded(async {
        let meeting = Meeting::new("chain");
        let a = free();
        let first = process(1);
        lds(&first, [at("a", a.clone(), 0)]).await;
        let at_a = port(&first, "a");
        let attempt = offered(&meeting, &first).await;
        let (second, offer) = restart(&meeting, vec![at("a", a.clone(), 0)]).await;
        let mut successor = replaced(attempt).await;
        // The third one comes before the second waits for it, while the first drains.
        let third = tokio::spawn({
            let path = meeting.path();
            async move { take_over(&path, &HandoverOptions::default()).await }
        });
        let waits = tokio::spawn(async move { successor.terminated().await });
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let attempt = offering(offer, &second);
        let mut takeover = third
            .await
            .expect("no panic")
            .expect("not refused")
            .expect("somebody is there");
        let third = process(0);
        third.inherit(takeover.sockets());
        lds(&third, [at("a", a, 0), at("b", free(), 0)]).await;
        let _second = takeover
            .serving(&third)
            .await
            .expect("the second one agrees");
        let mut successor = replaced(attempt).await;
        let mut terminated = tokio_test::task::spawn(successor.terminated());
        assert!(terminated.poll().is_pending());
        work(&third, 1);
        assert_eq!(ask(at_a).await.expect("it serves"), 1);
        // The first one drains in its own time: no process cut it short.
        assert!(!waits.is_finished());
        waits.abort();
    })
    .await;
}

#[tokio::test]
async fn a_path_without_a_process_is_a_fresh_start_and_one_with_a_process_is_not_taken() {
    bounded(async {
        let meeting = Meeting::new("stale");
        assert!(meeting.ask().await.expect("no process refuses").is_none());
        let offer = Offer::bind(&meeting.path())
            .await
            .expect("no process is there");
        let error = Offer::bind(&meeting.path())
            .await
            .expect_err("somebody is there");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(offer);
        assert!(meeting.path().exists());
        assert!(meeting.ask().await.expect("no process refuses").is_none());
        let _offer = Offer::bind(&meeting.path())
            .await
            .expect("no process is there");
        let left: Vec<_> = std::fs::read_dir(&meeting.0).expect("the folder").collect();
        assert_eq!(left.len(), 2, "nothing is left but its lock: {left:?}");
        let error = Offer::bind(Path::new("/proc/none/edge.sock"))
            .await
            .expect_err("no such folder");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    })
    .await;
}

#[tokio::test]
async fn a_socket_of_another_kind_goes_along() {
    bounded(async {
        let meeting = Meeting::new("more");
        let old = process(1);
        let admin = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut more = Inherited::new();
        let address = more.add(admin).expect("it listens");
        let mut offer = Offer::bind(&meeting.path())
            .await
            .expect("no process is there");
        let attempt = tokio::spawn(async move {
            offer
                .next(&old, &HandoverOptions::default(), &more)
                .await
                .map(|successor| (successor, more))
        });
        let mut takeover = meeting.take_over().await;
        let mut sockets = takeover.sockets();
        let admin = std::net::TcpListener::from(sockets.remove(&address).expect("it came along"));
        assert!(sockets.is_empty());
        let new = process(0);
        takeover.serving(&new).await.expect("the old one agrees");
        drop(attempt.await.expect("no panic").expect("it is replaced"));
        let client =
            std::net::TcpStream::connect(address.as_socket().expect("TCP")).expect("it listens");
        admin.accept().expect("it is accepted");
        drop(client);
    })
    .await;
}

#[tokio::test]
async fn what_somebody_keeps_listens_on_after_the_process_that_took_it_over() {
    bounded(async {
        let meeting = Meeting::new("kept");
        let a = free();
        let ListenAddress::Socket(at_a) = a.clone() else {
            panic!("{a}")
        };
        // As the socket of a systemd unit.
        let unit = std::net::TcpListener::bind(at_a).expect("a port");
        let mut passed = Inherited::new();
        passed
            .add(unit.try_clone().expect("a descriptor"))
            .expect("it listens");
        let old = process(1);
        old.inherit(passed);
        lds(&old, [at("a", a.clone(), 0)]).await;
        let attempt = offered(&meeting, &old).await;
        let (new, _offer) = restart(&meeting, vec![at("a", a, 0)]).await;
        let _successor = replaced(attempt).await;
        answered(park(at_a)).await;
        lds(&new, []).await;
        drop(park(at_a));
        unit.accept().expect("it listens");
    })
    .await;
}

#[tokio::test]
async fn updates_of_the_new_process_wait_until_the_old_one_has_agreed() {
    bounded(async {
        let meeting = Meeting::new("both");
        let (a, b) = (free(), free());
        let old = process(0);
        lds(&old, [at("a", a.clone(), 0), at("b", b.clone(), 0)]).await;
        let at_b = port(&old, "b");
        let attempt = offered(&meeting, &old).await;
        let mut takeover = meeting.take_over().await;
        let new = process(1);
        new.inherit(takeover.sockets());
        lds(&new, [at("a", a.clone(), 0)]).await;
        let mut serving = tokio_test::task::spawn(takeover.serving(&new));
        // It says that no listener wants b, which changes as it is said.
        assert!(serving.poll().is_pending());
        let mut update = tokio_test::task::spawn(lds(&new, [at("a", a, 0), at("b", b, 0)]));
        assert!(update.poll().is_pending());
        let _served = serving.await.expect("the old one agrees");
        let _successor = replaced(attempt).await;
        update.await;
        ask(at_b).await.expect("it serves");
    })
    .await;
}
