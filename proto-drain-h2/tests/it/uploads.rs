//! Uploads without a pause: the final GOAWAY comes at its time, whatever the frames and the pace;
//! over pipes, TCP and TLS.
#![cfg(all(feature = "hyper-util", feature = "h2"))]

use crate::support;
use crate::tls;

use proto_drain_h2::H2DrainSettings;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;
use support::*;
use tls::secured;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// How a client uploads: DATA frames of one size, written in pieces of another, with a pause
/// between two pieces.
#[derive(Clone, Copy, Debug)]
struct Shape {
    frame: usize,
    piece: usize,
    every: Duration,
}

/// What the client's reader and writer know of each other.
#[derive(Default)]
struct Shared {
    window: AtomicI64,
    goaways: AtomicU32,
    changed: Notify,
}

/// Uploads until the final GOAWAY has come, and ends the stream then. Returns the gap.
async fn uploads<C, S>(
    server: Server,
    client: C,
    served: S,
    shape: Shape,
    drain_timeout: Duration,
) -> Duration
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let settings = H2DrainSettings::default().with_drain_timeout(drain_timeout);
    let (trigger, signal) = drain_signal::channel();
    let (handle, _, ended) = serve(server, served, &settings, signal.watch().unwrap());
    let (mut read, mut write) = tokio::io::split(RawClient::new(client).await.io);
    write
        .write_all(&frame(HEADERS, 0x4, 1, &post("/sum")))
        .await
        .unwrap();
    let shared = Arc::new(Shared::default());
    shared.window.store(65_535, Ordering::SeqCst);
    let writes = Arc::clone(&shared);
    let writer = tokio::spawn(async move {
        let (mut out, mut sent) = (Vec::new(), 0);
        while writes.goaways.load(Ordering::SeqCst) < 2 {
            while out.len() < shape.piece {
                let changed = writes.changed.notified();
                if writes.window.load(Ordering::SeqCst) < shape.frame as i64 {
                    changed.await;
                    continue;
                }
                writes
                    .window
                    .fetch_sub(shape.frame as i64, Ordering::SeqCst);
                out.extend(frame(DATA, 0, 1, &vec![7; shape.frame]));
                sent += shape.frame;
            }
            write.write_all(&out[..shape.piece]).await.expect("cut off");
            out.drain(..shape.piece);
            tokio::time::sleep(shape.every).await;
        }
        out.extend(frame(DATA, 1, 1, &[]));
        write.write_all(&out).await.expect("cut off");
        (sent, write)
    });
    begin(trigger, secs(120));
    let mut goaways = Vec::new();
    let mut body = Vec::new();
    let mut ends = false;
    while let Some(frame) = Frame::read(&mut read).await {
        match frame.kind {
            WINDOW_UPDATE if frame.stream == 0 => {
                shared.window.fetch_add(frame.window(), Ordering::SeqCst);
            }
            GOAWAY => {
                goaways.push((frame.goaway_id(), frame.at));
                shared.goaways.fetch_add(1, Ordering::SeqCst);
            }
            DATA => {
                body.extend(&frame.payload);
                ends |= frame.flags & 1 != 0;
            }
            _ => {}
        }
        shared.changed.notify_one();
        if ends && goaways.len() == 2 {
            break;
        }
    }
    let (sent, write) = writer.await.unwrap();
    let answer = String::from_utf8(body).unwrap();
    assert!(
        answer.starts_with(&format!("{sent} bytes")),
        "{server:?} {shape:?}: {sent}, {answer}"
    );
    assert_eq!(Frame::read(&mut read).await, None, "{server:?} {shape:?}");
    drop((read, write));
    assert_eq!(
        ended.await.unwrap().output,
        Some(Ok(())),
        "{server:?} {shape:?}"
    );
    assert!(!handle.is_lost());
    let ids: Vec<_> = goaways.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [NOTICE, 1], "{server:?} {shape:?}");
    goaways[1].1 - goaways[0].1
}

