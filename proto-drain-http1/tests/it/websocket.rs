//! A relayed WebSocket at its slot: what the client reads, byte for byte, wherever the slot falls.

use crate::settle;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use drain_signal::{DrainEvent, DrainHandle, DrainReason, DrainTrigger};
use futures_util::FutureExt;
use proto_drain_http1::{CloseCode, WebSocketClientIo, WebSocketIo};
use settle::settle;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, copy_bidirectional,
    duplex,
};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_test::{assert_pending, task};

const GOING_AWAY: [u8; 4] = [0x88, 2, 0x03, 0xe9];
const SECOND: Duration = Duration::from_secs(1);

/// A client and a server with a relay between them that says Close at its slot.
struct Tunnel {
    client: DuplexStream,
    server: DuplexStream,
    drain: DrainHandle,
    relay: JoinHandle<io::Result<(u64, u64)>>,
    _trigger: DrainTrigger,
}

impl Tunnel {
    fn new(code: CloseCode) -> Self {
        Self::with_client(code, |near| near)
    }

    /// With something around the relay's side of the client.
    fn with_client<IO>(code: CloseCode, wrap: impl FnOnce(DuplexStream) -> IO) -> Self
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (client, near) = duplex(256 * 1024);
        let mut near = wrap(near);
        let (far, server) = duplex(256 * 1024);
        let (trigger, signal) = drain_signal::channel();
        let watch = signal.watch().unwrap();
        let drain = watch.handle();
        let mut far = WebSocketIo::new(far, watch.handle(), code);
        let relay = tokio::spawn(async move {
            let _open = watch;
            copy_bidirectional(&mut near, &mut far).await
        });
        Self {
            client,
            server,
            drain,
            relay,
            _trigger: trigger,
        }
    }

    async fn slot(&self) {
        settle().await;
        self.drain.start_now();
        settle().await;
    }

    async fn serve(&mut self, bytes: &[u8]) {
        let written = tokio::time::timeout(60 * SECOND, self.server.write_all(bytes)).await;
        written.expect("the server is not blocked").unwrap();
        settle().await;
    }

    async fn say(&mut self, bytes: &[u8]) {
        self.client.write_all(bytes).await.unwrap();
        settle().await;
    }

    /// What the client can read at once.
    async fn heard(&mut self, bytes: usize) -> Vec<u8> {
        let mut heard = vec![0; bytes];
        self.client.read_exact(&mut heard).await.unwrap();
        heard
    }

    /// Everything the client reads up to FIN.
    async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.client.read_to_end(&mut rest).await.unwrap();
        rest
    }
}

