//! Without a drain: both ways, half-close, back-pressure, and what a failed side leaves behind.

use crate::support;

use proptest::prelude::*;
use proto_drain_tcp::{CopyError, CopyOptions, DrainCopy, Ended, Side};
use std::{io, time::Duration};
use support::read_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::Instant,
};

/// A client and an upstream with a copy between them that was not started yet.
fn pair(
    buffer: usize,
) -> (
    DuplexStream,
    DuplexStream,
    DrainCopy<DuplexStream, DuplexStream>,
) {
    let (client, near) = duplex(buffer);
    let (far, upstream) = duplex(buffer);
    (client, upstream, DrainCopy::new(near, far))
}

#[tokio::test(start_paused = true)]
async fn the_end_of_one_half_is_passed_on_while_the_other_goes_on() {
    let (mut client, mut upstream, copy) = pair(64);
    let copy = tokio::spawn(copy);

    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut question = Vec::new();
    upstream.read_to_end(&mut question).await.unwrap();
    assert_eq!(question, b"question");

    upstream
        .write_all(b"a long answer, after the client's end")
        .await
        .unwrap();
    drop(upstream);
    assert_eq!(
        read_all(client).await,
        b"a long answer, after the client's end"
    );

    let report = copy.await.unwrap();
    assert!(matches!(report.ended, Ended::ByPeers));
    assert_eq!(
        (
            report.client_to_upstream.delivered,
            report.upstream_to_client.delivered
        ),
        (8, 37)
    );
    assert!(report.is_lossless());
}

#[tokio::test(start_paused = true)]
async fn a_side_that_does_not_read_stops_the_other_from_being_read() {
    let (mut client, mut upstream, copy) = pair(16);
    let mut copy = Box::pin(copy.with_options(CopyOptions::new().with_chunk(100)));
    let flood = vec![7; 1000];

    // Paused time moves on only when everything is stuck.
    tokio::select! {
        _ = &mut copy => panic!("nobody ended it"),
        _ = client.write_all(&flood) => panic!("a flood went nowhere"),
        () = tokio::time::sleep(Duration::from_secs(1)) => {}
    }
    let taken = copy.client_to_upstream();
    assert!(
        taken.delivered <= 16,
        "the upstream's buffer holds 16, not {}",
        taken.delivered
    );

    let mut got = vec![0; 32];
    tokio::select! {
        _ = &mut copy => panic!("nobody ended it"),
        read = upstream.read_exact(&mut got) => { read.unwrap(); }
    }
    assert_eq!(got, vec![7; 32]);
    assert_eq!(copy.upstream_to_client().delivered, 0);

    upstream.write_all(b"an answer").await.unwrap();
    tokio::select! {
        _ = &mut copy => panic!("nobody ended it"),
        read = client.read_exact(&mut got[..9]) => { read.unwrap(); }
    }
    assert_eq!(copy.upstream_to_client().delivered, 9);
}

#[tokio::test(start_paused = true)]
async fn one_direction_that_always_has_more_is_copied_on_while_the_other_rests() {
    let (mut client, mut upstream, copy) = pair(1024);
    // More chunks than one poll takes, and nothing from outside that would wake the copy again.
    client.write_all(&[7; 1000]).await.unwrap();
    tokio::spawn(copy.with_options(CopyOptions::new().with_chunk(1)));
    let mut got = vec![0; 1000];
    let read = upstream.read_exact(&mut got);
    let read = tokio::time::timeout(Duration::from_secs(60), read).await;
    read.expect("the copy sleeps over what it could take")
        .unwrap();
    assert_eq!(got, [7; 1000]);
}

#[tokio::test(start_paused = true)]
async fn what_a_peer_said_before_it_failed_is_still_delivered() {
    let client = tokio_test::io::Builder::new()
        .read(b"last words")
        .read_error(io::ErrorKind::ConnectionReset.into())
        .build();
    let (far, upstream) = duplex(4);
    let (report, heard) = tokio::join!(DrainCopy::new(client, far), read_all(upstream));

    assert_eq!(heard, b"last words");
    assert_eq!(report.client_to_upstream.delivered, 10);
    let Ended::Failed(error) = report.ended else {
        panic!("{report:?}")
    };
    assert!(
        matches!(
            error,
            CopyError::Read {
                side: Side::Client,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(error.to_string(), "cannot read from the client");
}

#[tokio::test(start_paused = true)]
async fn an_answer_given_before_the_request_was_read_survives_the_failed_write() {
    let upstream = tokio_test::io::Builder::new()
        .write_error(io::ErrorKind::BrokenPipe.into())
        .wait(Duration::from_millis(10))
        .read(b"413 too large")
        .build();
    let (mut client, near) = duplex(64);
    client.write_all(b"a large body").await.unwrap();
    let (report, heard) = tokio::join!(DrainCopy::new(near, upstream), read_all(client));

    assert_eq!(heard, b"413 too large");
    assert_eq!(report.client_to_upstream.undelivered, 12, "{report:?}");
    assert!(!report.is_lossless());
    let Ended::Failed(error) = report.ended else {
        panic!("{report:?}")
    };
    assert_eq!(error.to_string(), "cannot write to the upstream");
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_the_other_side_is_not_waited_for_without_end() {
    let client = tokio_test::io::Builder::new()
        .read(&[1; 100])
        .write_error(io::ErrorKind::BrokenPipe.into())
        .build();
    let (far, mut upstream_that_never_reads) = duplex(4);
    upstream_that_never_reads.write_all(b"hi").await.unwrap();
    let began = Instant::now();
    let report = DrainCopy::new(client, far).await;
    assert_eq!(
        (
            report.client_to_upstream.delivered,
            report.client_to_upstream.undelivered
        ),
        (4, 96)
    );
    assert_eq!(report.upstream_to_client.undelivered, 2);
    assert!(began.elapsed() <= Duration::from_secs(3));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_in_any_chunking_arrive_unchanged(
        up in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
        down in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
        buffer in 1usize..200,
        chunk in 1usize..200,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (client, upstream, copy) = pair(buffer);
            let copy = copy.with_options(CopyOptions::new().with_chunk(chunk));
            let talk = |stream: DuplexStream, words: Vec<Vec<u8>>| async move {
                let (read, mut write) = tokio::io::split(stream);
                let say = async {
                    for word in &words {
                        write.write_all(word).await.unwrap();
                    }
                    write.shutdown().await.unwrap();
                };
                tokio::join!(say, read_all(read)).1
            };
            let (at_client, at_upstream, report) =
                tokio::join!(talk(client, up.clone()), talk(upstream, down.clone()), copy);
            assert_eq!(at_client, down.concat());
            assert_eq!(at_upstream, up.concat());
            assert_eq!(report.client_to_upstream.delivered as usize, up.concat().len());
            assert_eq!(report.upstream_to_client.delivered as usize, down.concat().len());
            assert!(report.is_lossless());
        });
    }
}
