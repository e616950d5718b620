//! What the wrapper leaves alone: bytes, other drivers, other clients.
#![cfg(all(feature = "hyper-util", feature = "h2"))]

use crate::support;

use bytes::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use proptest::prelude::*;
use proto_drain_h2::{CLIENT_PREFACE, GoawayHandle, GoawayIo, H2Drain, H2DrainSettings, H2Phase};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::task::Poll;
use support::*;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter, DuplexStream, ReadBuf,
};

/// Sends `upstream` through the reads and `downstream` through the (vectored) writes of a wrapper,
/// in chunks.
async fn pass(upstream: &[u8], downstream: &[u8], chunks: &[usize]) -> (Vec<u8>, Vec<u8>) {
    let (mut client, io) = tokio::io::duplex(1 << 16);
    let (mut io, _handle) = GoawayIo::new(io, &H2Drain::default());
    let (mut up, mut down) = (Vec::new(), Vec::new());
    let mut sizes = chunks.iter().copied().cycle();
    let mut rest = upstream;
    while !rest.is_empty() {
        let n = sizes.next().unwrap().min(rest.len());
        client.write_all(&rest[..n]).await.unwrap();
        rest = &rest[n..];
        let mut got = 0;
        while got < n {
            let mut buf = vec![0; sizes.next().unwrap()];
            let read = io.read(&mut buf).await.unwrap();
            assert!(read > 0);
            up.extend_from_slice(&buf[..read]);
            got += read;
        }
    }
    let mut rest = downstream;
    while !rest.is_empty() {
        let n = sizes.next().unwrap().min(rest.len());
        let middle = n / 2;
        let written = io
            .write_vectored(&[
                IoSlice::new(&rest[..middle]),
                IoSlice::new(&rest[middle..n]),
            ])
            .await
            .unwrap();
        rest = &rest[written..];
    }
    io.flush().await.unwrap();
    drop(io);
    client.read_to_end(&mut down).await.unwrap();
    (up, down)
}

proptest! {
    #[test]
    fn any_bytes_in_any_chunking_pass_unchanged_both_ways(
        preface in any::<bool>(),
        upstream in proptest::collection::vec(any::<u8>(), 0..400),
        downstream in proptest::collection::vec(any::<u8>(), 0..400),
        chunks in proptest::collection::vec(1usize..50, 1..12),
    ) {
        let upstream = if preface { [&CLIENT_PREFACE[..], &upstream].concat() } else { upstream };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (up, down) = runtime.block_on(pass(&upstream, &downstream, &chunks));
        prop_assert_eq!(up, upstream);
        prop_assert_eq!(down, downstream);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_body_ends_with_its_headers() {
    for server in [Server::Hyper, Server::Auto, Server::AutoUpgradeable] {
        let (client, io) = tokio::io::duplex(1 << 16);
        let (_trigger, signal) = drain_signal::channel();
        let empty = service_fn(|_request| async {
            Ok::<_, Infallible>(http::Response::new(http_body_util::Empty::<Bytes>::new()))
        });
        let settings = H2DrainSettings::default();
        serve_with(server, empty, io, &settings, signal.watch().unwrap());
        let mut client = RawClient::new(client).await;
        client.send(&request(1, "/")).await;
        let head = client.expect(HEADERS).await;
        assert_eq!(head.flags & 1, 1, "{server:?}: {head:?}");
    }
}

#[tokio::test]
async fn a_read_into_no_room_is_no_end() {
    let (mut client, io) = tokio::io::duplex(64);
    let (mut io, handle) = GoawayIo::new(io, &H2Drain::default());
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let mut buf = [0; 64];
    for bytes in [&CLIENT_PREFACE[..], &settings] {
        client.write_all(bytes).await.unwrap();
        assert_eq!(io.read(&mut buf).await.unwrap(), bytes.len());
        assert_eq!(io.read(&mut []).await.unwrap(), 0);
    }
    assert!(!handle.is_lost());
    client.write_all(&settings).await.unwrap();
    assert_eq!(io.read(&mut buf).await.unwrap(), settings.len());
}

#[tokio::test]
async fn a_peer_that_ends_inside_a_frame_was_gone_and_between_frames_it_was_not() {
    let settings = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9]);
    let wire = [&CLIENT_PREFACE[..], &settings, &settings].concat();
    for sent in 0..=wire.len() {
        let (mut client, io) = tokio::io::duplex(256);
        let (mut io, handle) = GoawayIo::new(io, &H2Drain::default());
        client.write_all(&wire[..sent]).await.unwrap();
        client.shutdown().await.unwrap();
        let mut read = Vec::new();
        io.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, &wire[..sent]);
        let behind = sent.checked_sub(CLIENT_PREFACE.len());
        let inside = behind.is_some_and(|behind| behind % settings.len() != 0);
        assert_eq!(handle.is_lost(), inside, "{sent} bytes");
    }
}

