//! One HTTP/2 connection of a client: opens streams as its habit says, until a GOAWAY tells it not
//! to; then finishes and watches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rig::h2::{self, Frame, flag, kind};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::ask::Ask;
use super::book::Entry;
use super::crowd::Crowd;
use super::h1::PATIENCE;
use super::h2_clients::Habit;
use super::record::{Class, How, Saw};

/// The window that the client gives each stream, and adds to the connection's.
const WINDOW: u32 = 1 << 20;

/// A stream that waits for its answer.
#[derive(Debug)]
struct Stream {
    ask: Ask,
    begun: Duration,
    due: Instant,
    status: Option<Result<(), String>>,
    body: Vec<u8>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    crowd: Arc<Crowd>,
    habit: Habit,
    entry: Entry,
    read: OwnedReadHalf,
    ahead: BytesMut,
    half: OwnedWriteHalf,
    /// What is to be written next.
    out: Vec<u8>,
    streams: BTreeMap<u32, Stream>,
    asked: u64,
    version: Option<u32>,
    /// What the peer's connection window and a new stream's window have left.
    window: i64,
    stream_window: i64,
    /// Taken when the connection may open no more streams.
    told: Option<oneshot::Sender<()>>,
}

impl Session {
    /// `told` is answered, or dropped, when the client needs another connection for further
    /// streams.
    pub(crate) fn new(
        crowd: Arc<Crowd>,
        habit: Habit,
        stream: TcpStream,
        entry: Entry,
        told: oneshot::Sender<()>,
    ) -> Self {
        let (read, half) = stream.into_split();
        Self {
            crowd,
            habit,
            entry,
            read,
            ahead: BytesMut::new(),
            half,
            out: h2::preface(WINDOW),
            streams: BTreeMap::new(),
            asked: 0,
            version: None,
            window: 65_535,
            stream_window: 65_535,
            told: Some(told),
        }
    }

    /// Lives until the connection ends.
    pub(crate) async fn run(mut self) {
        let crowd = Arc::clone(&self.crowd);
        let mut next = Some(Instant::now());
        let mut limit = None;
        let end = loop {
            if !self.out.is_empty() {
                // A failed write is not the news: what the peer had said before is still to be
                // read, and then its end.
                let out = std::mem::take(&mut self.out);
                if self.half.write_all(&out).await.is_err() {
                    self.told = None;
                }
            }
            if self.told.is_none() && limit.is_none() {
                limit = Some(Instant::now() + crowd.drain_time + Duration::from_secs(3));
            }
            if crowd.stopping() && self.streams.is_empty() {
                break Saw::Left;
            }
            let first_due = self.streams.values().map(|stream| stream.due).min();
            tokio::select! {
                frame = Frame::read(&mut self.read, &mut self.ahead) => match frame {
                    Ok(Some(frame)) => if self.handle(&frame).is_none() {
                        self.wrong(format!("a malformed frame of type {}", frame.kind));
                        break Saw::Left;
                    },
                    Ok(None) => break Saw::Fin,
                    Err(error) => match How::from_io(&error) {
                        How::Wrong(what) => {
                            self.wrong(what);
                            break Saw::Left;
                        }
                        _ => break Saw::Reset,
                    }
                },
                () = at(next), if self.may_open() => {
                    self.open();
                    next = self.habit.every.map(|every| Instant::now() + every);
                }
                () = at(first_due) => self.give_up_late(),
                () = at(limit) => break Saw::Left,
                () = crowd.stopped(), if self.told.is_some() => self.told = None,
            }
        };
        self.end(end).await;
    }

    /// Whether a new stream may be opened on this connection.
    fn may_open(&self) -> bool {
        let knows_version = self.asked == 0 || self.version.is_some();
        self.told.is_some()
            && knows_version
            && self.streams.len() < self.habit.at_once
            && self.window > 8192
    }

    fn open(&mut self) {
        let ask = self.habit.ask(self.asked);
        // Only a busy client goes on until it is told, whatever the time; see `Book::in_time`.
        let in_time = || {
            self.crowd
                .book
                .in_time(self.version.unwrap_or(0), ask.takes)
        };
        if ask.body.len() as i64 > self.stream_window {
            return;
        }
        if self.habit.class != Class::H2Busy && !in_time() {
            self.told = None;
            return;
        }
        let id = 1 + 2 * self.asked as u32;
        self.out
            .extend(h2::request(ask.method, &ask.path, id, ask.body.is_empty()));
        if !ask.body.is_empty() {
            self.out.extend(h2::data(id, &ask.body, true));
        }
        self.asked += 1;
        self.window -= ask.body.len() as i64;
        let due = Instant::now() + ask.takes + PATIENCE;
        self.streams.insert(
            id,
            Stream {
                ask,
                begun: self.entry.now(),
                due,
                status: None,
                body: Vec::new(),
            },
        );
    }

