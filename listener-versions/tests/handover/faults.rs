//! What a process does with sockets that another process may serve: it only closes its own
//! descriptors.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::task::Poll;
use std::time::Duration;

use crate::common::at;
use crate::common::wire::{ask, bounded, free, lds, port};
use crate::meeting::*;
use listener_versions::Inherited;
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
        // An attempt comes to nothing if it is dropped in the middle.
        let third = restart_at_last(&meeting, || vec![at("a", a.clone(), 0)]).await;
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

#[tokio::test]
async fn a_new_process_that_gives_up_at_any_moment_leaves_the_sockets_to_the_next_one() {
    bounded(async {
        for turns in [0, 1, 2, 3, 5, 8, 13, 200] {
            for polls in 0..3 {
                given_up_after(polls, turns).await;
            }
        }
    })
    .await;
}

/// `serving` is polled so many times, with turns of the old process in between, and dropped.
async fn given_up_after(polls: usize, turns: usize) {
    let meeting = Meeting::new("gives-up");
    let a = free();
    let old = process(1);
    lds(&old, [at("a", a.clone(), 0)]).await;
    let at_a = port(&old, "a");
    let mut offer = Offer::bind(&meeting.path())
        .await
        .expect("no process is there");
    let old = tokio::spawn(async move {
        let (options, more) = (HandoverOptions::default(), Inherited::new());
        let mut successor = loop {
            if let Ok(successor) = offer.next(&old, &options, &more).await {
                break successor;
            }
        };
        successor.terminated().await;
    });
    let mut takeover = meeting.take_over().await;
    let new = process(0);
    new.inherit(takeover.sockets());
    lds(&new, [at("a", a.clone(), 0)]).await;
    let mut serving = tokio_test::task::spawn(takeover.serving(&new));
    let mut served = None;
    for _ in 0..polls {
        if let Poll::Ready(offer) = serving.poll() {
            served = Some(offer.expect("the old one agrees"));
            break;
        }
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }
    let parked = park(at_a);
    drop(serving);
    let _serves = match served {
        Some(offer) => {
            work(&new, 1);
            (new, offer)
        }
        None => {
            drop(new);
            // It is refused while the old process has not noticed that the new one is gone.
            restart_at_last(&meeting, || vec![at("a", a.clone(), 0)]).await
        }
    };
    answered(parked).await;
    old.abort();
}

#[tokio::test]
async fn an_old_process_whose_next_is_dropped_at_any_moment_is_replaced_by_a_later_attempt() {
    bounded(async {
        for polls in 0..12 {
            asked_again_after(polls).await;
        }
    })
    .await;
}

/// `Offer::next` is polled so many times while a process takes over, dropped, and called again.
async fn asked_again_after(polls: usize) {
    let meeting = Meeting::new("asked-again");
    let a = free();
    let old = process(1);
    lds(&old, [at("a", a.clone(), 0)]).await;
    let at_a = port(&old, "a");
    let mut offer = Offer::bind(&meeting.path())
        .await
        .expect("no process is there");
    let (options, more) = (HandoverOptions::default(), Inherited::new());
    let parked = park(at_a);
    let new = tokio::spawn(async move {
        let new = restart_at_last(&meeting, || vec![at("a", a.clone(), 0)]).await;
        (new, meeting)
    });
    let mut successor = None;
    let mut next = tokio_test::task::spawn(offer.next(&old, &options, &more));
    for _ in 0..polls {
        if let Poll::Ready(replaced) = next.poll() {
            successor = replaced.ok();
            break;
        }
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
    drop(next);
    while successor.is_none() {
        successor = offer.next(&old, &options, &more).await.ok();
    }
    let _new = new.await.expect("no panic");
    answered(parked).await;
    answered(park(at_a)).await;
}
