//! The time between the two GOAWAYs is the drain timeout, whatever the peer sends or does not send
//! between them.
#![cfg(all(feature = "hyper-util", feature = "h2"))]

use crate::support;
use crate::uploads::sockets;

use drain_signal::CloseCause;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use proto_drain_h2::{H2Drain, H2DrainSettings, H2Phase};
use std::time::Duration;
use support::*;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

#[derive(Clone, Copy, Debug)]
enum Acks {
    Never,
    Once,
    Twice,
    Late,
    OnceAfterOthers,
    ByteByByte,
}

/// Plays one drain; checks the gap and the ending.
async fn plays_a_whole_drain(server: Server, acks: Acks) {
    let (client, io) = tokio::io::duplex(1 << 16);
    let settings = H2DrainSettings::default().with_drain_timeout(secs(2));
    let (trigger, signal) = drain_signal::channel();
    let (handle, _, ended) = serve(server, io, &settings, signal.watch().unwrap());
    let mut client = RawClient::new(client).await;
    client.send(&request(1, "/")).await;
    client.expect_ok(1).await;
    assert_eq!(handle.phase(), H2Phase::Serving);

    let _draining = begin(trigger, secs(60));
    let notice = client.expect(GOAWAY).await;
    assert_eq!(notice.goaway_id(), NOTICE);
    assert_eq!(handle.phase(), H2Phase::Noticed);
    let ack = ping_ack(&SHUTDOWN_PING);
    match acks {
        Acks::Never | Acks::Late => {}
        Acks::Once => client.send(&ack).await,
        Acks::Twice => client.send(&[ack.clone(), ack.clone()].concat()).await,
        Acks::OnceAfterOthers => {
            let own = frame(PING, 0, 0, &SHUTDOWN_PING);
            client
                .send(&[own, ping_ack(b"unknown!"), ack.clone()].concat())
                .await;
            let answer = client.expect(PING).await;
            assert_eq!(
                (answer.flags & 1, &answer.payload),
                (1, &SHUTDOWN_PING.to_vec())
            );
        }
        Acks::ByteByByte => {
            for byte in &ack {
                client.send(std::slice::from_ref(byte)).await;
                tokio::time::sleep(millis(10)).await;
            }
        }
    }
    // A stream opened between the two is served.
    client.send(&request(3, "/")).await;
    client.expect_ok(3).await;

    let last = client.expect(GOAWAY).await;
    assert_took(last.at - notice.at, secs(2));
    assert_eq!(last.goaway_id(), 3);
    assert_eq!(handle.last_stream_id(), Some(3));
    if matches!(acks, Acks::Late) {
        client.send(&ack).await;
    }
    // The transport stays open for the delayed close, then ends.
    assert_took(client.expect_end().await, secs(1));
    let end = ended.await.unwrap();
    assert_eq!(
        (end.output, end.cause),
        (Some(Ok(())), CloseCause::Drained),
        "{server:?} {acks:?}"
    );
    assert_eq!(handle.phase(), H2Phase::Closed);
}

macro_rules! whole_drains {
    ($($name:ident: $acks:ident,)*) => {$(
        #[tokio::test(start_paused = true)]
        async fn $name() {
            for server in SERVERS {
                plays_a_whole_drain(server, Acks::$acks).await;
            }
        }
    )*};
}

whole_drains! {
    a_peer_that_acks_at_once_does_not_shorten_the_gap: Once,
    a_peer_that_never_acks_does_not_lengthen_it: Never,
    a_peer_that_acks_twice_does_not_shorten_it: Twice,
    an_ack_after_the_gap_harms_nothing: Late,
    pings_of_the_peer_and_other_acks_pass: OnceAfterOthers,
    an_ack_in_single_bytes_does_not_shorten_the_gap: ByteByByte,
}

/// A connection in its gap.
async fn in_the_gap(server: Server, drain_timeout: Duration) -> (RawClient, Frame, Ended) {
    let (client, io) = tokio::io::duplex(1 << 16);
    let settings = H2DrainSettings::default().with_drain_timeout(drain_timeout);
    let (trigger, signal) = drain_signal::channel();
    let (_, _, ended) = serve(server, io, &settings, signal.watch().unwrap());
    let mut client = RawClient::new(client).await;
    client.send(&request(1, "/")).await;
    client.expect_ok(1).await;
    begin(trigger, secs(60));
    let notice = client.expect(GOAWAY).await;
    (client, notice, ended)
}