#[tokio::test(start_paused = true)]
async fn the_gap_is_exact_for_any_frame_size_and_pace_of_an_upload() {
    let sizes = [
        (16_384, 1448),
        (4096, 1448),
        (6000, 1448),
        (7005, 1448),
        (2053, 1448),
        (5005, 1400),
        (1000, 1448),
        (100, 1448),
        (16_384, 97),
        (1, 7),
        (1439, 1448),
    ];
    for (frame, piece) in sizes {
        for every in [1, 5, 40] {
            let shape = Shape {
                frame,
                piece,
                every: millis(every),
            };
            let (client, served) = tokio::io::duplex(1 << 16);
            let gap = uploads(Server::Auto, client, served, shape, secs(2)).await;
            // The rest of the frame under way, in the pace of the client, and the granularity of
            // the timers.
            let pieces = (frame + 9).div_ceil(piece) as u32 + 1;
            let rest = pieces * shape.every + millis(2);
            assert!(
                gap >= secs(2) && gap <= secs(2) + rest,
                "{shape:?}: {gap:?}"
            );
        }
    }
}

pub(crate) async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    client.set_nodelay(true).unwrap();
    (client, listener.accept().await.unwrap().0)
}

/// The first ones of the sizes above that were cut off, or late by seconds, when reads ended where
/// they ended.
const SHAPES: [(usize, usize, u64); 4] = [
    (7005, 1448, 5),
    (2053, 1448, 5),
    (16_384, 1448, 1),
    (6000, 1448, 2),
];

/// The gap as a client on a busy machine sees it, which may read the first GOAWAY late: what
/// matters is that the final one comes while it goes on.
fn assert_ended_in_time(gap: Duration) {
    assert!(gap >= millis(400) && gap < secs(5), "{gap:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_over_tcp_gets_the_final_goaway_while_it_goes_on() {
    let runs = SHAPES.map(|(frame, piece, every)| {
        tokio::spawn(async move {
            let (client, served) = sockets().await;
            let every = millis(every);
            uploads(
                Server::Auto,
                client,
                served,
                Shape {
                    frame,
                    piece,
                    every,
                },
                millis(500),
            )
            .await
        })
    });
    for run in runs {
        assert_ended_in_time(run.await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_over_tls_gets_the_final_goaway_while_it_goes_on() {
    let runs = SHAPES.map(|(frame, piece, every)| {
        tokio::spawn(async move {
            let (client, served) = sockets().await;
            let (client, served) = secured(client, served, &[b"h2"]).await;
            let every = millis(every);
            uploads(
                Server::Auto,
                client,
                served,
                Shape {
                    frame,
                    piece,
                    every,
                },
                millis(500),
            )
            .await
        })
    });
    for run in runs {
        assert_ended_in_time(run.await.unwrap());
    }
}

#[tokio::test]
async fn an_upload_within_the_windows_does_not_destroy_the_last_response() {
    const BODY: usize = 300_000;
    let (mut client, served) = sockets().await;
    let settings = H2DrainSettings::default()
        .with_drain_timeout(millis(50))
        .with_delayed_close_timeout(secs(30));
    let (trigger, signal) = drain_signal::channel();
    // Answers without a look at the upload.
    let service = hyper::service::service_fn(|_request| async {
        let body = http_body_util::Full::new(bytes::Bytes::from(vec![b'r'; BODY]));
        Ok::<_, std::convert::Infallible>(http::Response::new(body))
    });
    let watch = signal.watch().unwrap();
    let (handle, _, ended) = serve_with(Server::Hyper, service, served, &settings, watch);
    client
        .write_all(proto_drain_h2::CLIENT_PREFACE)
        .await
        .unwrap();
    let windows = [
        frame(SETTINGS, 0, 0, &[0, 4, 0, 0x10, 0, 0]),
        frame(WINDOW_UPDATE, 0, 0, &[0, 0x10, 0, 0]),
    ];
    client.write_all(&windows.concat()).await.unwrap();
    // hyper's windows are those of its default settings when its SETTINGS have come.
    while Frame::read(&mut client).await.unwrap().kind != WINDOW_UPDATE {}
    client
        .write_all(&frame(HEADERS, 0x4, 1, &post("/early")))
        .await
        .unwrap();
    begin(trigger, secs(60));
    handle.reached(proto_drain_h2::H2Phase::GoingAway).await;
    // What hyper's windows allow, 1 MiB, while nothing of the response is read; part of it comes
    // into the delayed close.
    for _ in 0..63 {
        client
            .write_all(&frame(DATA, 0, 1, &[7; 16_384]))
            .await
            .unwrap();
        tokio::time::sleep(millis(2)).await;
    }
    // The delayed close is over with this.
    client.shutdown().await.unwrap();
    ended.await.unwrap();
    let mut got = 0;
    while let Some(frame) = Frame::read(&mut client).await {
        if frame.kind == DATA {
            got += frame.payload.len();
        }
    }
    assert_eq!(got, BODY);
}
