//! What a process does with sockets that another process may serve: it only closes its own
//! descriptors.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::common::at;
use crate::common::wire::{ask, bounded, free, lds, port};
use crate::meeting::*;
use listener_versions::handover::{HandoverOptions, Offer, SuccessorEvent};
use tokio::time::{interval, timeout};

#[tokio::test]
async fn a_new_process_that_dies_as_it_hears_draining_leaves_its_sockets_to_the_next_one() {
    bounded(async {
        let meeting = Meeting::new("hears");
        let a = free();
        let old = process(1);
        lds(&old, [at("a", a.clone(), 0)]).await;
        let at_a = port(&old, "a");
        let attempt = offered(&meeting, &old).await;
        let path = meeting.path();
        let heard = tokio::task::spawn_blocking(move || {
            let mut stream = UnixStream::connect(path).expect("it listens");
            stream.write_all(&hello(1)).expect("hello");
            hear(&mut stream, 2);
            stream
                .write_all(b"LVHO\0\x01\x03\0\0\0\0\x05\0\0\0\0\0")
                .expect("drain");
            hear(&mut stream, 4);
        });
        heard.await.expect("no panic");
        // The offer is kept, as a program does that has it in a variable.
        let (_offer, successor) = attempt.await.expect("no panic");
        let mut successor = successor.expect("it is replaced");
        assert_eq!(successor.next().await, SuccessorEvent::Died);
        let parked = park(at_a);
        let given = tokio::spawn(async move { successor.next().await });
        let (_new, _offer) = restart(&meeting, vec![at("a", a, 0)]).await;
        answered(parked).await;
        assert_eq!(given.await.expect("no panic"), SuccessorEvent::Replaced);
    })
    .await;
}

#[tokio::test]
async fn next_that_is_dropped_while_it_hands_on_takes_nothing_from_the_third_process() {
    bounded(async {
        for polls in 0..12 {
            dropped_after(polls).await;
        }
    })
    .await;
}

/// `next` is polled so many times once its successor has died, dropped, and called again.
async fn dropped_after(polls: usize) {
    let meeting = Meeting::new("dropped");
    let a = free();
    let options = HandoverOptions::default().with_keep(Duration::from_millis(500));
    let first = process(0);
    lds(&first, [at("a", a.clone(), 0)]).await;
    let at_a = port(&first, "a");
    let offer = Offer::bind(&meeting.path())
        .await
        .expect("no process is there");
    let attempt = offering_with(offer, &first, options);
    let (second, offer) = restart(&meeting, vec![at("a", a.clone(), 0)]).await;
    let mut successor = replaced(attempt).await;
    // As the kernel ends it.
    killed((offer, second.share_sockets())).await;
    drop(second);
    assert_eq!(successor.next().await, SuccessorEvent::Died);
    let third = tokio::spawn(async move {
        let third = loop {
            // An attempt comes to nothing if it is dropped in the middle.
            if let Some(third) = try_restart(&meeting, vec![at("a", a.clone(), 0)]).await {
                break third;
            }
        };
        (third, meeting)
    });
    let mut next = tokio_test::task::spawn(successor.next());
    let mut pace = interval(Duration::from_millis(2));
    for _ in 0..polls {
        if next.poll().is_ready() {
            break;
        }
        pace.tick().await;
    }
    drop(next);
    tokio::select! {
        () = successor.terminated() => panic!("no process wants it gone"),
        third = third => {
            let (_third, _meeting) = third.expect("it takes over");
            assert_eq!(ask(at_a).await.expect("the third one serves"), 1);
            // Longer than the first process keeps anything.
            drop(timeout(Duration::from_millis(700), successor.terminated()).await);
            assert_eq!(ask(at_a).await.expect("the third one serves on"), 1);
        }
    }
}

#[tokio::test]
async fn a_living_process_that_drops_what_the_handover_gave_it_serves_on() {
    bounded(async {
        let meeting = Meeting::new("handles");
        let a = free();
        let options = HandoverOptions::default().with_keep(Duration::from_millis(100));
        let old = process(0);
        lds(&old, [at("a", a.clone(), 0)]).await;
        let at_a = port(&old, "a");
        let offer = Offer::bind(&meeting.path())
            .await
            .expect("no process is there");
        let attempt = offering_with(offer, &old, options);
        let (_new, offer) = restart(&meeting, vec![at("a", a, 0)]).await;
        let mut successor = replaced(attempt).await;
        drop(offer);
        // Longer than the old process keeps anything.
        let terminated = timeout(Duration::from_millis(500), successor.terminated()).await;
        assert!(terminated.is_err(), "no process wants it gone");
        assert_eq!(ask(at_a).await.expect("the new process serves"), 1);
    })
    .await;
}