#[tokio::test]
async fn after_the_end_a_handle_says_whether_any_goaway_was_written() {
    let error = frame(GOAWAY, 0, 0, &[0, 0, 0, 5, 0, 0, 0, 1]);
    for (written, told) in [(error, true), (frame(DATA, 0, 1, b"data"), false)] {
        let (mut client, io) = tokio::io::duplex(256);
        let (mut io, handle) = GoawayIo::new(io, &H2Drain::default());
        client.write_all(CLIENT_PREFACE).await.unwrap();
        io.read_exact(&mut [0; CLIENT_PREFACE.len()]).await.unwrap();
        io.write_all(&written).await.unwrap();
        io.flush().await.unwrap();
        drop(io);
        assert_eq!(
            (handle.phase(), handle.goaway_written()),
            (H2Phase::Closed, told)
        );
    }
}

/// Which streams are served is known when the codec has written its final GOAWAY.
#[tokio::test(start_paused = true)]
async fn a_window_update_behind_the_acknowledgement_waits_for_the_final_goaway() {
    let update = |stream| frame(WINDOW_UPDATE, 0, stream, &[0, 1, 0, 0]);
    let (mut client, io) = tokio::io::duplex(1024);
    let (mut io, handle) = GoawayIo::new(io, &H2Drain::default());
    client.write_all(CLIENT_PREFACE).await.unwrap();
    io.read_exact(&mut [0; CLIENT_PREFACE.len()]).await.unwrap();
    let goaway = |id: u32| {
        let payload = [id.to_be_bytes(), [0; 4]].concat();
        frame(GOAWAY, 0, 0, &payload)
    };
    let notice = [goaway(NOTICE), frame(PING, 0, 0, PAYLOAD)].concat();
    io.write_all(&[frame(SETTINGS, 0, 0, &[]), notice].concat())
        .await
        .unwrap();
    handle.finish();
    let ack = ping_ack(PAYLOAD);
    let mut read = vec![0; ack.len()];
    io.read_exact(&mut read).await.unwrap();
    assert_eq!(read, ack);
    let behind = [update(3), update(5), update(0), ping_ack(b"behindit")].concat();
    client.write_all(&behind).await.unwrap();
    assert_eq!(read_now(&mut io, 64).await, b"");
    io.write_all(&goaway(3)).await.unwrap();
    let served = [update(3), update(0), ping_ack(b"behindit")].concat();
    let mut read = vec![0; served.len()];
    io.read_exact(&mut read).await.unwrap();
    assert_eq!(read, served);
}

const PAYLOAD: &[u8; 8] = b"goodbye!";

