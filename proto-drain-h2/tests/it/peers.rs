//! Peers in all their ways: they break into the handshake, dribble, ignore what they were told, or
//! come too late.
#![cfg(all(feature = "hyper-util", feature = "h2"))]

use crate::support;

use drain_signal::CloseCause;
use proto_drain_h2::{CLIENT_PREFACE, H2DrainSettings, StreamsAtDeadline};
use support::*;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::time::Instant;

const HYPER: [Server; 3] = [Server::Hyper, Server::Auto, Server::AutoUpgradeable];

fn settings() -> H2DrainSettings {
    H2DrainSettings::default().with_drain_timeout(secs(2))
}

/// A served pipe and what drains it.
fn served(
    server: Server,
    settings: &H2DrainSettings,
) -> (DuplexStream, drain_signal::DrainTrigger, Ended) {
    let (io, served) = tokio::io::duplex(1 << 20);
    let (trigger, signal) = drain_signal::channel();
    let (_, _, ended) = serve(server, served, settings, signal.watch().unwrap());
    (io, trigger, ended)
}

#[tokio::test(start_paused = true)]
async fn told_inside_the_first_settings_of_a_peer_that_never_acks_ours() {
    for server in SERVERS {
        let (mut io, trigger, ended) = served(server, &settings());
        let start = [
            &CLIENT_PREFACE[..],
            &frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9]),
        ]
        .concat();
        io.write_all(&start[..24 + 11]).await.unwrap();
        tokio::time::sleep(millis(10)).await;
        begin(trigger, secs(60));
        let told = Instant::now();
        tokio::time::sleep(millis(500)).await;
        io.write_all(&start[24 + 11..]).await.unwrap();
        io.write_all(&request(1, "/")).await.unwrap();
        let mut ids = Vec::new();
        while let Some(frame) = Frame::read(&mut io).await {
            if frame.kind == GOAWAY {
                ids.push(frame.goaway_id());
            }
            if ids.len() == 2 {
                break;
            }
        }
        assert_eq!(ids, [NOTICE, 1], "{server:?}");
        assert_took(told.elapsed(), secs(2));
        drop(io);
        assert_eq!(ended.await.unwrap().output, Some(Ok(())));
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_every_byte_alone_is_served_and_let_go() {
    for server in SERVERS {
        let (mut io, trigger, ended) = served(server, &settings());
        async fn dribble(io: &mut DuplexStream, bytes: &[u8]) {
            for byte in bytes {
                io.write_all(std::slice::from_ref(byte)).await.unwrap();
                tokio::time::sleep(millis(5)).await;
            }
        }
        dribble(&mut io, CLIENT_PREFACE).await;
        dribble(&mut io, &frame(SETTINGS, 0, 0, &[])).await;
        dribble(&mut io, &request(1, "/")).await;
        let mut client = RawClient { io };
        client.expect_ok(1).await;
        begin(trigger, secs(60));
        let notice = client.expect(GOAWAY).await;
        dribble(&mut client.io, &ping_ack(&SHUTDOWN_PING)).await;
        dribble(&mut client.io, &frame(PING, 0, 0, &SHUTDOWN_PING)).await;
        dribble(&mut client.io, &request(3, "/")).await;
        assert_eq!(client.expect(PING).await.flags, 1);
        client.expect_ok(3).await;
        let last = client.expect(GOAWAY).await;
        assert_eq!(last.goaway_id(), 3);
        assert_took(last.at - notice.at, secs(2));
        dribble(&mut client.io, &request(5, "/")).await;
        client.expect_end().await;
        assert_took(last.at.elapsed(), secs(1));
        assert_eq!(ended.await.unwrap().output, Some(Ok(())), "{server:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_goes_on_opening_streams_breaks_neither_hpack_nor_flow_control() {
    for server in HYPER {
        let (io, trigger, ended) = served(server, &settings());
        let mut io = RawClient::new(io).await.io;
        io.write_all(&frame(HEADERS, 0x4, 1, &post("/sum")))
            .await
            .unwrap();
        begin(trigger, secs(60));
        // What the peer may send on the connection.
        let mut window = 65_535_i64;
        let mut goaways = 0;
        while goaways < 2 {
            let frame = Frame::read(&mut io).await.unwrap();
            match (frame.kind, frame.stream) {
                (WINDOW_UPDATE, 0) => window += frame.window(),
                (kind, _) => goaways += u32::from(kind == GOAWAY),
            }
        }
        // Streams that come too late, each with a new entry for the header table and a body; three
        // megabytes, so that the connection's window must be given back.
        let mut sent = 0;
        for late in 0..48_u32 {
            let stream = 3 + 2 * late;
            let mut block = post("/late");
            block.extend([0x40, 3]);
            block.extend(format!("x{late:02}").as_bytes());
            block.extend([1, b'v']);
            io.write_all(&frame(HEADERS, 0x4, stream, &block))
                .await
                .unwrap();
            for part in 0..4 {
                // Any frame but a window is an answer to a stream that nobody may answer.
                while window < 16_384 {
                    let frame = Frame::read(&mut io).await.expect("the connection goes on");
                    match (frame.kind, frame.stream) {
                        (WINDOW_UPDATE, 0) => window += frame.window(),
                        (SETTINGS | WINDOW_UPDATE, _) => {}
                        _ => panic!("{frame:?}"),
                    }
                }
                io.write_all(&frame(DATA, u8::from(part == 3), stream, &[0; 16_384]))
                    .await
                    .unwrap();
                window -= 16_384;
                sent += 16_384;
            }
        }
        assert_eq!(sent, 3 << 20);
        // The stream that came in time ends with a trailer from the table: entry 62 is the last
        // that was added.
        io.write_all(&frame(DATA, 0, 1, &[7; 1000])).await.unwrap();
        io.write_all(&frame(HEADERS, 0x5, 1, &[0x80 | 62]))
            .await
            .unwrap();
        let mut client = RawClient { io };
        client.expect(HEADERS).await;
        let body = client.expect(DATA).await;
        let text = String::from_utf8(body.payload).unwrap();
        assert_eq!(text, "1000 bytes, {\"x47\": \"v\"}", "{server:?}");
        if body.flags & 1 == 0 {
            client.expect(DATA).await;
        }
        assert_took(client.expect_end().await, secs(1));
        assert_eq!(ended.await.unwrap().output, Some(Ok(())));
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_goaway_itself_is_served_to_its_end() {
    for server in SERVERS {
        let (io, trigger, ended) = served(server, &settings());
        let mut client = RawClient::new(io).await;
        client.send(&request(1, "/slow-1000")).await;
        begin(trigger, secs(60));
        client.expect(GOAWAY).await;
        client.send(&frame(GOAWAY, 0, 0, &[0; 8])).await;
        loop {
            let frame = client.next().await.unwrap();
            if frame.stream == 1 && frame.flags & 1 != 0 {
                break;
            }
        }
        drop(client);
        assert_eq!(ended.await.unwrap().output, Some(Ok(())), "{server:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_inside_a_frame_is_not_waited_for_beyond_the_deadline() {
    for server in SERVERS {
        let (io, trigger, ended) = served(server, &settings());
        let mut client = RawClient::new(io).await;
        let start = Instant::now();
        begin(trigger, secs(8));
        client.expect(GOAWAY).await;
        client.send(&request(1, "/")[..12]).await;
        client.expect_end().await;
        assert_took(start.elapsed(), secs(8) + StreamsAtDeadline::GRACE);
        let end = ended.await.unwrap();
        assert_eq!(
            (end.output, end.cause),
            (Some(Ok(())), CloseCause::Aborted),
            "{server:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn told_in_the_last_second_it_has_half_of_it_between_the_goaways() {
    for server in SERVERS {
        // The driver's last word is due one second before the deadline, so before, at and after
        // that.
        for came in [5000, 7000, 7600, 7990] {
            let (trigger, signal) = drain_signal::channel();
            let start = Instant::now();
            begin(trigger, secs(8));
            tokio::time::sleep(millis(came)).await;
            let (io, served) = tokio::io::duplex(1 << 16);
            let settings = settings().with_delayed_close_timeout(secs(3));
            let (_, _, ended) = serve(server, served, &settings, signal.watch().unwrap());
            let mut client = RawClient::new(io).await;
            let notice = client.expect(GOAWAY).await;
            assert_eq!(notice.goaway_id(), NOTICE);
            client.send(&request(1, "/")).await;
            client.expect_ok(1).await;
            let last = client.expect(GOAWAY).await;
            assert_eq!(last.goaway_id(), 1, "{server:?} {came}");
            let left = (start + secs(8)) - notice.at;
            assert!(left <= secs(1), "{left:?}");
            assert_took(last.at - notice.at, left / 2);
            client.expect_end().await;
            assert_took(start.elapsed(), secs(8));
            assert_eq!(
                ended.await.unwrap().output,
                Some(Ok(())),
                "{server:?} {came}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn told_at_the_deadline_it_has_both_goaways_at_once() {
    let (io, trigger, ended) = served(Server::Auto, &settings());
    let mut client = RawClient::new(io).await;
    client.send(&request(1, "/never")).await;
    tokio::time::sleep(millis(10)).await;
    begin(trigger, secs(0));
    let mut kinds = Vec::new();
    while let Some(frame) = client.next().await {
        kinds.push(frame.kind);
    }
    assert_eq!(
        kinds.iter().filter(|kind| **kind == GOAWAY).count(),
        2,
        "{kinds:?}"
    );
    assert!(kinds.contains(&RST_STREAM), "{kinds:?}");
    assert_eq!(ended.await.unwrap().cause, CloseCause::Aborted);
}