#[tokio::test(start_paused = true)]
async fn an_ack_between_two_requests_split_at_every_byte_takes_nothing_else_with_it() {
    let length = 2 * request(3, "/").len() + 17;
    for cut in 1..length {
        let (mut client, notice, ended) = in_the_gap(Server::Auto, secs(2)).await;
        let bytes = [request(3, "/"), ping_ack(&SHUTDOWN_PING), request(5, "/")].concat();
        assert_eq!(bytes.len(), length);
        client.send(&bytes[..cut]).await;
        tokio::time::sleep(millis(100)).await;
        client.send(&bytes[cut..]).await;
        client.expect_all_ok(&[3, 5]).await;
        let last = client.expect(GOAWAY).await;
        assert_eq!(last.goaway_id(), 5, "cut at {cut}");
        assert_took(last.at - notice.at, secs(2));
        drop(client);
        assert_eq!(ended.await.unwrap().output, Some(Ok(())));
    }
}

#[tokio::test(start_paused = true)]
async fn the_final_goaway_waits_for_the_end_of_a_frame_of_the_peer() {
    let (mut client, notice, _ended) = in_the_gap(Server::Hyper, secs(2)).await;
    let bytes = request(3, "/");
    client.send(&bytes[..bytes.len() - 5]).await;
    let idle = tokio::time::timeout(secs(4), client.next()).await;
    assert!(
        idle.is_err(),
        "nothing may be injected inside a frame: {idle:?}"
    );
    client.send(&bytes[bytes.len() - 5..]).await;
    // The stream was begun before the final GOAWAY and is served.
    let mut kinds = Vec::new();
    for _ in 0..3 {
        let frame = client.next().await.unwrap();
        if frame.kind == GOAWAY {
            assert_eq!(frame.goaway_id(), 3);
            assert_took(frame.at - notice.at, secs(4));
        }
        kinds.push(frame.kind);
    }
    kinds.sort_unstable();
    assert_eq!(kinds, [DATA, HEADERS, GOAWAY]);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stays_inside_a_frame_is_given_up() {
    let (mut client, notice, ended) = in_the_gap(Server::Auto, secs(2)).await;
    client.send(&request(3, "/")[..12]).await;
    assert_eq!(client.next().await.map(|frame| frame.kind), None);
    assert_took(notice.at.elapsed(), secs(2 + 10));
    let end = ended.await.unwrap();
    assert_eq!(
        end.output,
        Some(Ok(())),
        "a peer that broke off after the notice is a good end"
    );
}

#[tokio::test(start_paused = true)]
async fn the_final_goaway_waits_for_the_end_of_a_header_block_of_the_peer() {
    for server in SERVERS {
        let (mut client, notice, _ended) = in_the_gap(server, secs(2)).await;
        let block = get("/");
        client.send(&ping_ack(&SHUTDOWN_PING)).await;
        client.send(&frame(HEADERS, 0x1, 3, &block[..4])).await;
        tokio::time::sleep(millis(1500)).await;
        client.send(&frame(CONTINUATION, 0, 3, &block[4..6])).await;
        let idle = tokio::time::timeout(millis(2500), client.next()).await;
        assert!(
            idle.is_err(),
            "between HEADERS and CONTINUATION any other frame is an error: {idle:?}"
        );
        client.send(&frame(CONTINUATION, 0x4, 3, &block[6..])).await;
        let mut kinds = Vec::new();
        while kinds.len() < 3 {
            let frame = client.next().await.unwrap();
            if frame.kind == GOAWAY {
                assert_eq!(frame.goaway_id(), 3, "{server:?}");
                assert_took(frame.at - notice.at, secs(4));
            }
            kinds.push(frame.kind);
        }
        kinds.sort_unstable();
        assert_eq!(kinds, [DATA, HEADERS, GOAWAY]);
    }
}

#[tokio::test(start_paused = true)]
async fn streams_in_flight_finish_after_the_final_goaway_and_later_ones_are_not_served() {
    for server in SERVERS {
        let (mut client, notice, ended) = in_the_gap(server, secs(2)).await;
        client.send(&request(3, "/slow-3000")).await;
        let last = client.expect(GOAWAY).await;
        assert_eq!(last.goaway_id(), 3);
        assert_took(last.at - notice.at, secs(2));
        client.send(&request(5, "/")).await;
        client.expect_ok(3).await;
        assert_took(notice.at.elapsed(), secs(3));
        assert_took(client.expect_end().await, secs(1));
        assert_eq!(ended.await.unwrap().output, Some(Ok(())));
    }
}

/// Firefox enlarges the window of each stream right behind its HEADERS. h2 takes that for an update
/// of an idle stream, which would be an error of the connection.
#[tokio::test(start_paused = true)]
async fn a_window_update_of_a_stream_behind_the_final_goaway_ends_no_other_stream() {
    let update = |stream| frame(WINDOW_UPDATE, 0, stream, &[0, 1, 0, 0]);
    for server in SERVERS {
        for (crosses, chunk) in [(false, 4096), (false, 1), (true, 4096)] {
            let (mut client, notice, ended) = in_the_gap(server, secs(2)).await;
            client.send(&request(3, "/slow-3000")).await;
            let late = [
                update(3),
                request(5, "/"),
                update(5),
                update(0),
                request(7, "/"),
                update(7),
            ]
            .concat();
            if crosses {
                tokio::time::sleep_until(notice.at + secs(2)).await;
                client.send(&late).await;
                while client.expect(GOAWAY).await.goaway_id() == NOTICE {}
                client.send(&[request(9, "/"), update(9)].concat()).await;
            } else {
                assert_eq!(client.expect(GOAWAY).await.goaway_id(), 3);
                for part in late.chunks(chunk) {
                    client.send(part).await;
                    tokio::time::sleep(millis(1)).await;
                }
            }
            let mut answered = vec![];
            while let Some(frame) = client.next().await {
                assert_ne!(frame.kind, GOAWAY, "{server:?}: {frame:?}");
                if frame.kind == HEADERS {
                    answered.push(frame.stream);
                }
            }
            assert!(answered.contains(&3), "{server:?}: {answered:?}");
            assert_eq!(ended.await.unwrap().output, Some(Ok(())), "{server:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_closes_in_the_gap_ends_the_connection_at_once() {
    for server in SERVERS {
        let (client, notice, ended) = in_the_gap(server, secs(2)).await;
        drop(client);
        let end = ended.await.unwrap();
        assert_eq!((end.output, end.cause), (Some(Ok(())), CloseCause::Drained));
        assert_took(notice.at.elapsed(), millis(0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_half_closes_in_the_gap_gets_the_final_goaway_and_its_answers() {
    for server in SERVERS {
        let (mut client, notice, ended) = in_the_gap(server, secs(2)).await;
        client.send(&request(3, "/slow-1000")).await;
        client.io.shutdown().await.unwrap();
        let last = client.expect(GOAWAY).await;
        assert_eq!(last.goaway_id(), 3);
        client.expect_ok(3).await;
        assert_took(notice.at.elapsed(), secs(1));
        assert_took(client.expect_end().await, secs(0));
        assert_eq!(ended.await.unwrap().output, Some(Ok(())));
    }
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_peer_keeps_its_streams_until_the_end_of_the_gap_only() {
    let (mut client, notice, ended) = in_the_gap(Server::Auto, secs(2)).await;
    client.send(&request(3, "/never")).await;
    client.io.shutdown().await.unwrap();
    assert_eq!(client.expect(GOAWAY).await.goaway_id(), 3);
    client.expect_end().await;
    assert_took(notice.at.elapsed(), secs(2));
    assert_eq!(ended.await.unwrap().output, Some(Ok(())));
}

#[tokio::test(start_paused = true)]
async fn no_gap_means_both_goaways_at_once() {
    let (mut client, notice, _ended) = in_the_gap(Server::Auto, secs(0)).await;
    assert_eq!(client.expect(GOAWAY).await.at, notice.at);
}

#[tokio::test(start_paused = true)]
async fn the_gap_leaves_room_for_the_delayed_close_before_the_deadline() {
    let (client, io) = tokio::io::duplex(1 << 16);
    // More than the second before the deadline at which the driver ends every gap.
    let settings = H2DrainSettings::default().with_delayed_close_timeout(secs(2));
    let (trigger, signal) = drain_signal::channel();
    let (_, _, ended) = serve(Server::Auto, io, &settings, signal.watch().unwrap());
    let mut client = RawClient::new(client).await;
    client.send(&request(1, "/")).await;
    client.expect_ok(1).await;
    let start = Instant::now();
    begin(trigger, secs(4));
    client.expect(GOAWAY).await;
    let last = client.expect(GOAWAY).await;
    assert_took(last.at - start, secs(2));
    client.expect_end().await;
    assert_took(start.elapsed(), secs(4));
    assert_eq!(ended.await.unwrap().output, Some(Ok(())));
}

#[tokio::test(start_paused = true)]
async fn finish_ends_the_gap_now() {
    let (client, io) = tokio::io::duplex(1 << 16);
    let settings = H2DrainSettings::default();
    let (trigger, signal) = drain_signal::channel();
    let (handle, _, _ended) = serve(Server::Hyper, io, &settings, signal.watch().unwrap());
    let mut client = RawClient::new(client).await;
    begin(trigger, secs(60));
    let notice = client.expect(GOAWAY).await;
    tokio::time::sleep(millis(700)).await;
    handle.finish();
    let last = client.expect(GOAWAY).await;
    assert_took(last.at - notice.at, millis(700));
    assert_eq!(last.goaway_id(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_ends_inside_its_ack_is_gone() {
    let (mut client, notice, ended) = in_the_gap(Server::Hyper, secs(2)).await;
    client.send(&ping_ack(&SHUTDOWN_PING)[..5]).await;
    client.io.shutdown().await.unwrap();
    assert_eq!(
        client.next().await,
        None,
        "the codec was given the broken frame"
    );
    assert_took(notice.at.elapsed(), secs(0));
    assert_eq!(ended.await.unwrap().output, Some(Ok(())));
}

#[tokio::test(start_paused = true)]
async fn the_drivers_last_word_before_the_deadline_ends_the_gap() {
    let (client, io) = tokio::io::duplex(1 << 16);
    let settings = H2DrainSettings::default().with_delayed_close_timeout(secs(0));
    let (trigger, signal) = drain_signal::channel();
    let (_, _, ended) = serve(Server::Auto, io, &settings, signal.watch().unwrap());
    let mut client = RawClient::new(client).await;
    client.send(&request(1, "/")).await;
    client.expect_ok(1).await;
    begin(trigger, secs(4));
    let notice = client.expect(GOAWAY).await;
    let last = client.expect(GOAWAY).await;
    assert_took(last.at - notice.at, secs(3));
    assert_eq!(ended.await.unwrap().cause, CloseCause::Finished);
}

#[tokio::test(start_paused = true)]
async fn the_bare_preface_is_enough_to_be_told() {
    for server in SERVERS {
        let (mut client, io) = tokio::io::duplex(1 << 16);
        let (trigger, signal) = drain_signal::channel();
        let (_, _, _ended) = serve(
            server,
            io,
            &H2DrainSettings::default(),
            signal.watch().unwrap(),
        );
        begin(trigger, secs(60));
        tokio::time::sleep(millis(100)).await;
        client
            .write_all(proto_drain_h2::CLIENT_PREFACE)
            .await
            .unwrap();
        let written = Instant::now();
        let mut client = RawClient { io: client };
        assert_took(client.expect(GOAWAY).await.at - written, secs(0));
    }
}

/// hyper's keep-alive on a connection with one stream, which is longer than the gap.
struct KeptAlive {
    interval: Duration,
    timeout: Duration,
    gap: Duration,
    path: &'static str,
    adaptive: bool,
    acks: bool,
}

impl Default for KeptAlive {
    fn default() -> Self {
        Self {
            interval: secs(1),
            timeout: secs(2),
            gap: secs(5),
            path: "/slow-8000",
            adaptive: false,
            acks: true,
        }
    }
}

impl KeptAlive {
    /// What the client saw, through the gap and to the end of the stream.
    async fn sees<IO>(self, io: IO, served: IO) -> Vec<u8>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (trigger, signal) = drain_signal::channel();
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .adaptive_window(self.adaptive)
            .keep_alive_interval(self.interval)
            .keep_alive_timeout(self.timeout);
        let drain = H2Drain::new(H2DrainSettings::default().with_drain_timeout(self.gap));
        let connection = drain.connection(served, |io, _parts| {
            builder.serve_connection(TokioIo::new(io), service())
        });
        let ended = tokio::spawn(drain_signal::drive(connection, signal.watch().unwrap()));
        let mut client = RawClient::new(io).await;
        client.send(&request(1, self.path)).await;
        tokio::time::sleep(millis(100)).await;
        begin(trigger, secs(60));
        let mut kinds = Vec::new();
        while let Some(frame) = client.next().await {
            kinds.push(frame.kind);
            if self.acks && (frame.kind, frame.flags) == (PING, 0) {
                client.send(&ping_ack(&frame.payload)).await;
            }
        }
        ended.await.unwrap();
        kinds
    }
}

/// How many PINGs came between the GOAWAYs, and behind them; and the stream was answered.
fn pings(kinds: &[u8]) -> (usize, usize) {
    let goaways: Vec<_> = (0..kinds.len()).filter(|at| kinds[*at] == GOAWAY).collect();
    let [first, last] = goaways[..] else {
        panic!("{kinds:?}");
    };
    assert!(kinds.contains(&HEADERS), "{kinds:?}");
    let pings = |part: &[u8]| part.iter().filter(|kind| **kind == PING).count();
    (pings(&kinds[first..last]), pings(&kinds[last..]))
}

#[tokio::test(start_paused = true)]
async fn hypers_keep_alive_goes_on_in_the_gap_and_ends_no_healthy_stream() {
    for adaptive in [false, true] {
        let kept_alive = KeptAlive {
            adaptive,
            ..KeptAlive::default()
        };
        let (io, served) = tokio::io::duplex(1 << 16);
        let kinds = kept_alive.sees(io, served).await;
        // Five seconds of gap, and two to three behind it.
        let (in_the_gap, behind) = pings(&kinds);
        assert!(in_the_gap >= 4 && behind >= 2, "{kinds:?}");
    }
}

/// In real time: the gap is longer than the interval and the timeout together.
#[tokio::test]
async fn over_tcp_hypers_keep_alive_goes_on_in_the_gap_and_ends_no_healthy_stream() {
    let kept_alive = KeptAlive {
        interval: millis(200),
        timeout: secs(2),
        gap: secs(3),
        path: "/slow-3500",
        ..KeptAlive::default()
    };
    let (client, served) = sockets().await;
    let kinds = kept_alive.sees(client, served).await;
    assert!(pings(&kinds).0 >= 1, "{kinds:?}");
}

#[tokio::test(start_paused = true)]
async fn hypers_keep_alive_finds_a_dead_peer_in_the_gap() {
    let kept_alive = KeptAlive {
        acks: false,
        ..KeptAlive::default()
    };
    let (io, served) = tokio::io::duplex(1 << 16);
    let kinds = kept_alive.sees(io, served).await;
    assert!(!kinds.contains(&HEADERS), "{kinds:?}");
    assert_eq!(
        kinds.iter().filter(|kind| **kind == PING).count(),
        1,
        "{kinds:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_or_takes_a_byte_now_and_then_is_not_given_up_inside_a_frame() {
    for sends in [true, false] {
        let (mut client, _, ended) = in_the_gap(Server::Auto, secs(2)).await;
        if !sends {
            client.send(&request(3, "/drips")).await;
            client.expect(HEADERS).await;
        }
        let bytes = request(5, "/");
        let (mut head, tail) = bytes.split_at(bytes.len() - 6);
        client.send(head).await;
        // A minute inside the frame, six times the limit.
        for byte in tail.iter().take(5) {
            head = std::slice::from_ref(byte);
            if sends {
                client.send(head).await;
            }
            for _ in 0..2 {
                if sends {
                    tokio::time::sleep(secs(4)).await;
                } else {
                    assert_eq!(client.expect(DATA).await.payload, b"drip");
                }
            }
        }
        assert!(!ended.is_finished(), "sends: {sends}");
        client.send(if sends { &tail[5..] } else { tail }).await;
        let mut kinds = Vec::new();
        while !(kinds.contains(&HEADERS) && kinds.contains(&GOAWAY)) {
            kinds.push(client.next().await.expect("the connection ended").kind);
        }
    }
}
