//! One of the two processes dies or gives up, at any moment: the other one serves.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::common::at;
use crate::common::wire::{ask, bounded, free, lds, port};
use crate::meeting::*;
use drain_tree::DrainDirection;
use listener_versions::Update;
use listener_versions::handover::{
    HandoverError, HandoverOptions, Offer, SuccessorEvent, take_over,
};
use tokio::time::sleep;

#[tokio::test]
async fn a_new_process_that_goes_away_leaves_the_old_one_as_it_was() {
    bounded(async {
        let meeting = Meeting::new("gone");
        let a = free();
        let old = process(1);
        lds(&old, [at("a", a.clone(), 0)]).await;
        let at_a = port(&old, "a");
        let attempt = offered(&meeting, &old).await;
        let takeover = meeting.take_over().await;
        // It is not decided who goes on: an update waits.
        let update = tokio::spawn({
            let (old, a) = (old.clone(), a.clone());
            async move {
                old.apply(Update::lds("v", [at("a", a, 1)]))
                    .await
                    .is_success()
            }
        });
        assert_eq!(ask(at_a).await.expect("it serves"), 1);
        assert!(!update.is_finished());
        drop(takeover);
        let (offer, error) = failed(attempt).await;
        assert!(matches!(error, HandoverError::Lost), "{error}");
        assert!(update.await.expect("no panic"));
        assert_eq!(ask(at_a).await.expect("it serves"), 2);
        // And it may be asked again.
        let attempt = offering(offer, &old);
        let (new, _offer) = restart(&meeting, vec![at("a", a, 0)]).await;
        let _successor = replaced(attempt).await;
        assert_eq!(ask(at_a).await.expect("it serves"), 1);
        drop(new);
        refused(at_a).await;
    })
    .await;
}

#[tokio::test]
async fn what_was_handed_out_in_vain_is_the_old_ones_alone_again() {
    bounded(async {
        let meeting = Meeting::new("vain");
        let old = process(1);
        lds(&old, [at("a", free(), 0)]).await;
        let at_a = port(&old, "a");
        let attempt = offered(&meeting, &old).await;
        let mut takeover = meeting.take_over().await;
        // The new one keeps its descriptors although it has given up.
        let kept = takeover.sockets();
        drop(takeover);
        failed(attempt).await;
        let parked = park(at_a);
        lds(&old, []).await;
        refused(at_a).await;
        answered(parked).await;
        drop(kept);
    })
    .await;
}

#[tokio::test]
async fn an_old_process_that_dies_before_it_is_asked_to_drain_leaves_its_sockets_to_the_new_one() {
    bounded(async {
        let meeting = Meeting::new("dies");
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
        let mut offer = takeover.serving(&new).await.expect("it is alone");
        work(&new, 1);
        answered(parked).await;
        let ended = offer.predecessor_ends(std::future::pending()).await;
        ended.expect("it has ended by itself");
    })
    .await;
}

#[tokio::test]
async fn an_old_process_that_has_hung_up_and_lives_is_not_replaced() {
    bounded(async {
        let meeting = Meeting::new("lives");
        let a = free();
        let old = process(1);
        lds(&old, [at("a", a.clone(), 0)]).await;
        let attempt = offered(&meeting, &old).await;
        let mut takeover = meeting.take_over().await;
        // The attempt is given up, the offer stands.
        attempt.abort();
        drop(attempt.await);
        let _again = offered(&meeting, &old).await;
        let new = process(0);
        new.inherit(takeover.sockets());
        lds(&new, [at("a", a, 0)]).await;
        let error = takeover
            .serving(&new)
            .await
            .expect_err("the old one goes on");
        assert!(matches!(error, HandoverError::Lost), "{error}");
        drop(new);
        assert_eq!(ask(port(&old, "a")).await.expect("it serves"), 1);
    })
    .await;
}

