//! How a connection ends: the delayed close, the deadline, peers that never spoke, and what is not
//! HTTP/2.
#![cfg(all(feature = "hyper-util", feature = "h2"))]

use crate::support;

use bytes::Bytes;
use drain_signal::{CloseCause, DrainHandle};
use http_body::Body;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use proto_drain_h2::{
    CLIENT_PREFACE, GoawayIo, H2Drain, H2DrainSettings, H2Phase, NoticeFirst, ResetStream,
    StreamError, StreamsAtDeadline, WireProtocol,
};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::Instant;

struct Pair {
    client: DuplexStream,
    handle: proto_drain_h2::GoawayHandle,
    trigger: drain_signal::DrainTrigger,
    drain: DrainHandle,
    ended: Ended,
}

fn pair(server: Server, buffer: usize, settings: &H2DrainSettings) -> Pair {
    let (client, io) = tokio::io::duplex(buffer);
    let (trigger, signal) = drain_signal::channel();
    let watch = signal.watch().unwrap();
    let drain = watch.handle();
    let (handle, _, ended) = serve(server, io, settings, watch);
    Pair {
        client,
        handle,
        trigger,
        drain,
        ended,
    }
}

#[tokio::test(start_paused = true)]
async fn streams_open_at_the_deadline_are_reset_and_the_connection_closed() {
    for server in [Server::Hyper, Server::Auto, Server::AutoUpgradeable] {
        let it = pair(server, 1 << 16, &H2DrainSettings::default());
        let mut client = RawClient::new(it.client).await;
        client
            .send(
                &[
                    request(1, "/never"),
                    request(3, "/endless"),
                    request(5, "/slow-1000"),
                ]
                .concat(),
            )
            .await;
        let head = client.expect(HEADERS).await;
        assert_eq!((head.stream, head.flags & 1), (3, 0));
        let start = Instant::now();
        begin(it.trigger, secs(8));
        assert_eq!(client.expect(GOAWAY).await.goaway_id(), NOTICE);
        client.expect_ok(5).await;
        assert_eq!(client.expect(GOAWAY).await.goaway_id(), 5);
        let mut reset = Vec::new();
        for _ in 0..2 {
            let frame = client.expect(RST_STREAM).await;
            assert_eq!(frame.payload, [0, 0, 0, 8], "CANCEL");
            assert_took(frame.at - start, secs(8));
            reset.push(frame.stream);
        }
        reset.sort_unstable();
        assert_eq!(reset, [1, 3]);
        client.expect_end().await;
        assert_took(start.elapsed(), secs(8));
        let end = it.ended.await.unwrap();
        assert_eq!(
            (end.output, end.cause),
            (Some(Ok(())), CloseCause::Aborted),
            "{server:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn streams_that_nobody_resets_are_cut_before_the_driver_drops_the_connection() {
    let it = pair(Server::H2, 1 << 16, &H2DrainSettings::default());
    let mut client = RawClient::new(it.client).await;
    client.send(&request(1, "/never")).await;
    let start = Instant::now();
    begin(it.trigger, secs(8));
    for kind in [GOAWAY, GOAWAY] {
        client.expect(kind).await;
    }
    client.expect_end().await;
    assert_took(start.elapsed(), secs(8) + StreamsAtDeadline::GRACE);
    let end = it.ended.await.unwrap();
    assert_eq!((end.output, end.cause), (Some(Ok(())), CloseCause::Aborted));
}

#[tokio::test(start_paused = true)]
async fn envoys_abrupt_cut_is_a_setting() {
    let it = pair(
        Server::Auto,
        1 << 16,
        &H2DrainSettings::default().with_at_deadline(StreamsAtDeadline::Cut),
    );
    let mut client = RawClient::new(it.client).await;
    client.send(&request(1, "/never")).await;
    let start = Instant::now();
    begin(it.trigger, secs(8));
    for kind in [GOAWAY, GOAWAY] {
        client.expect(kind).await;
    }
    assert_eq!(client.next().await, None, "no RST_STREAM");
    assert_took(start.elapsed(), secs(8));
    assert_eq!(it.ended.await.unwrap().output, Some(Ok(())));
}

#[tokio::test(start_paused = true)]
async fn envoys_cut_hurries_no_goaway_before_the_deadline_and_says_none_there() {
    let cut = H2DrainSettings::default()
        .with_drain_timeout(secs(5))
        .with_at_deadline(StreamsAtDeadline::Cut);
    for server in SERVERS {
        // Less than the drain timeout is left: no second GOAWAY. Nothing is left: none at all.
        for (drain_time, told) in [(secs(4), true), (secs(0), false)] {
            let it = pair(server, 1 << 16, &cut);
            let mut client = RawClient::new(it.client).await;
            client.send(&request(1, "/")).await;
            client.expect_ok(1).await;
            let start = Instant::now();
            begin(it.trigger, drain_time);
            if told {
                assert_eq!(client.expect(GOAWAY).await.goaway_id(), NOTICE);
            }
            client.expect_end().await;
            assert_took(start.elapsed(), drain_time);
            assert_eq!(it.ended.await.unwrap().output, Some(Ok(())), "{server:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_reading_is_gone_by_the_deadline() {
    for server in SERVERS {
        let it = pair(server, 64, &H2DrainSettings::default());
        let mut client = RawClient::new(it.client).await;
        for stream in 0..6 {
            client.send(&request(2 * stream + 1, "/")).await;
            tokio::task::yield_now().await;
        }
        let start = Instant::now();
        begin(it.trigger, secs(8));
        let end = it.ended.await.unwrap();
        assert_took(start.elapsed(), secs(8) + StreamsAtDeadline::GRACE);
        assert_eq!(
            (end.output, end.cause),
            (Some(Ok(())), CloseCause::Aborted),
            "{server:?}"
        );
        drop(client);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_not_spoken_when_told_may_still_do_so() {
    for server in SERVERS {
        let it = pair(
            server,
            1 << 16,
            &H2DrainSettings::default().with_drain_timeout(secs(2)),
        );
        let mut io = it.client;
        begin(it.trigger, secs(60));
        tokio::time::sleep(millis(400)).await;
        assert_eq!(it.handle.protocol(), WireProtocol::Unknown);
        io.write_all(&CLIENT_PREFACE[..7]).await.unwrap();
        tokio::time::sleep(millis(400)).await;
        io.write_all(&CLIENT_PREFACE[7..]).await.unwrap();
        io.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        io.write_all(&request(1, "/")).await.unwrap();
        let mut client = RawClient { io };
        let notice = client.expect(GOAWAY).await;
        assert_eq!(notice.goaway_id(), NOTICE);
        client.expect_ok(1).await;
        assert_eq!(it.handle.protocol(), WireProtocol::Http2);
        let last = client.expect(GOAWAY).await;
        assert_eq!(last.goaway_id(), 1, "{server:?}");
        assert_took(last.at - notice.at, secs(2));
        drop(client);
        assert_eq!(it.ended.await.unwrap().output, Some(Ok(())), "{server:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_speaks_is_closed_in_good_order() {
    for server in SERVERS {
        let it = pair(server, 1 << 16, &H2DrainSettings::default());
        let start = Instant::now();
        begin(it.trigger, secs(60));
        let end = it.ended.await.unwrap();
        assert_took(start.elapsed(), secs(1));
        assert_eq!(
            (end.output, end.cause),
            (Some(Ok(())), CloseCause::Drained),
            "{server:?}"
        );
        assert_eq!(it.handle.phase(), H2Phase::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_of_a_preface_has_until_the_deadline_for_the_rest() {
    for server in SERVERS {
        for (said, goes_on) in [(1, true), (5, true), (23, true), (5, false)] {
            let it = pair(server, 1 << 16, &H2DrainSettings::default());
            let mut io = it.client;
            io.write_all(&CLIENT_PREFACE[..said]).await.unwrap();
            tokio::task::yield_now().await;
            let start = Instant::now();
            begin(it.trigger, secs(60));
            if !goes_on {
                it.ended.await.unwrap();
                assert_took(start.elapsed(), secs(60) + StreamsAtDeadline::GRACE);
                continue;
            }
            tokio::time::sleep(secs(30)).await;
            io.write_all(&CLIENT_PREFACE[said..]).await.unwrap();
            io.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
            io.write_all(&request(1, "/")).await.unwrap();
            let mut client = RawClient { io };
            assert_eq!(client.expect(GOAWAY).await.goaway_id(), NOTICE);
            client.expect_ok(1).await;
            drop(client);
            assert_eq!(it.ended.await.unwrap().output, Some(Ok(())), "{server:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_time_for_the_first_bytes_a_part_of_a_preface_is_closed_at_once() {
    for server in SERVERS {
        let settings = H2DrainSettings::default().with_first_bytes_timeout(secs(0));
        let it = pair(server, 1 << 16, &settings);
        let mut io = it.client;
        io.write_all(&CLIENT_PREFACE[..5]).await.unwrap();
        tokio::task::yield_now().await;
        let start = Instant::now();
        begin(it.trigger, secs(60));
        it.ended.await.unwrap();
        assert_took(start.elapsed(), secs(0));
    }
}

#[tokio::test(start_paused = true)]
async fn the_delayed_close_ends_with_the_peer_and_discards_what_it_still_sends() {
    let it = pair(
        Server::Auto,
        1 << 16,
        &H2DrainSettings::default().with_drain_timeout(secs(2)),
    );
    let mut client = RawClient::new(it.client).await;
    begin(it.trigger, secs(60));
    for kind in [GOAWAY, GOAWAY] {
        client.expect(kind).await;
    }
    let last = Instant::now();
    // Ignored, but read: the pipe would fill otherwise.
    for stream in 0..2000 {
        client.send(&request(2 * stream + 1, "/")).await;
    }
    tokio::time::sleep(millis(300)).await;
    client.io.shutdown().await.unwrap();
    client.expect_end().await;
    assert_took(last.elapsed(), millis(300));
    assert_eq!(it.ended.await.unwrap().output, Some(Ok(())));
}

#[tokio::test(start_paused = true)]
async fn the_delayed_close_is_bounded_against_a_peer_that_floods() {
    let settings = H2DrainSettings::default()
        .with_drain_timeout(secs(2))
        .with_delayed_close_timeout(secs(3));
    for (settings, limit) in [
        (settings.clone(), 16 << 20),
        (settings.with_discard_limit(1 << 20), 1 << 20),
    ] {
        let it = pair(Server::Hyper, 1 << 16, &settings);
        let mut client = RawClient::new(it.client).await;
        begin(it.trigger, secs(60));
        for kind in [GOAWAY, GOAWAY] {
            client.expect(kind).await;
        }
        let last = Instant::now();
        let (mut read, mut write) = tokio::io::split(client.io);
        let flood = tokio::spawn(async move {
            let mut sent = 0;
            while write.write_all(&[0; 1024]).await.is_ok() {
                sent += 1024;
            }
            sent
        });
        assert_eq!(read.read(&mut [0; 1]).await.unwrap(), 0);
        assert_took(last.elapsed(), secs(3));
        assert_eq!(it.ended.await.unwrap().output, Some(Ok(())));
        drop(read);
        let sent: usize = flood.await.unwrap();
        assert!(
            (limit..=limit + (64 << 10) + 4096).contains(&sent),
            "{sent} bytes were taken"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_delayed_close_the_transport_ends_with_the_last_stream() {
    let settings = H2DrainSettings::default()
        .with_drain_timeout(secs(2))
        .with_delayed_close_timeout(secs(0));
    let it = pair(Server::Auto, 1 << 16, &settings);
    let mut client = RawClient::new(it.client).await;
    begin(it.trigger, secs(60));
    for kind in [GOAWAY, GOAWAY] {
        client.expect(kind).await;
    }
    assert_took(client.expect_end().await, secs(0));
}

#[tokio::test(start_paused = true)]
async fn a_close_before_the_final_goaway_waits_for_no_peer() {
    for told in [false, true] {
        let (client, io) = tokio::io::duplex(1 << 10);
        let (mut io, handle) = GoawayIo::new(io, &H2Drain::default());
        let mut client = RawClient::new(client).await;
        let settings = frame(SETTINGS, 0, 0, &[]);
        io.read_exact(&mut [0; CLIENT_PREFACE.len()]).await.unwrap();
        io.write_all(&settings).await.unwrap();
        if told {
            handle.notice();
            io.read_exact(&mut settings.clone()).await.unwrap();
            assert_eq!(client.expect(GOAWAY).await.goaway_id(), NOTICE);
        }
        let start = Instant::now();
        io.shutdown().await.unwrap();
        assert_took(start.elapsed(), secs(0));
        client.expect_end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_breaks_off_after_the_notice_is_a_good_end_and_before_it_none() {
    for (told, good) in [(true, true), (false, false)] {
        let it = pair(Server::Hyper, 1 << 16, &H2DrainSettings::default());
        let mut client = RawClient::new(it.client).await;
        client.send(&request(1, "/never")).await;
        tokio::task::yield_now().await;
        if told {
            begin(it.trigger, secs(60));
            client.expect(GOAWAY).await;
        }
        client.send(&request(3, "/")[..4]).await;
        drop(client);
        let end = it.ended.await.unwrap();
        assert_eq!(end.output.unwrap().is_ok(), good, "told: {told}");
    }
}

#[tokio::test(start_paused = true)]
async fn http_1_passes_through_and_is_told_in_its_own_way() {
    let it = pair(Server::Auto, 1 << 16, &H2DrainSettings::default());
    let mut io = it.client;
    io.write_all(b"GET /slow-500 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    tokio::time::sleep(millis(100)).await;
    assert_eq!(it.handle.protocol(), WireProtocol::Other);
    begin(it.trigger, secs(60));
    let mut answer = String::new();
    io.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(answer.ends_with("slow"), "{answer}");
    assert_eq!(it.ended.await.unwrap().output, Some(Ok(())));
}

#[tokio::test(start_paused = true)]
async fn the_goaway_precedes_the_headers_of_the_response_that_triggers_it() {
    let (io, server) = tokio::io::duplex(1 << 16);
    let settings = H2DrainSettings::default().with_drain_timeout(secs(2));
    let (trigger, signal) = drain_signal::channel();
    let watch = signal.watch().unwrap();
    // The drain has begun, but only the lazy question finds out: nobody paces this connection's
    // slot by a timer.
    let decision = AlwaysClose;
    let connection = H2Drain::new(settings).connection(server, |io, parts| {
        let service = NoticeFirst::new(service(), decision, watch.handle(), parts.handle().clone());
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(io), service)
    });
    tokio::spawn(drain_signal::drive(connection, watch));
    let mut client = RawClient::new(io).await;
    client.send(&request(1, "/slow-50")).await;
    let notice = client.expect(GOAWAY).await;
    client.expect_ok(1).await;
    assert_took(notice.at.elapsed(), secs(0));
    client.send(&request(3, "/")).await;
    client.expect_ok(3).await;
    assert_took(client.expect(GOAWAY).await.at - notice.at, secs(2));
    drop(trigger);
}

#[tokio::test(start_paused = true)]
async fn an_http_1_response_waits_for_no_goaway() {
    let (mut client, io) = tokio::io::duplex(1 << 16);
    let (trigger, signal) = drain_signal::channel();
    let watch = signal.watch().unwrap();
    let connection = H2Drain::default().connection(io, |io, parts| {
        let handle = parts.handle().clone();
        let service = NoticeFirst::new(service(), AlwaysClose, watch.handle(), handle);
        hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(io), service)
            .into_owned()
    });
    tokio::spawn(drain_signal::drive(connection, watch));
    let start = Instant::now();
    let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    client.write_all(request).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("ok"), "{answer}");
    assert_took(start.elapsed(), secs(0));
    drop(trigger);
}

#[derive(Clone, Debug)]
struct AlwaysClose;

impl drain_signal::DrainDecision for AlwaysClose {
    fn is_due(&self) -> bool {
        true
    }
}

#[tokio::test(start_paused = true)]
async fn told_alone_without_a_drain_it_says_goodbye_too() {
    let it = pair(Server::Auto, 1 << 16, &H2DrainSettings::default());
    let mut client = RawClient::new(it.client).await;
    client.send(&request(1, "/")).await;
    client.expect_ok(1).await;
    it.drain.start_now();
    let notice = client.expect(GOAWAY).await;
    assert_took(client.expect(GOAWAY).await.at - notice.at, secs(5));
    assert_took(client.expect_end().await, secs(1));
    drop(it.trigger);
}

#[tokio::test(start_paused = true)]
async fn the_handle_shows_when_the_protocol_is_known() {
    let (mut client, io) = tokio::io::duplex(64);
    let (mut io, handle) = GoawayIo::new(io, &H2Drain::default());
    let asked = tokio::spawn({
        let handle = handle.clone();
        async move { handle.protocol_known().await }
    });
    client.write_all(b"PRI * HTTP/2.0").await.unwrap();
    let mut buf = [0; 64];
    assert_eq!(io.read(&mut buf).await.unwrap(), 14);
    assert_eq!(handle.protocol(), WireProtocol::Unknown);
    client.write_all(b"\r\n\r\nSM\r\n\r\n").await.unwrap();
    assert_eq!(io.read(&mut buf).await.unwrap(), 10);
    assert_eq!(asked.await.unwrap(), WireProtocol::Http2);
    drop(io);
    assert_eq!(handle.reached(H2Phase::Noticed).await, H2Phase::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_breaks_off_inside_a_frame_behind_the_final_goaway_is_a_good_end() {
    for server in SERVERS {
        let it = pair(server, 1 << 16, &H2DrainSettings::default());
        let mut client = RawClient::new(it.client).await;
        client.send(&request(1, "/never")).await;
        begin(it.trigger, secs(60));
        client.expect(GOAWAY).await;
        client.expect(GOAWAY).await;
        client.send(&request(3, "/")[..4]).await;
        drop(client);
        assert_eq!(it.ended.await.unwrap().output, Some(Ok(())), "{server:?}");
    }
}

/// Reads a flood on stream 1 with open windows; the RST_STREAM behind it.
async fn flooded_until_reset(client: &mut RawClient) -> Frame {
    let mut read = 0;
    loop {
        let frame = client.next().await.expect("reset, not cut");
        match frame.kind {
            DATA => {
                // The windows stay open, in a pace that lets time go on and keeps little under way.
                read += frame.payload.len();
                if read > 10_000 {
                    read = 0;
                    tokio::time::sleep(millis(1)).await;
                }
                let window = (frame.payload.len() as u32).to_be_bytes();
                client
                    .io
                    .write_all(&self::frame(8, 0, 0, &window))
                    .await
                    .ok();
                client
                    .io
                    .write_all(&self::frame(8, 0, 1, &window))
                    .await
                    .ok();
            }
            RST_STREAM => return frame,
            _ => {}
        }
    }
}

fn assert_reset_at_the_deadline(reset: &Frame, start: Instant, drain_time: Duration) {
    assert_eq!(reset.payload, [0, 0, 0, 8], "CANCEL");
    let took = reset.at - start;
    assert!((drain_time..=drain_time + StreamsAtDeadline::GRACE).contains(&took));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_always_has_more_is_reset_at_the_deadline() {
    let it = pair(Server::Auto, 1 << 14, &H2DrainSettings::default());
    let mut client = RawClient::new(it.client).await;
    client.send(&request(1, "/floods")).await;
    client.expect(HEADERS).await;
    let start = Instant::now();
    begin(it.trigger, secs(4));
    let reset = flooded_until_reset(&mut client).await;
    assert_reset_at_the_deadline(&reset, start, secs(4));
    assert_eq!(it.ended.await.unwrap().cause, CloseCause::Aborted);
}

/// A flood of a service stack of its own: it asks before each frame.
struct Asks(ResetStream);

impl Body for Asks {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, StreamError>>> {
        let more = Bytes::from_static(&[b'f'; 1000]);
        let next = self.0.error().map_or(Ok(more), Err);
        Poll::Ready(Some(next.map(http_body::Frame::data)))
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_asks_before_each_frame_is_reset_at_the_deadline() {
    let (client, io) = tokio::io::duplex(1 << 14);
    let (trigger, signal) = drain_signal::channel();
    let connection = H2Drain::default().connection(io, |io, parts| {
        let resets = parts.resets();
        let service = service_fn(move |_request| {
            let body = Asks(resets.stream());
            async { Ok::<_, Infallible>(http::Response::new(body)) }
        });
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(io), service)
    });
    tokio::spawn(drain_signal::drive(connection, signal.watch().unwrap()));
    let mut client = RawClient::new(client).await;
    client.send(&request(1, "/")).await;
    client.expect(HEADERS).await;
    let start = Instant::now();
    begin(trigger, secs(4));
    let reset = flooded_until_reset(&mut client).await;
    assert_reset_at_the_deadline(&reset, start, secs(4));
}

#[tokio::test(start_paused = true)]
async fn a_boxed_server_has_its_gap_and_its_final_goaway() {
    let (client, io) = tokio::io::duplex(1 << 16);
    let (trigger, signal) = drain_signal::channel();
    let connection = H2Drain::default().connection(io, |io, _parts| {
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        Box::pin(builder.serve_connection(TokioIo::new(io), service()))
    });
    tokio::spawn(drain_signal::drive(connection, signal.watch().unwrap()));
    let mut client = RawClient::new(client).await;
    begin(trigger, secs(60));
    let notice = client.expect(GOAWAY).await;
    assert_took(client.expect(GOAWAY).await.at - notice.at, secs(5));
    assert_took(client.expect_end().await, secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_response_waits_a_second_for_the_goaway_of_a_connection_that_nobody_drives() {
    let (io, server) = tokio::io::duplex(1 << 16);
    let (trigger, signal) = drain_signal::channel();
    let watch = signal.watch().unwrap();
    let (io_server, handle) = GoawayIo::new(server, &H2Drain::default());
    let service = NoticeFirst::new(service(), AlwaysClose, watch.handle(), handle);
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(io_server), service);
    tokio::spawn(connection);
    let mut client = RawClient::new(io).await;
    let start = Instant::now();
    client.send(&request(1, "/")).await;
    let answered = tokio::time::timeout(secs(100), client.expect_ok(1)).await;
    assert!(answered.is_ok(), "the response waits for ever");
    assert_took(start.elapsed(), secs(1));
    drop((trigger, watch));
}