/// A frame of a server.
fn frame(first: u8, length: usize) -> Vec<u8> {
    let mut frame = vec![first];
    match length {
        0..=125 => frame.push(length as u8),
        126..=0xffff => {
            frame.push(126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend((0..length).map(|at| if at % 2 == 0 { 0x88 } else { 0x02 }));
    frame
}

/// A frame of a client, whose payload looks like a Close once it is masked.
fn masked(first: u8, length: u8) -> Vec<u8> {
    let mut frame = vec![first, 0x80 | length, 0x88, 0x02, 0x88, 0x02];
    frame.extend((0..length).map(|at| if at % 2 == 0 { 0x88 } else { 0x02 }));
    frame
}

#[tokio::test(start_paused = true)]
async fn the_close_stands_at_the_end_of_the_frame_the_slot_falls_into() {
    // An unfinished message in two fragments with an empty ping between them, and large frames of
    // both kinds.
    let frames = [
        frame(0x01, 5),
        frame(0x89, 0),
        frame(0x80, 130),
        frame(0x82, 70_000),
        frame(0x81, 3),
    ];
    let bytes = frames.concat();
    let mut ends = vec![0];
    for frame in &frames {
        ends.push(ends.last().unwrap() + frame.len());
    }
    let big = ends[3];
    let positions = (0..big + 20)
        .chain([big + 35_000])
        .chain(ends[4] - 3..=bytes.len());
    for slot in positions {
        let mut tunnel = Tunnel::new(CloseCode::GoingAway);
        tunnel.serve(&bytes[..slot]).await;
        tunnel.slot().await;
        let end = *ends.iter().find(|end| **end >= slot).unwrap();
        tunnel.serve(&bytes[slot..end]).await;
        tunnel.serve(&bytes[end..]).await;
        tunnel.say(&masked(0x88, 2)).await;
        let heard = tunnel.rest().await;
        let (data, close) = heard.split_at(heard.len() - 4);
        assert_eq!(close, GOING_AWAY, "slot at {slot}");
        assert_eq!(data.len(), end, "slot at {slot}");
        assert_eq!(data, &bytes[..end], "slot at {slot}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_close_comes_whole_to_a_reader_of_few_bytes() {
    for room in 1..=5 {
        let (far, mut server) = duplex(64);
        let (_trigger, signal) = drain_signal::channel();
        let watch = signal.watch().unwrap();
        let mut far = WebSocketIo::new(far, watch.handle(), CloseCode::ServiceRestart);
        server.write_all(&frame(0x81, 2)).await.unwrap();
        let mut heard = vec![far.read_u8().await.unwrap()];
        watch.start_now();
        let mut few = vec![0; room];
        while let read @ 1.. = far.read(&mut few).await.unwrap() {
            heard.extend_from_slice(&few[..read]);
        }
        assert_eq!(heard, [0x81, 2, 0x88, 0x02, 0x88, 2, 0x03, 0xf4], "{room}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_tunnel_ends_when_the_client_has_answered_and_the_server_gets_the_answer() {
    let mut tunnel = Tunnel::new(CloseCode::GoingAway);
    tunnel.say(&masked(0x82, 100)).await;
    tunnel.serve(&frame(0x82, 0)).await;
    tunnel.heard(2).await;
    let start = Instant::now();
    tunnel.slot().await;
    assert_eq!(tunnel.heard(4).await, GOING_AWAY);
    // Data that was under way is no answer, however much it looks like one; byte by byte.
    let (data, answer) = (masked(0x81, 9), masked(0x88, 2));
    for byte in &data {
        tunnel.say(&[*byte]).await;
    }
    let waits = tokio::time::timeout(SECOND / 2, tunnel.client.read_u8()).await;
    assert!(waits.is_err(), "no FIN before the answer");
    for byte in &answer {
        tunnel.say(&[*byte]).await;
    }
    assert_eq!(tunnel.rest().await, b"");
    assert_eq!(start.elapsed(), SECOND / 2);
    // Nothing of the client's was changed or lost, and its server learns of the end.
    drop(tunnel.client);
    let mut got = Vec::new();
    tunnel.server.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, [masked(0x82, 100), data, answer].concat());
    tunnel.relay.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_servers_answers_to_what_the_client_sent_before_come_before_the_close() {
    let mut tunnel = Tunnel::new(CloseCode::GoingAway);
    let answers = [frame(0x81, 3), frame(0x82, 200), frame(0x81, 1)];
    // Two messages and a half; a ping between is none.
    let parts = [masked(0x81, 3), masked(0x89, 1), masked(0x82, 7)].concat();
    let (half, rest) = (masked(0x01, 2), masked(0x80, 2));
    tunnel.say(&parts).await;
    tunnel.say(&half).await;
    tunnel.slot().await;
    for answer in &answers[..2] {
        tokio::time::sleep(SECOND / 10).await;
        tunnel.serve(answer).await;
    }
    tunnel.say(&rest).await;
    tokio::time::sleep(SECOND / 10).await;
    tunnel.serve(&answers[2]).await;
    let start = Instant::now();
    assert_eq!(
        tunnel.rest().await,
        [&answers.concat()[..], &GOING_AWAY].concat()
    );
    // What is left of the second is the client's.
    assert_eq!(start.elapsed(), SECOND / 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_keeps_the_close_back_for_half_of_the_reply_timeout() {
    let mut tunnel = Tunnel::new(CloseCode::GoingAway);
    tunnel.say(&masked(0x81, 9)).await;
    let start = Instant::now();
    tunnel.slot().await;
    assert_eq!(tunnel.heard(4).await, GOING_AWAY);
    assert_eq!(start.elapsed(), SECOND / 2);
    assert_eq!(tunnel.rest().await, b"");
    assert_eq!(start.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn what_the_server_has_sent_by_then_comes_before_the_close_whether_it_ends_or_not() {
    for ends in [false, true] {
        let (far, mut server) = duplex(128 * 1024);
        let (_trigger, signal) = drain_signal::channel();
        let watch = signal.watch().unwrap();
        let mut far = WebSocketIo::new(far, watch.handle(), CloseCode::GoingAway);
        // Long before, more than what is read from the slot on.
        let mut before = frame(0x82, 70_000);
        server.write_all(&before).await.unwrap();
        far.read_exact(&mut before).await.unwrap();
        let sent = [frame(0x81, 5), frame(0x89, 0), frame(0x82, 1000)].concat();
        server.write_all(&sent).await.unwrap();
        if ends {
            server.shutdown().await.unwrap();
        }
        watch.start_now();
        let mut heard = Vec::new();
        far.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, [&sent[..], &GOING_AWAY].concat(), "ends: {ends}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_answer_is_left_after_the_reply_timeout() {
    let mut tunnel = Tunnel::new(CloseCode::GoingAway);
    let start = Instant::now();
    tunnel.slot().await;
    assert_eq!(tunnel.rest().await, GOING_AWAY);
    assert_eq!(start.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_and_keeps_tcp_open_is_let_go_after_a_second() {
    let mut tunnel = Tunnel::with_client(CloseCode::GoingAway, WebSocketClientIo::new);
    tunnel.say(&masked(0x81, 9)).await;
    tunnel.serve(&frame(0x82, 300)).await;
    tunnel.heard(304).await;
    let start = Instant::now();
    tunnel.slot().await;
    tunnel.say(&masked(0x88, 2)).await;
    // The server's side closes first, at once (RFC 6455 section 7.1.1); the client only listens.
    assert_eq!(tunnel.rest().await, GOING_AWAY);
    assert_eq!(start.elapsed(), Duration::ZERO);
    let relay = tokio::time::timeout(60 * SECOND, tunnel.relay).await;
    relay.expect("the relay ends").unwrap().unwrap();
    assert_eq!(start.elapsed(), SECOND);
    assert!(
        tunnel.client.write_all(b"late").await.is_err(),
        "the connection is closed"
    );
    let mut got = Vec::new();
    tunnel.server.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, [masked(0x81, 9), masked(0x88, 2)].concat());
}

#[tokio::test(start_paused = true)]
async fn nothing_the_server_sends_behind_the_close_reaches_the_client_or_blocks_the_server() {
    let mut tunnel = Tunnel::new(CloseCode::GoingAway);
    tunnel.slot().await;
    for _ in 0..20 {
        tunnel.serve(&frame(0x82, 60_000)).await;
    }
    tunnel.say(&masked(0x88, 2)).await;
    assert_eq!(tunnel.rest().await, GOING_AWAY);
}

#[tokio::test(start_paused = true)]
async fn where_a_side_has_closed_by_itself_nothing_is_said() {
    // The server: its Close passes, and the end is its own.
    let mut tunnel = Tunnel::new(CloseCode::GoingAway);
    let own = [0x88, 2, 0x03, 0xe8];
    tunnel.serve(&own).await;
    tunnel.slot().await;
    tunnel.say(&masked(0x88, 2)).await;
    tunnel.server.shutdown().await.unwrap();
    assert_eq!(tunnel.rest().await, own);

    // The client: the server's answer passes.
    let mut tunnel = Tunnel::new(CloseCode::GoingAway);
    tunnel.say(&masked(0x88, 2)).await;
    tunnel.slot().await;
    tunnel.serve(&own).await;
    tunnel.server.shutdown().await.unwrap();
    assert_eq!(tunnel.rest().await, own);

    // The client, by FIN.
    let mut tunnel = Tunnel::new(CloseCode::GoingAway);
    tunnel.client.shutdown().await.unwrap();
    tunnel.slot().await;
    tunnel.server.shutdown().await.unwrap();
    assert_eq!(tunnel.rest().await, b"");
}

#[tokio::test(start_paused = true)]
async fn in_a_frame_that_does_not_end_nothing_is_said() {
    let mut tunnel = Tunnel::new(CloseCode::GoingAway);
    let (most, last) = (frame(0x82, 1000), 0x02);
    tunnel.serve(&most[..most.len() - 1]).await;
    tunnel.slot().await;
    assert_eq!(tunnel.heard(most.len() - 1).await, most[..most.len() - 1]);
    assert!(
        tokio::time::timeout(60 * SECOND, tunnel.client.read_u8())
            .await
            .is_err()
    );
    tunnel.serve(&[last]).await;
    assert_eq!(tunnel.heard(5).await, [&[last], &GOING_AWAY[..]].concat());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_gone_when_the_client_answers_fails_nothing() {
    let mut tunnel = Tunnel::new(CloseCode::GoingAway);
    tunnel.slot().await;
    drop(tunnel.server);
    tunnel.client.write_all(&masked(0x88, 2)).await.unwrap();
    let mut heard = Vec::new();
    tunnel.client.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, GOING_AWAY);
    drop(tunnel.client);
    tunnel.relay.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn at_the_last_word_nothing_is_said_before_that() {
    let (mut client, mut near) = duplex(1024);
    let (far, mut server) = duplex(1024);
    let (trigger, signal) = drain_signal::channel();
    let watch = signal.watch().unwrap();
    let mut far = WebSocketIo::new(far, watch.handle(), CloseCode::GoingAway).at_last_word();
    tokio::spawn(async move {
        let _open = watch;
        copy_bidirectional(&mut near, &mut far).await
    });
    let start = Instant::now().into_std();
    let draining = trigger.start(DrainEvent::new(
        start,
        60 * SECOND,
        DrainReason::ListenerModify,
    ));
    draining.advance(start + 58 * SECOND);
    settle().await;
    server.write_all(&frame(0x81, 2)).await.unwrap();
    let mut heard = [0; 4];
    client.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, [0x81, 2, 0x88, 0x02]);
    draining.advance(start + 59 * SECOND);
    client.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, GOING_AWAY);
}

/// What a masked Close frame says.
fn masked_close(frame: &[u8]) -> Option<u16> {
    let [0x88, 0x82, a, b, _, _, high, low] = *frame else {
        return None;
    };
    Some(u16::from_be_bytes([high ^ a, low ^ b]))
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_client_does_not_answer_gets_a_close_all_the_same() {
    let mut tunnel = Tunnel::with_client(CloseCode::ServiceRestart, WebSocketClientIo::new);
    tunnel.say(&masked(0x81, 3)).await;
    tunnel.slot().await;
    assert_eq!(tunnel.rest().await, [0x88, 2, 0x03, 0xf4]);
    // It comes too late: nothing may follow a Close.
    tunnel.say(&masked(0x88, 2)).await;
    let mut heard = Vec::new();
    tunnel.server.read_to_end(&mut heard).await.unwrap();
    let (said, close) = heard.split_at(masked(0x81, 3).len());
    assert_eq!(said, masked(0x81, 3));
    assert_eq!(masked_close(close), Some(1012), "{close:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_client_ends_without_an_answer_gets_a_close() {
    let mut tunnel = Tunnel::new(CloseCode::GoingAway);
    tunnel.slot().await;
    tunnel.heard(4).await;
    tunnel.client.shutdown().await.unwrap();
    let mut heard = Vec::new();
    tunnel.server.read_to_end(&mut heard).await.unwrap();
    assert_eq!(masked_close(&heard), Some(1001), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_inside_a_frame_is_not_spoken_for() {
    let mut tunnel = Tunnel::with_client(CloseCode::GoingAway, WebSocketClientIo::new);
    let half = &masked(0x81, 100)[..50];
    tunnel.say(half).await;
    tunnel.slot().await;
    assert_eq!(tunnel.rest().await, GOING_AWAY);
    let mut heard = Vec::new();
    tunnel.server.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, half);
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_vectored_writes_is_followed_wherever_they_are_cut() {
    let (data, answer) = (masked(0x81, 9), masked(0x88, 2));
    let all = [data, answer].concat();
    for (room, cut) in [1, 7, 64]
        .into_iter()
        .flat_map(|room| (0..all.len()).map(move |cut| (room, cut)))
    {
        let (far, mut server) = duplex(room);
        let (_trigger, signal) = drain_signal::channel();
        let watch = signal.watch().unwrap();
        let mut far = WebSocketIo::new(far, watch.handle(), CloseCode::GoingAway);
        watch.start_now();
        let mut heard = [0; 4];
        far.read_exact(&mut heard).await.unwrap();
        let (start, mut written) = (Instant::now(), 0);
        while written < all.len() {
            let mut reading = task::spawn(far.read(&mut heard));
            assert_pending!(reading.poll(), "{written} are no answer");
            drop(reading);
            let (left, right) = all.split_at(cut.max(written));
            let bufs = [IoSlice::new(&left[written..]), IoSlice::new(right)];
            let now = far.write_vectored(&bufs).await.unwrap();
            assert!(now > 0);
            let mut got = vec![0; now];
            let read = server.read_exact(&mut got).now_or_never();
            read.expect("it is written").unwrap();
            assert_eq!(got, all[written..written + now]);
            written += now;
        }
        assert_eq!(far.read(&mut heard).await.unwrap(), 0);
        assert_eq!(start.elapsed(), Duration::ZERO, "room {room}, cut at {cut}");
    }
}

#[tokio::test]
async fn vectored_writes_to_a_client_pass_through() {
    let (near, mut client) = duplex(64);
    let mut near = WebSocketClientIo::new(near);
    let bufs = [IoSlice::new(b"head"), IoSlice::new(b"payload")];
    assert_eq!(near.write_vectored(&bufs).await.unwrap(), 11);
    let mut heard = [0; 11];
    client.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"headpayload");
}

/// A server that always has more to say.
struct Endless;

impl AsyncRead for Endless {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let frames = [0x81, 0].repeat(buf.remaining() / 2);
        buf.put_slice(&frames);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Endless {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_floods_does_not_keep_the_close_back_nor_other_tasks_behind_it() {
    let (_trigger, signal) = drain_signal::channel();
    let watch = signal.watch().unwrap();
    watch.start_now();
    let mut upstream = WebSocketIo::new(Endless, watch.handle(), CloseCode::GoingAway);
    let (mut frame, mut before) = ([0; 2], 0);
    while upstream.read_exact(&mut frame).await.is_ok() && frame == [0x81, 0] {
        before += frame.len();
    }
    let mut code = [0; 2];
    upstream.read_exact(&mut code).await.unwrap();
    assert_eq!([frame, code].concat(), GOING_AWAY);
    assert_eq!(before, 64 * 1024);
    let mut end = [0];
    let mut reading = task::spawn(upstream.read(&mut end));
    for _ in 0..3 {
        assert_pending!(reading.poll());
        assert!(reading.is_woken(), "there is more to read");
    }
}
