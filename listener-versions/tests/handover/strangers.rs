//! Another process that comes to the path, or says nothing, changes nothing.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::common::at;
use crate::common::wire::{ask, bounded, free, lds, port};
use crate::meeting::*;
use listener_versions::handover::{
    HandoverError, HandoverOptions, Offer, SuccessorEvent, take_over,
};

/// What a process that is none of ours says, and what is heard of it.
const NONSENSE: [(&[u8], &str); 6] = [
    (
        b"GET / HTTP/1.1\r\n\r\n",
        "it does not speak the handover protocol",
    ),
    (
        b"LVHO\0\x02\x01\0\0\0\0\x04\0\0\0\x01",
        "speaks version 2 of the handover protocol, this one version 1",
    ),
    (b"LVHO\0\x01\x01\0\0\xff\0\0", "a message is too long"),
    (
        b"LVHO\0\x01\x01\x01\0\0\0\x04\0\0\0\x01",
        "a message has no meaning",
    ),
    (
        b"LVHO\0\x01\x02\x01\0\0\0\x0f\0\x01\x0b127.0.0.1:1\0",
        "descriptors are missing",
    ),
    (b"LVHO\0\x01\x05\0\0\0\0\0", "it did not say hello"),
];

#[tokio::test]
async fn nonsense_is_refused_and_the_old_process_goes_on() {
    bounded(async {
        let meeting = Meeting::new("nonsense");
        let old = process(1);
        lds(&old, [at("a", free(), 0)]).await;
        let mut attempt = offered(&meeting, &old).await;
        for (nonsense, said) in NONSENSE {
            let mut stream = UnixStream::connect(meeting.path()).expect("it listens");
            stream.write_all(nonsense).expect("it is taken");
            let (offer, error) = failed(attempt).await;
            assert!(error.to_string().contains(said), "{error}");
            stream.read_to_end(&mut Vec::new()).expect("it is closed");
            attempt = offering(offer, &old);
        }
        assert_eq!(ask(port(&old, "a")).await.expect("it serves"), 1);
        drop(meeting.take_over().await);
        failed(attempt).await;
    })
    .await;
}

#[tokio::test]
async fn who_claims_a_socket_that_was_not_offered_gets_none() {
    bounded(async {
        let meeting = Meeting::new("claims");
        let old = process(1);
        lds(&old, [at("a", free(), 0)]).await;
        let mut attempt = offered(&meeting, &old).await;
        let claims: [(&[u8], &str); 2] = [
            (
                b"LVHO\0\x01\x03\0\0\0\0\x05\0\0\0\0\x07",
                "a socket that was not offered",
            ),
            // The first one, twice, and there may be more.
            (
                b"LVHO\0\x01\x03\0\0\0\0\x09\x01\0\0\0\0\0\0\0\0",
                "more sockets than were offered",
            ),
        ];
        for (claim, said) in claims {
            let mut stream = UnixStream::connect(meeting.path()).expect("it listens");
            stream.write_all(&hello(1)).expect("hello");
            stream.write_all(claim).expect("drain");
            let (offer, error) = failed(attempt).await;
            assert!(error.to_string().contains(said), "{error}");
            attempt = offering(offer, &old);
        }
        assert_eq!(ask(port(&old, "a")).await.expect("it serves"), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn neither_side_waits_for_ever() {
    let meeting = Meeting::new("silent");
    let old = process(1);
    lds(&old, [at("a", free(), 0)]).await;
    // A new process that says nothing, and one that is never ready.
    let mut attempt = offered(&meeting, &old).await;
    for hello in [&b""[..], &hello(1)] {
        let mut stream = UnixStream::connect(meeting.path()).expect("it listens");
        stream.write_all(hello).expect("it is taken");
        let (offer, error) = failed(attempt).await;
        assert!(matches!(error, HandoverError::TimedOut), "{error}");
        drop(stream);
        attempt = offering(offer, &old);
    }
    attempt.abort();
    // An old process that says nothing.
    let silent =
        std::os::unix::net::UnixListener::bind(meeting.0.join("silent.sock")).expect("a socket");
    let error = take_over(&meeting.0.join("silent.sock"), &HandoverOptions::default()).await;
    assert!(matches!(error, Err(HandoverError::TimedOut)), "{error:?}");
    drop(silent);
}

#[tokio::test]
async fn silent_clients_keep_no_new_process_out() {
    // More than may be silent at once, of which none gives up by itself.
    const SILENT: usize = 100;
    let patient = HandoverOptions::default().with_patience(Duration::from_secs(1000));
    bounded(async {
        let (meeting, a) = (Meeting::new("silent-crowd"), free());
        let old = process(1);
        lds(&old, [at("a", a.clone(), 0)]).await;
        let offer = Offer::bind(&meeting.path()).await.expect("it is free");
        let attempt = offering_with(offer, &old, patient.clone());
        let mut silent = Vec::new();
        for count in 0..SILENT {
            let connected = tokio::net::UnixStream::connect(meeting.path()).await;
            let mut stream = connected.expect("it listens").into_std().expect("a socket");
            stream.set_nonblocking(false).expect("a socket");
            if count % 2 == 0 {
                // The beginning of a hello is no hello.
                stream.write_all(b"LVHO\0").ok();
            }
            silent.push(stream);
            tokio::task::yield_now().await;
        }
        let new = restart(&meeting, vec![at("a", a, 0)]).await;
        let successor = replaced(attempt).await;
        drop((silent, new, successor));
    })
    .await;
}

#[tokio::test]
async fn silent_clients_keep_no_process_from_sockets_of_a_dead_one() {
    let patient = HandoverOptions::default()
        .with_patience(Duration::from_secs(1000))
        .with_keep(Duration::from_secs(1000));
    bounded(async {
        let (meeting, a) = (Meeting::new("silent-keep"), free());
        let old = process(1);
        lds(&old, [at("a", a.clone(), 0)]).await;
        let offer = Offer::bind(&meeting.path()).await.expect("it is free");
        let attempt = offering_with(offer, &old, patient);
        let (first, offer) = restart(&meeting, vec![at("a", a.clone(), 0)]).await;
        let mut successor = replaced(attempt).await;
        killed((offer, first.share_sockets())).await;
        drop(first);
        assert_eq!(successor.next().await, SuccessorEvent::Died);
        let keeping = tokio::spawn(async move { successor.next().await });
        let mut silent = Vec::new();
        for _ in 0..30 {
            let connected = tokio::net::UnixStream::connect(meeting.path()).await;
            silent.push(connected.expect("it listens"));
            tokio::task::yield_now().await;
        }
        let second = restart(&meeting, vec![at("a", a, 0)]).await;
        assert_eq!(keeping.await.expect("no panic"), SuccessorEvent::Replaced);
        drop((silent, second));
    })
    .await;
}
