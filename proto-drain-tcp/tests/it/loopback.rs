//! On real sockets: what the peer's kernel sees. No test here waits for a clock.

use crate::support;

use drain_signal::drive;
use proto_drain_tcp::{CloseMode, CopyOptions, DrainCopy, Ended, TcpDrainPolicy};
use socket2::{SockRef, Socket};
use std::{io, time::Duration};
use support::{connection, drain, read_all};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Another handle of the same socket, to look at its options after the copy has gone.
fn handle(stream: &TcpStream) -> Socket {
    SockRef::from(stream).try_clone().unwrap()
}

fn at_slot() -> CopyOptions {
    CopyOptions::new().with_policy(TcpDrainPolicy::AtSlot)
}

#[tokio::test]
async fn a_talking_client_gets_every_byte_delivered_and_then_fin() {
    let (mut client, near) = connection().await;
    let (far, mut upstream) = connection().await;
    let (_trigger, signal) = drain();
    let watch = signal.watch().unwrap();
    let handle = watch.handle();
    let copy = tokio::spawn(drive(
        // All that the copy may have to discard, however late a busy machine runs it.
        DrainCopy::new(near, far)
            .with_options(at_slot().with_linger(Duration::from_secs(60), 1 << 20)),
        watch,
    ));

    let answer: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    let served = answer.clone();
    let upstream = tokio::spawn(async move {
        upstream.write_all(&served).await.unwrap();
        // Told to leave when all is sent: 300 kB of the answer lie in buffers on the way.
        handle.start_now();
        read_all(upstream).await
    });
    // The client talks all the time, and reads late: without a lingering close it would get RST and
    // lose the answer.
    let sent = 200_000;
    client.write_all(&vec![1; sent]).await.unwrap();
    let heard_by_upstream = upstream.await.unwrap();
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.expect("FIN, no RST");
    drop(client);

    let report = copy.await.unwrap().output.expect("a report");
    assert!(matches!(report.ended, Ended::Signaled), "{report:?}");
    assert_eq!(report.upstream_to_client.delivered, heard.len() as u64);
    assert_eq!(heard, answer[..heard.len()]);
    assert_eq!(
        heard.len() as u64 + report.upstream_to_client.discarded,
        answer.len() as u64
    );
    assert_eq!(
        report.client_to_upstream.delivered,
        heard_by_upstream.len() as u64
    );
    assert_eq!(
        report.client_to_upstream.undelivered + report.upstream_to_client.undelivered,
        0
    );
}

#[tokio::test]
async fn half_close_passes_through_real_sockets() {
    let (mut client, near) = connection().await;
    let (far, mut upstream) = connection().await;
    let copy = tokio::spawn(DrainCopy::new(near, far));
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut question = Vec::new();
    upstream.read_to_end(&mut question).await.unwrap();
    upstream.write_all(&question).await.unwrap();
    drop(upstream);
    assert_eq!(read_all(client).await, b"question");
    assert!(copy.await.unwrap().is_lossless());
}

#[tokio::test]
async fn fin_is_the_default_and_rst_the_named_choice() {
    for mode in [CloseMode::Fin, CloseMode::Reset] {
        let (mut client, near) = connection().await;
        let (far, mut upstream) = connection().await;
        let (_trigger, signal) = drain();
        let watch = signal.watch().unwrap();
        watch.start_now();
        let copy = DrainCopy::new(near, far)
            .with_options(at_slot())
            .with_close_mode(mode);
        let copy = tokio::spawn(drive(copy, watch));
        for peer in [&mut client, &mut upstream] {
            match (mode, peer.read(&mut [0]).await) {
                (CloseMode::Fin, Ok(0)) => {}
                (CloseMode::Reset, Err(error))
                    if error.kind() == io::ErrorKind::ConnectionReset => {}
                (mode, read) => panic!("{mode:?}: {read:?}"),
            }
        }
        drop((client, upstream));
        assert!(copy.await.unwrap().output.is_some());
    }
}

#[tokio::test]
async fn no_close_leaves_a_positive_linger_so_no_drop_can_block() {
    for (mode, linger) in [
        (CloseMode::Fin, None),
        (CloseMode::Reset, Some(Duration::ZERO)),
    ] {
        let (client, near) = connection().await;
        let (far, upstream) = connection().await;
        let handles = [handle(&near), handle(&far)];
        let (_trigger, signal) = drain();
        let watch = signal.watch().unwrap();
        watch.start_now();
        let copy = DrainCopy::new(near, far)
            .with_options(at_slot())
            .with_close_mode(mode);
        let closing = tokio::spawn(drive(copy, watch));
        drop((client, upstream));
        closing.await.unwrap();
        for handle in handles {
            assert_eq!(handle.linger().unwrap(), linger, "{mode:?}");
        }
    }
}

#[tokio::test]
async fn a_copy_that_its_peers_end_is_not_reset_although_the_drain_would() {
    let (mut client, near) = connection().await;
    let (far, upstream) = connection().await;
    let copy = tokio::spawn(DrainCopy::new(near, far).with_close_mode(CloseMode::Reset));
    drop(upstream);
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    drop(client);
    assert!(matches!(copy.await.unwrap().ended, Ended::ByPeers));
}

#[tokio::test]
async fn dropping_a_copy_whose_peers_take_nothing_does_not_block_the_worker() {
    for mode in [CloseMode::Fin, CloseMode::Reset] {
        let (mut client, near) = connection().await;
        let (far, upstream) = connection().await;
        let mut copy = Box::pin(DrainCopy::new(near, far).with_close_mode(mode));
        // Until the kernel's buffers on the way to the upstream, which reads nothing, are full:
        // unsent data is what a positive linger waits for.
        let flood = vec![7; 64 * 1024];
        let mut taken = 0;
        loop {
            tokio::select! {
                biased;
                _ = &mut copy => panic!("nobody ended it"),
                written = client.write(&flood) => { written.unwrap(); }
                () = settled() => {}
            }
            let now = copy.client_to_upstream().delivered;
            if now > 0 && now == taken {
                break;
            }
            taken = now;
        }
        // This thread is the only worker: were the drop to block, the other thread would see no
        // word from it.
        let (done, dropped) = std::sync::mpsc::channel();
        let waiting = std::thread::spawn(move || dropped.recv_timeout(Duration::from_secs(20)));
        drop(copy);
        done.send(()).unwrap();
        waiting.join().unwrap().expect("the drop returned");
        drop(upstream);
    }
}

/// Lets every task and the kernel's loopback run for a while.
async fn settled() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}