#[tokio::test]
async fn when_the_new_process_dies_the_old_one_keeps_its_sockets_for_another() {
    bounded(async {
        let meeting = Meeting::new("keeps");
        let (a, b) = (free(), free());
        let first = process(0);
        lds(&first, [at("a", a.clone(), 0), at("b", b.clone(), 0)]).await;
        let (at_a, at_b) = (port(&first, "a"), port(&first, "b"));
        let attempt = offered(&meeting, &first).await;
        let (second, offer) = restart(&meeting, vec![at("a", a.clone(), 0), at("b", b, 0)]).await;
        let mut successor = replaced(attempt).await;
        let terminated = tokio::spawn(async move { successor.terminated().await });
        // As the kernel ends it: no socket is shut down.
        killed((offer, second.share_sockets())).await;
        drop(second);
        let parked = park(at_a);
        // One that comes to nothing, as soon as the first one has noticed; then one that has no use
        // for all of them.
        while meeting.ask().await.expect("it is not refused").is_none() {
            tokio::task::yield_now().await;
        }
        let mut takeover = meeting.take_over().await;
        let third = process(0);
        third.inherit(takeover.sockets());
        lds(&third, [at("a", a, 0)]).await;
        let mut offer = takeover
            .serving(&third)
            .await
            .expect("the first one has kept them");
        work(&third, 1);
        answered(parked).await;
        refused(at_b).await;
        // It is the first one's successor in every respect.
        let (ended, terminated) =
            tokio::join!(offer.predecessor_ends(sleep(Duration::ZERO)), terminated);
        terminated.expect("no panic");
        ended.expect("it ends when it is asked to");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_process_that_hears_of_another_one_first_asks_again_in_case_that_one_is_dying() {
    let meeting = Meeting::new("dying");
    let old = process(1);
    lds(&old, [at("a", free(), 0)]).await;
    let attempt = offered(&meeting, &old).await;
    // As if a child of it had its descriptors a moment longer than the process lives.
    let mut dying = UnixStream::connect(meeting.path()).expect("it listens");
    dying.write_all(&hello(1)).expect("hello");
    let path = meeting.path();
    let next = tokio::spawn(async move { take_over(&path, &HandoverOptions::default()).await });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    drop(dying);
    let (offer, _) = failed(attempt).await;
    let attempt = offering(offer, &old);
    let asked = next.await.expect("no panic").expect("it is not refused");
    drop(asked.expect("the old one is there"));
    failed(attempt).await;
}

#[tokio::test(start_paused = true)]
async fn sockets_that_no_process_comes_for_are_closed() {
    let meeting = Meeting::new("keeps-not");
    let a = free();
    let first = process(0);
    lds(&first, [at("a", a.clone(), 0)]).await;
    let at_a = port(&first, "a");
    let attempt = offered(&meeting, &first).await;
    let (second, offer) = restart(&meeting, vec![at("a", a, 0)]).await;
    let mut successor = replaced(attempt).await;
    killed((offer, second.share_sockets())).await;
    drop(second);
    // Only time makes it do anything.
    let keep = HandoverOptions::default().keep;
    let waited = tokio::time::timeout(keep + Duration::from_secs(1), successor.terminated()).await;
    assert!(waited.is_err());
    refused(at_a).await;
}

#[tokio::test]
async fn times_that_no_clock_can_tell_are_waited_for_without_a_limit() {
    bounded(async {
        let meeting = Meeting::new("never");
        for time in [
            Duration::MAX,
            Duration::from_secs(u64::MAX),
            Duration::from_secs(i64::MAX.unsigned_abs()),
            Duration::from_millis(u64::MAX),
        ] {
            let options = HandoverOptions::default()
                .with_patience(time)
                .with_warm_up(time)
                .with_keep(time);
            let a = free();
            let first = process(0);
            lds(&first, [at("a", a.clone(), 0)]).await;
            let at_a = port(&first, "a");
            let offer = Offer::bind(&meeting.path())
                .await
                .expect("no process is there");
            let attempt = offering_with(offer, &first, options.clone());
            let take_over = async || {
                let asked = meeting.ask_with(&options).await.expect("it is not refused");
                asked.expect("somebody is there")
            };
            let mut takeover = take_over().await;
            let second = process(0);
            second.inherit(takeover.sockets());
            lds(&second, [at("a", a.clone(), 0)]).await;
            let offer = takeover
                .serving(&second)
                .await
                .expect("the first one agrees");
            let mut successor = replaced(attempt).await;
            // As the kernel ends it.
            killed((offer, second.share_sockets())).await;
            drop(second);
            assert_eq!(successor.next().await, SuccessorEvent::Died);
            // No process comes, and nothing is closed.
            let waited = tokio::time::timeout(Duration::from_millis(50), successor.next()).await;
            assert!(waited.is_err(), "{time:?}: {waited:?}");
            let parked = park(at_a);
            let terminated = tokio::spawn(async move { successor.terminated().await });
            let mut takeover = take_over().await;
            let third = process(0);
            third.inherit(takeover.sockets());
            lds(&third, [at("a", a, 0)]).await;
            let mut offer = takeover
                .serving(&third)
                .await
                .expect("the first one has kept it");
            work(&third, 1);
            answered(parked).await;
            let (ended, terminated) =
                tokio::join!(offer.predecessor_ends(sleep(Duration::ZERO)), terminated);
            terminated.expect("no panic");
            ended.expect("it ends when it is asked to");
        }
    })
    .await;
}

#[tokio::test]
async fn who_says_drain_and_is_gone_before_it_is_heard_does_not_end_the_old_process() {
    bounded(async {
        let meeting = Meeting::new("late");
        let old = process(1);
        lds(&old, [at("a", free(), 0)]).await;
        let attempt = offered(&meeting, &old).await;
        let mut stream = UnixStream::connect(meeting.path()).expect("it listens");
        stream.set_nonblocking(true).expect("a socket");
        stream.write_all(&hello(1)).expect("hello");
        while stream.read(&mut [0; 1024]).is_err() {
            tokio::task::yield_now().await;
        }
        // The sockets have come. As if it were killed while the old one had no time to look.
        stream
            .write_all(b"LVHO\0\x01\x03\0\0\0\0\x05\0\0\0\0\0")
            .expect("drain");
        drop(stream);
        let (_, error) = failed(attempt).await;
        assert!(matches!(error, HandoverError::Lost), "{error}");
        assert_eq!(ask(port(&old, "a")).await.expect("it serves"), 1);
    })
    .await;
}

#[tokio::test]
async fn a_handover_that_comes_to_nothing_leaves_no_file_behind() {
    bounded(async {
        let meeting = Meeting::new("litter");
        let old = process(0);
        lds(&old, [at("a", free(), 0)]).await;
        let attempt = offered(&meeting, &old).await;
        let takeover = meeting.take_over().await;
        let new = process(0);
        {
            let mut serving = tokio_test::task::spawn(takeover.serving(&new));
            assert!(serving.poll().is_pending());
            attempt.abort();
            drop(attempt.await);
            drop(old);
        }
        let files = std::fs::read_dir(&meeting.0).expect("the folder");
        let mut names: Vec<_> = files
            .map(|file| file.expect("a file").file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["edge.sock", "edge.sock.lock"]);
    })
    .await;
}

#[tokio::test]
async fn listeners_that_stop_during_a_handover_that_comes_to_nothing_refuse_everybody() {
    bounded(async {
        let meeting = Meeting::new("stopped");
        let old = process(1);
        lds(&old, [at("a", free(), 0)]).await;
        let at_a = port(&old, "a");
        let attempt = offered(&meeting, &old).await;
        let takeover = meeting.take_over().await;
        old.stop_listeners(DrainDirection::All);
        // It is not sure yet that no process goes on there.
        drop(park(at_a));
        drop(takeover);
        failed(attempt).await;
        refused(at_a).await;
    })
    .await;
}

/// As on a full disk.
#[tokio::test]
async fn a_process_that_died_and_could_not_write_the_lock_file_leaves_its_sockets_to_the_next() {
    bounded(async {
        let meeting = Meeting::new("unwritten");
        let a = free();
        let old = process(1);
        lds(&old, [at("a", a.clone(), 0)]).await;
        let at_a = port(&old, "a");
        let attempt = offered(&meeting, &old).await;
        let (new, offer) = restart(&meeting, vec![at("a", a.clone(), 0)]).await;
        let mut successor = replaced(attempt).await;
        let mut lock = meeting.path().into_os_string();
        lock.push(".lock");
        std::fs::write(lock, "").expect("it is there");
        // As the kernel closes them.
        drop(new.share_sockets());
        killed((new, offer)).await;
        assert_eq!(successor.next().await, SuccessorEvent::Died);
        let parked = park(at_a);
        let third = tokio::spawn(async move { restart(&meeting, vec![at("a", a, 0)]).await });
        assert_eq!(successor.next().await, SuccessorEvent::Replaced);
        answered(parked).await;
        drop(third.await.expect("no panic"));
    })
    .await;
}