#[tokio::test]
async fn frames_in_pieces_before_any_goaway_are_the_codecs_own() {
    let frames = [
        frame(PING, 0, 0, PAYLOAD),
        frame(SETTINGS, 0, 0, &[]),
        frame(DATA, 1, 1, b"some data"),
    ];
    for wire in frames {
        for cut in 1..wire.len() {
            let (mut client, io) = tokio::io::duplex(256);
            let (mut io, _) = GoawayIo::new(io, &H2Drain::default());
            client.write_all(CLIENT_PREFACE).await.unwrap();
            io.read_exact(&mut [0; CLIENT_PREFACE.len()]).await.unwrap();
            for piece in [&wire[..cut], &wire[cut..]] {
                io.write_all(piece).await.unwrap();
            }
            io.flush().await.unwrap();
            let mut passed = vec![0; wire.len()];
            client.read_exact(&mut passed).await.unwrap();
            assert_eq!(passed, wire, "{cut} bytes first");
        }
    }
}

/// What a client may send between two others: a frame, or a header block in pieces.
fn any_unit() -> impl Strategy<Value = Vec<u8>> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..30);
    prop_oneof![
        Just(ping_ack(PAYLOAD)),
        Just(ping_ack(b"another!")),
        Just(frame(PING, 0, 0, PAYLOAD)),
        Just(frame(WINDOW_UPDATE, 0, 1, &[0, 1, 0, 0])),
        (any::<u8>(), any::<u8>(), bytes()).prop_map(|(kind, flags, payload)| {
            let whole = if matches!(kind, HEADERS | 5 | CONTINUATION) {
                flags | 4
            } else {
                flags
            };
            // A GOAWAY is the test's own.
            frame(if kind == GOAWAY { DATA } else { kind }, whole, 1, &payload)
        }),
        (bytes(), bytes(), bytes()).prop_map(|(a, b, c)| [
            frame(HEADERS, 0, 1, &a),
            frame(CONTINUATION, 0, 1, &b),
            frame(CONTINUATION, 4, 1, &c)
        ]
        .concat()),
    ]
}

fn any_units() -> impl Strategy<Value = Vec<Vec<u8>>> {
    proptest::collection::vec(any_unit(), 0..8)
}

/// What can be read without waiting.
async fn read_now<IO>(io: &mut GoawayIo<IO>, room: usize) -> Vec<u8>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut bytes = vec![0; room];
    let n = poll_fn(|cx| {
        let mut buf = ReadBuf::new(&mut bytes);
        let read = Pin::new(&mut *io).poll_read(cx, &mut buf);
        let n = buf.filled().len();
        assert!(read.is_pending() || n > 0, "no end");
        Poll::Ready(n)
    })
    .await;
    bytes.truncate(n);
    bytes
}

/// Who writes the first GOAWAY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    /// The codec; its PING is kept until the gap is over.
    Codec,
    /// The wrapper; the codec follows when the gap is over.
    Wrapper,
    /// The wrapper; the codec follows in the gap.
    WrapperThenCodecInTheGap,
}

async fn in_chunks(io: &mut GoawayIo<DuplexStream>, bytes: &[u8], size: usize) {
    for chunk in bytes.chunks(size) {
        io.write_all(chunk).await.unwrap();
    }
    io.flush().await.unwrap();
}

