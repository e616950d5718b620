//! WebSocket: a client that checks that each message comes back, in order.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rig::websocket::{self, Message, opcode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::book::Entry;
use super::crowd::Crowd;
use super::h1::{self, PATIENCE, Wire};
use super::pattern;
use super::record::{Class, How, Saw};

/// Messages that were sent this long before the end of a tunnel must have come back.
const IN_FLIGHT: Duration = Duration::from_millis(500);

/// The time between two messages.
const EVERY: Duration = Duration::from_millis(40);

/// Opens one tunnel after the other until it is time to go home.
pub(crate) async fn client(crowd: &Crowd) {
    while !crowd.stopping() {
        let Some((stream, entry)) = crowd.connect(Class::WebSocket, crowd.http).await else {
            continue;
        };
        let begun = entry.now();
        let mut wire = Wire::new(stream);
        match timeout(PATIENCE, handshake(&mut wire, &entry))
            .await
            .unwrap_or(Err(How::TimedOut))
        {
            Ok(()) => talk(crowd, wire, &entry).await,
            Err(how) => entry.failed(begun, None, how),
        }
    }
}

async fn handshake(wire: &mut Wire, entry: &Entry) -> Result<(), How> {
    let key = websocket::key(fastrand::u128(..).to_be_bytes());
    let ask = websocket::handshake("/ws", &key);
    wire.send(ask.as_bytes()).await;
    let head = wire.head().await?;
    if head.status() != 101 || head.header("sec-websocket-accept") != Some(&websocket::accept(&key))
    {
        return Err(How::Wrong(format!("handshake: {head:?}")));
    }
    if let Some(version) = h1::version(&head) {
        entry.version(version);
    }
    entry.ok();
    Ok(())
}

/// Sends numbered messages and checks the echoes until the tunnel ends.
async fn talk(crowd: &Crowd, wire: Wire, entry: &Entry) {
    let (mut stream, mut ahead): (TcpStream, BytesMut) = wire.into_parts();
    let mut echoes = Echoes::default();
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut leaving: Option<Instant> = None;
    let end = loop {
        loop {
            match Message::take(&mut ahead) {
                Ok(None) => break,
                Ok(Some(message)) if message.opcode == opcode::CLOSE => {
                    // Ours comes back when we leave; otherwise it is the end of the tunnel as any
                    // other.
                    entry.saw(if leaving.is_some() {
                        Saw::Left
                    } else {
                        Saw::Fin
                    });
                    return;
                }
                Ok(Some(message)) => echoes.check(&message, entry),
                Err(what) => {
                    entry.failed(entry.now(), None, How::Wrong(what));
                    return;
                }
            }
        }
        let limit = leaving.unwrap_or_else(|| Instant::now() + PATIENCE);
        tokio::select! {
            read = stream.read_buf(&mut ahead) => match read {
                Ok(0) => break Saw::Fin,
                Ok(_) => {}
                Err(_) => break Saw::Reset,
            },
            _ = tick.tick(), if leaving.is_none() => {
                let message = if crowd.stopping() {
                    leaving = Some(Instant::now() + Duration::from_secs(2));
                    Message { opcode: opcode::CLOSE, payload: Bytes::from_static(&[0x03, 0xe8]) }
                } else {
                    echoes.next(entry)
                };
                let mask = fastrand::u32(..).to_be_bytes();
                // A failed write is not the news: the end of the stream is still to be read.
                match stream.write_all(&message.frame(Some(mask))).await {
                    Ok(()) | Err(_) => {}
                }
            },
            () = sleep_until(limit) => {
                entry.failed(entry.now(), None, How::TimedOut);
                return;
            }
        }
    };
    echoes.missing(entry);
    entry.saw(end);
}

/// The messages that have not come back yet.
#[derive(Debug, Default)]
struct Echoes {
    sent: u64,
    outstanding: VecDeque<(Duration, Bytes)>,
}

impl Echoes {
    fn next(&mut self, entry: &Entry) -> Message {
        let mut payload = self.sent.to_be_bytes().to_vec();
        payload.extend(pattern::bytes(self.sent, 0, fastrand::usize(..300)));
        let payload = Bytes::from(payload);
        self.sent += 1;
        self.outstanding.push_back((entry.now(), payload.clone()));
        Message {
            opcode: opcode::BINARY,
            payload,
        }
    }

    fn check(&mut self, message: &Message, entry: &Entry) {
        match self.outstanding.pop_front() {
            Some((_, payload)) if payload == message.payload => entry.ok(),
            Some((begun, _)) => entry.failed(
                begun,
                None,
                How::Wrong("another echo than the next".to_owned()),
            ),
            None => entry.failed(
                entry.now(),
                None,
                How::Wrong("an echo of nothing".to_owned()),
            ),
        }
    }

    fn missing(&self, entry: &Entry) {
        let now = entry.now();
        let late = self
            .outstanding
            .iter()
            .filter(|(begun, _)| *begun + IN_FLIGHT < now)
            .count();
        if let Some((begun, _)) = self.outstanding.front().filter(|_| late > 0) {
            entry.failed(
                *begun,
                None,
                How::Missing(format!("{late} messages never came back")),
            );
        }
    }
}