    /// Does what a frame asks for; `None` if it is malformed.
    fn handle(&mut self, frame: &Frame) -> Option<()> {
        self.out.extend(frame.ack().unwrap_or_default());
        match frame.kind {
            kind::DATA => self.data(frame)?,
            kind::HEADERS => self.headers(frame)?,
            kind::RST_STREAM => {
                let reason = frame.word(0)?;
                self.fail(frame.stream, How::StreamReset(reason));
            }
            kind::SETTINGS if !frame.has(flag::ACK) => {
                if let Some(window) = h2::initial_window(&frame.payload) {
                    self.stream_window = i64::from(window);
                }
            }
            kind::GOAWAY => self.goaway(frame.word(0)? & h2::NO_LIMIT, frame.word(4)?),
            kind::WINDOW_UPDATE if frame.stream == 0 => self.window += i64::from(frame.word(0)?),
            _ => {}
        }
        Some(())
    }

    fn data(&mut self, frame: &Frame) -> Option<()> {
        let content = frame.content()?;
        if !frame.payload.is_empty() {
            h2::put_window_update(&mut self.out, 0, frame.payload.len() as u32);
        }
        if let Some(stream) = self.streams.get_mut(&frame.stream) {
            stream.body.extend_from_slice(&content);
        }
        self.finish_at_end_of(frame);
        Some(())
    }

    fn headers(&mut self, frame: &Frame) -> Option<()> {
        let block: Bytes = frame.content()?;
        if let Some(stream) = self.streams.get_mut(&frame.stream) {
            // A second block is trailers.
            stream
                .status
                .get_or_insert_with(|| match h2::status(&block) {
                    200 => Ok(()),
                    _ => Err(format!(
                        "not status 200: header block {:02x?}",
                        &block[..block.len().min(8)]
                    )),
                });
        }
        self.finish_at_end_of(frame);
        Some(())
    }

    fn finish_at_end_of(&mut self, frame: &Frame) {
        if !frame.has(flag::END_STREAM) {
            return;
        }
        let Some(stream) = self.streams.remove(&frame.stream) else {
            return;
        };
        let status = stream
            .status
            .unwrap_or(Err("a body before its head".to_owned()));
        match status
            .map_err(How::Wrong)
            .and_then(|()| stream.ask.check(&stream.body))
        {
            Ok(version) => {
                self.entry.ok();
                if let Some(version) = version {
                    self.entry.version(version);
                    self.version = Some(version);
                }
            }
            Err(how) => self.entry.failed(stream.begun, Some(frame.stream), how),
        }
    }

    fn goaway(&mut self, last_stream_id: u32, error: u32) {
        if error != 0 {
            self.wrong(format!("GOAWAY with error {error}"));
        }
        if let Some(told) = self.told.take() {
            // The receiver is gone if the client is being dropped.
            match told.send(()) {
                Ok(()) | Err(()) => {}
            }
        }
        if last_stream_id == h2::NO_LIMIT {
            self.entry.saw(Saw::FirstGoaway);
            return;
        }
        self.entry.saw(Saw::FinalGoaway { last_stream_id });
        let refused: Vec<u32> = self
            .streams
            .keys()
            .copied()
            .filter(|id| *id > last_stream_id)
            .collect();
        for id in refused {
            self.fail(id, How::Unanswered);
        }
    }

    fn give_up_late(&mut self) {
        let now = Instant::now();
        let late = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.due <= now)
            .map(|(id, _)| *id);
        for id in late.collect::<Vec<_>>() {
            self.fail(id, How::TimedOut);
        }
    }

    fn fail(&mut self, id: u32, how: How) {
        if let Some(stream) = self.streams.remove(&id) {
            self.entry.failed(stream.begun, Some(id), how);
        }
    }

    fn wrong(&self, what: String) {
        self.entry.failed(self.entry.now(), None, How::Wrong(what));
    }

    async fn end(mut self, saw: Saw) {
        for (id, stream) in std::mem::take(&mut self.streams) {
            let how = match saw {
                Saw::Reset => How::Reset,
                _ if stream.status.is_some() => How::Cut,
                _ => How::Unanswered,
            };
            self.entry.failed(stream.begun, Some(id), how);
        }
        if saw == Saw::Left {
            h2::put_goaway(&mut self.out);
            // The peer may be gone already; nothing depends on this word.
            match self.half.write_all(&self.out).await {
                Ok(()) | Err(_) => {}
            }
        }
        self.entry.saw(saw);
    }
}

/// Resolves then; never, if there is no such time.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