proptest! {
    #[test]
    fn in_a_drain_the_peer_sees_one_notice_and_the_codec_one_acknowledgement(
        before in any_units(),
        during in any_units(),
        after in any_units(),
        answer in any_units(),
        chunks in proptest::collection::vec(1usize..50, 1..12),
        first in prop_oneof![Just(First::Codec), Just(First::Wrapper), Just(First::WrapperThenCodecInTheGap)],
    ) {
        let notice = frame(GOAWAY, 0, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        let last = frame(GOAWAY, 0, 0, &[0, 0, 0, 5, 0, 0, 0, 0]);
        let goodbye = [notice.clone(), frame(PING, 0, 0, PAYLOAD)].concat();
        let settings = frame(SETTINGS, 0, 0, &[]);
        // Nothing of the peer's is touched.
        let expected = [CLIENT_PREFACE.to_vec(), before.concat(), during.concat(), ping_ack(PAYLOAD), after.concat()].concat();
        // The codec's PING is not written, and its notice only if it is the first.
        let answers = answer.concat();
        let written = [&settings[..], &notice, &answers, &last, &answers].concat();

        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        // "Nothing can be read" must not mean "this task has had its share".
        let (up, down) = runtime.block_on(tokio::task::unconstrained(async {
            let (mut client, io) = tokio::io::duplex(1 << 16);
            let (mut io, handle) = GoawayIo::new(io, &H2Drain::default());
            let mut sizes = chunks.iter().copied().cycle();
            let mut up = Vec::new();
            in_chunks(&mut io, &settings, chunks[0]).await;
            for (part, bytes) in [[CLIENT_PREFACE.to_vec(), before.concat()].concat(), during.concat(), after.concat()].into_iter().enumerate() {
                match (part, first) {
                    (1, First::Codec) => in_chunks(&mut io, &goodbye, chunks[0]).await,
                    (1, _) => {
                        handle.notice();
                        assert!(read_now(&mut io, 1).await.is_empty());
                        if first == First::WrapperThenCodecInTheGap {
                            in_chunks(&mut io, &goodbye, chunks[0]).await;
                        }
                    }
                    (2, First::Wrapper) => {
                        handle.finish();
                        in_chunks(&mut io, &goodbye, chunks[0]).await;
                    }
                    (2, _) => handle.finish(),
                    _ => {}
                }
                if part == 1 {
                    in_chunks(&mut io, &answers, chunks[0]).await;
                    assert_eq!(handle.phase(), H2Phase::Noticed);
                }
                let mut rest = &bytes[..];
                loop {
                    let (now, later) = rest.split_at(sizes.next().unwrap().min(rest.len()));
                    client.write_all(now).await.unwrap();
                    rest = later;
                    let mut idle = false;
                    while !idle {
                        let got = read_now(&mut io, sizes.next().unwrap()).await;
                        idle = got.is_empty();
                        up.extend(got);
                    }
                    if rest.is_empty() {
                        break;
                    }
                }
            }
            in_chunks(&mut io, &[&last[..], &answers].concat(), chunks[0]).await;
            // A WINDOW_UPDATE has waited for it.
            loop {
                let got = read_now(&mut io, sizes.next().unwrap()).await;
                if got.is_empty() {
                    break;
                }
                up.extend(got);
            }
            assert_eq!((handle.phase(), handle.last_stream_id()), (H2Phase::GoingAway, Some(5)));
            drop(io);
            let mut down = Vec::new();
            client.read_to_end(&mut down).await.unwrap();
            (up, down)
        }));
        prop_assert_eq!(up, expected);
        prop_assert_eq!(down, written);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_with_one_shutdown_signal_for_all_has_the_exact_gap_too() {
    // What `axum::serve` and tonic's server do with each connection.
    let (client, io) = tokio::io::duplex(1 << 16);
    let (io, _handle) = GoawayIo::new(
        io,
        &H2Drain::new(H2DrainSettings::default().with_drain_timeout(secs(2))),
    );
    let (shutdown, signal) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(async move {
        let builder = auto::Builder::new(TokioExecutor::new());
        let mut connection =
            pin!(builder.serve_connection_with_upgrades(TokioIo::new(io), service()));
        tokio::select! {
            ended = connection.as_mut() => return ended.is_ok(),
            _ = signal => connection.as_mut().graceful_shutdown(),
        }
        connection.await.is_ok()
    });
    let mut client = RawClient::new(client).await;
    client.send(&request(1, "/")).await;
    client.expect_ok(1).await;
    shutdown.send(()).unwrap();
    let notice = client.expect(GOAWAY).await;
    let last = client.expect(GOAWAY).await;
    assert_took(last.at - notice.at, secs(2));
    assert_took(client.expect_end().await, secs(1));
    assert!(server.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn an_h2_client_loses_no_request_over_a_drain() {
    for server in SERVERS {
        let (io, server_io) = tokio::io::duplex(1 << 16);
        let (trigger, signal) = drain_signal::channel();
        let settings = H2DrainSettings::default().with_drain_timeout(secs(2));
        let (_, _, ended) = serve(server, server_io, &settings, signal.watch().unwrap());
        let (mut send, connection) = h2::client::handshake(io).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut answers = Vec::new();
        let mut trigger = Some(trigger);
        let mut sent = 0;
        for round in 0..100 {
            if round == 20 {
                begin(trigger.take().unwrap(), secs(60));
            }
            tokio::time::sleep(millis(1)).await;
            let Ok(ready) = send.clone().ready().await else {
                break;
            };
            send = ready;
            let path = format!("http://localhost/slow-{}", (round % 7) * 100);
            let request = http::Request::get(path).body(()).unwrap();
            let (answer, _) = send.send_request(request, true).unwrap();
            sent += 1;
            answers.push(tokio::spawn(async move {
                let mut body = answer.await.unwrap().into_body();
                let mut bytes = Vec::new();
                while let Some(chunk) = body.data().await {
                    let chunk: Bytes = chunk.unwrap();
                    body.flow_control().release_capacity(chunk.len()).unwrap();
                    bytes.extend_from_slice(&chunk);
                }
                bytes.len()
            }));
        }
        assert!(
            (20..100).contains(&sent),
            "{sent}: the client was told, and could send until then"
        );
        drop(send);
        for answer in answers {
            assert!(answer.await.unwrap() > 0, "{server:?}");
        }
        connection.await.unwrap().unwrap();
        assert_eq!(ended.await.unwrap().output, Some(Ok(())), "{server:?}");
    }
}

/// A transport on which preface and SETTINGS have passed.
async fn begun<IO>(over: fn(DuplexStream) -> IO) -> (DuplexStream, GoawayIo<IO>, GoawayHandle)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let (mut client, io) = tokio::io::duplex(1 << 10);
    let (mut io, handle) = GoawayIo::new(over(io), &H2Drain::default());
    client.write_all(CLIENT_PREFACE).await.unwrap();
    io.read_exact(&mut [0; CLIENT_PREFACE.len()]).await.unwrap();
    let mut settings = frame(SETTINGS, 0, 0, &[]);
    io.write_all(&settings).await.unwrap();
    io.flush().await.unwrap();
    client.read_exact(&mut settings).await.unwrap();
    (client, io, handle)
}

#[tokio::test]
async fn a_transport_that_keeps_what_is_written_is_flushed_behind_the_notice() {
    let (mut client, mut io, handle) = begun(BufWriter::new).await;
    handle.notice();
    assert_eq!(read_now(&mut io, 1).await, b"");
    let mut told = Vec::new();
    drop(tokio_test::task::spawn(client.read_buf(&mut told)).poll());
    assert_eq!(
        told,
        frame(GOAWAY, 0, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0])
    );
}

#[tokio::test]
async fn a_window_update_reaches_the_codec_at_once_until_it_asks_for_its_acknowledgement() {
    let (mut client, mut io, handle) = begun(|io| io).await;
    let update = frame(WINDOW_UPDATE, 0, 1, &[0, 1, 0, 0]);
    let announced = frame(GOAWAY, 0, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    handle.notice();
    assert_eq!(read_now(&mut io, 1).await, b"");
    for behind in ["the notice", "the gap", "the announcement"] {
        match behind {
            "the gap" => handle.finish(),
            "the announcement" => io.write_all(&announced).await.unwrap(),
            _ => {}
        }
        client.write_all(&update).await.unwrap();
        assert_eq!(read_now(&mut io, 64).await, update, "behind {behind}");
    }
}

#[tokio::test]
async fn a_frame_in_two_buffers_is_written_as_one() {
    let (mut client, mut io, handle) = begun(|io| io).await;
    let mut data = frame(DATA, 0, 1, b"some data");
    for told in [false, true] {
        if told {
            handle.notice();
            assert_eq!(read_now(&mut io, 1).await, b"");
            client.read_exact(&mut [0; 17]).await.unwrap();
        }
        let (head, payload) = data.split_at(9);
        let bufs = [IoSlice::new(head), IoSlice::new(payload)];
        assert_eq!(io.write_vectored(&bufs).await.unwrap(), data.len());
        client.read_exact(&mut data).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_notice_in_vectored_writes_of_any_size_is_seen_when_it_is_written() {
    let data = frame(DATA, 0, 1, b"some data");
    let goaway = frame(GOAWAY, 0, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    let wire = [data, goaway].concat();
    for room in 1..=wire.len() {
        for middle in 0..wire.len() {
            let (client, io) = tokio::io::duplex(room);
            let (mut io, handle) = GoawayIo::new(io, &H2Drain::default());
            let (mut reads, mut writes) = tokio::io::split(client);
            let preface =
                tokio::spawn(
                    async move { writes.write_all(CLIENT_PREFACE).await.map(|()| writes) },
                );
            io.read_exact(&mut [0; CLIENT_PREFACE.len()]).await.unwrap();
            let _writes = preface.await.unwrap().unwrap();
            let read = tokio::spawn(async move {
                let mut bytes = Vec::new();
                reads.read_to_end(&mut bytes).await.map(|_| bytes)
            });
            let mut written = 0;
            while written < wire.len() {
                let phase = handle.phase();
                assert_eq!(
                    phase,
                    H2Phase::Serving,
                    "room {room}, middle {middle}, {written} written"
                );
                let (head, tail) = wire.split_at(middle.max(written));
                let slices = [IoSlice::new(&head[written..]), IoSlice::new(tail)];
                written += io.write_vectored(&slices).await.unwrap();
            }
            io.flush().await.unwrap();
            assert_eq!(
                handle.phase(),
                H2Phase::Noticed,
                "room {room}, middle {middle}"
            );
            drop(io);
            assert_eq!(read.await.unwrap().unwrap(), wire);
        }
    }
}

proptest! {
    #[test]
    fn the_first_goaway_stands_at_the_next_boundary_and_never_in_a_header_block(
        answer in any_units(),
        cut in any::<proptest::sample::Index>(),
        size in 1usize..50,
    ) {
        let settings = frame(SETTINGS, 0, 0, &[]);
        let wire = [settings.clone(), answer.concat()].concat();
        let cut = cut.index(wire.len() + 1);
        let mut boundaries = vec![settings.len()];
        for unit in &answer {
            boundaries.push(boundaries[boundaries.len() - 1] + unit.len());
        }
        let stands = boundaries.into_iter().find(|at| *at >= cut).unwrap();
        let notice = frame(GOAWAY, 0, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        let expected = [&wire[..stands], &notice, &wire[stands..]].concat();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let down = runtime.block_on(tokio::task::unconstrained(async {
            let (mut client, io) = tokio::io::duplex(1 << 16);
            let (mut io, handle) = GoawayIo::new(io, &H2Drain::default());
            client.write_all(CLIENT_PREFACE).await.unwrap();
            io.read_exact(&mut [0; CLIENT_PREFACE.len()]).await.unwrap();
            for chunk in wire[..cut].chunks(size) {
                io.write_all(chunk).await.unwrap();
            }
            handle.notice();
            assert!(read_now(&mut io, 1).await.is_empty());
            for chunk in wire[cut..].chunks(size) {
                io.write_all(chunk).await.unwrap();
            }
            io.flush().await.unwrap();
            assert!(read_now(&mut io, 1).await.is_empty());
            drop(io);
            let mut down = Vec::new();
            client.read_to_end(&mut down).await.unwrap();
            down
        }));
        prop_assert_eq!(down, expected);
    }
}

#[test]
fn a_writer_learns_whether_the_transport_takes_several_buffers_at_once() {
    let ((takes, _client), takes_one) =
        (tokio::io::duplex(1), tokio_test::io::Builder::new().build());
    let drain = H2Drain::default();
    assert!(GoawayIo::new(takes, &drain).0.is_write_vectored());
    assert!(!GoawayIo::new(takes_one, &drain).0.is_write_vectored());
}
