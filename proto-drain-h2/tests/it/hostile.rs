//! Hostile peers: in the gap they get the codec's own answer, and none outlives the drain.
#![cfg(all(feature = "hyper-util", feature = "h2"))]

use crate::support;
use crate::tls;

use drain_signal::CloseCause;
use hyper_util::rt::{TokioExecutor, TokioIo};
use proto_drain_h2::{CLIENT_PREFACE, GoawayIo, H2Drain, H2DrainSettings};
use support::*;
use tls::secured;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const PRIORITY_AND_PADDED: u8 = 0x28;

/// What a hostile client sends, by name.
fn attacks() -> Vec<(&'static str, Vec<u8>)> {
    let opens = |stream: u32| frame(HEADERS, 0x4, stream, &post("/never"));
    let many = |unit: &dyn Fn(u32) -> Vec<u8>| (0..3000).flat_map(unit).collect::<Vec<u8>>();
    let reset = |stream| frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
    let block = get("/");
    vec![
        (
            "rapid reset",
            many(&|n| [opens(2 * n + 1), reset(2 * n + 1)].concat()),
        ),
        (
            "CONTINUATION flood",
            [
                frame(HEADERS, 0, 1, &block),
                many(&|_| frame(CONTINUATION, 0, 1, &[0x82; 100])),
            ]
            .concat(),
        ),
        (
            "empty CONTINUATION flood",
            [
                frame(HEADERS, 0, 1, &block),
                many(&|_| frame(CONTINUATION, 0, 1, &[])),
            ]
            .concat(),
        ),
        (
            "SETTINGS flood",
            many(&|n| frame(SETTINGS, 0, 0, &[0, 4, 0, 0, n as u8, 9])),
        ),
        (
            "PING flood",
            many(&|n| frame(PING, 0, 0, &u64::from(n).to_be_bytes())),
        ),
        ("forged ACK flood", many(&|_| ping_ack(&SHUTDOWN_PING))),
        (
            "ACK in a header block",
            [
                frame(HEADERS, 0, 1, &block[..3]),
                ping_ack(&SHUTDOWN_PING),
                frame(CONTINUATION, 4, 1, &block[3..]),
            ]
            .concat(),
        ),
        (
            "oversize frame",
            [opens(1), frame(DATA, 0, 1, &[0; 20_000])].concat(),
        ),
        ("ACK of nine bytes", frame(PING, 1, 0, &[0; 9])),
        ("ACK on a stream", frame(PING, 1, 1, &SHUTDOWN_PING)),
        ("PUSH_PROMISE", frame(5, 4, 1, &[0, 0, 0, 2, 0x82])),
        (
            "extension frames",
            many(&|n| frame(0xbe, n as u8, n, b"an extension")),
        ),
        (
            "padding and priority",
            frame(
                HEADERS,
                0x5 | PRIORITY_AND_PADDED,
                1,
                &[&[4, 0, 0, 0, 3, 15], &block[..], &[0; 4]].concat(),
            ),
        ),
        (
            "empty DATA flood",
            [opens(1), many(&|_| frame(DATA, 0, 1, &[]))].concat(),
        ),
        (
            "GOAWAY flood",
            many(&|n| frame(GOAWAY, 0, 0, &[0, 0, 0, 9, 0, 0, 0, n as u8])),
        ),
        (
            "WINDOW_UPDATE overflow",
            many(&|_| frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        ),
        ("half a frame", opens(1)[..12].to_vec()),
    ]
}

/// What the server answers, and whether it ends the connection; heads and bodies of answers differ
/// with the clock.
async fn answers(attack: &[u8], wrapped: bool) -> Vec<(u8, u8, u32, Vec<u8>)> {
    let (client, io) = tokio::io::duplex(1 << 16);
    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let handle = if wrapped {
        let (io, handle) = GoawayIo::new(io, &H2Drain::default());
        tokio::spawn(builder.serve_connection(TokioIo::new(io), service()));
        Some(handle)
    } else {
        tokio::spawn(builder.serve_connection(TokioIo::new(io), service()));
        None
    };
    let (mut read, mut write) = tokio::io::split(client);
    write.write_all(CLIENT_PREFACE).await.unwrap();
    write.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    tokio::time::sleep(millis(10)).await;
    if let Some(handle) = handle {
        handle.notice();
    }
    tokio::time::sleep(millis(10)).await;
    let attack = attack.to_vec();
    // It may be cut off.
    let writer = tokio::spawn(async move { write.write_all(&attack).await.map(|()| write) });
    let mut answers = Vec::new();
    // In paused time quiet means that nothing can happen any more.
    while let Ok(Some(mut frame)) = tokio::time::timeout(secs(1), Frame::read(&mut read)).await {
        if matches!(frame.kind, HEADERS | DATA) {
            frame.payload.clear();
        }
        answers.push((frame.kind, frame.flags, frame.stream, frame.payload));
    }
    drop(writer);
    answers
}

#[tokio::test(start_paused = true)]
async fn in_the_gap_a_hostile_peer_gets_the_same_answers_as_without_the_wrapper() {
    let notice = (GOAWAY, 0, 0, vec![0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    for (name, attack) in attacks() {
        let mut wrapped = answers(&attack, true).await;
        let before = wrapped.len();
        wrapped.retain(|frame| *frame != notice);
        assert_eq!(before - wrapped.len(), 1, "{name}: one notice");
        assert_eq!(wrapped, answers(&attack, false).await, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_clients_that_do_not_read_leave_nothing_behind() {
    let settings = H2DrainSettings::default().with_drain_timeout(millis(200));
    let (trigger, signal) = drain_signal::channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut clients = Vec::new();
    for _ in 0..20 {
        let (client, served) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut client, served) = secured(client.unwrap(), served.unwrap().0, &[b"h2"]).await;
        let (_, _, ended) = serve(Server::Auto, served, &settings, signal.watch().unwrap());
        client.write_all(CLIENT_PREFACE).await.unwrap();
        let windows = [
            frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]),
            frame(8, 0, 0, &[0x7f, 0, 0, 0]),
            frame(HEADERS, 0x5, 1, &get("/floods")),
        ];
        client.write_all(&windows.concat()).await.unwrap();
        client.flush().await.unwrap();
        clients.push((client.into_inner().0, ended));
    }
    // Long enough for the kernel's buffers to be full.
    tokio::time::sleep(millis(300)).await;
    begin(trigger, millis(500));
    for (mut client, ended) in clients {
        let ended = tokio::time::timeout(secs(20), ended)
            .await
            .expect("still there")
            .unwrap();
        // A busy machine may not come back to it between the cut and the driver's drop.
        assert!(matches!(
            ended.cause,
            CloseCause::Aborted | CloseCause::Overdue
        ));
        // What the kernel has taken, then the end.
        let mut bytes = vec![0; 1 << 16];
        let end = async { while matches!(client.read(&mut bytes).await, Ok(1..)) {} };
        tokio::time::timeout(secs(20), end)
            .await
            .expect("the socket is still open");
    }
}
