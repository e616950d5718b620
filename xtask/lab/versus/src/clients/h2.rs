//! HTTP/2: one connection after the other, a few streams at a time on each, until a GOAWAY says to
//! open no more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rig::h2::{self, Frame, NO_LIMIT, flag, kind};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{Class, Crowd, Loss, PATIENCE, Visible, look};

const WINDOW: u32 = 1 << 20;

/// The error code of a stream that was not processed: it may be asked again.
const REFUSED_STREAM: u32 = 7;

/// An upload's pieces.
const PIECE: [u8; 4096] = [b'u'; 4096];
const PIECES: u8 = 8;

/// What a class opens.
#[derive(Debug, Clone, Copy)]
struct Habit {
    class: Class,
    path: &'static str,
    at_once: usize,
    /// Between two streams, or two pieces of uploads.
    every: Duration,
    pieces: u8,
    /// The bytes of a whole answer.
    answer: usize,
}

const fn habit(class: Class) -> Habit {
    let (path, at_once, every, pieces, answer) = match class {
        Class::H2Upload => ("/x", 2, 50, PIECES, 5),
        // Ten chunks in a second.
        Class::Grpc => ("/stream", 3, 50, 0, 120),
        _ => ("/x", 4, 10, 0, 1),
    };
    Habit {
        class,
        path,
        at_once,
        every: Duration::from_millis(every),
        pieces,
        answer,
    }
}

/// A stream that waits for its answer.
#[derive(Debug)]
struct Stream {
    due: Instant,
    /// Pieces that are still to be sent.
    left: u8,
    next_piece: Instant,
    status: u16,
    bytes: usize,
}

/// Connects again as soon as a connection may be used no more; the streams there finish meanwhile.
pub(crate) async fn client(crowd: &Arc<Crowd>, class: Class) {
    let mut finishing = JoinSet::new();
    while !crowd.stopping() {
        let Some(stream) = crowd.connect(class).await else {
            continue;
        };
        let (told, leave) = oneshot::channel();
        let session = Session::new(Arc::clone(crowd), habit(class), stream, told);
        finishing.spawn(session.run());
        // Answered or dropped: both say the same.
        leave.await.ok();
        while finishing.try_join_next().is_some() {}
    }
    finishing.join_all().await;
}

#[derive(Debug)]
struct Session {
    crowd: Arc<Crowd>,
    habit: Habit,
    stream: TcpStream,
    ahead: BytesMut,
    out: Vec<u8>,
    streams: BTreeMap<u32, Stream>,
    next_id: u32,
    /// Earlier streams were answered here.
    reused: bool,
    /// Gone when no further stream may be opened.
    told: Option<oneshot::Sender<()>>,
    /// Of the final GOAWAY.
    last: Option<u32>,
    /// What the connection's and a new stream's windows allow to be sent.
    window: i64,
}

impl Session {
    fn new(crowd: Arc<Crowd>, habit: Habit, stream: TcpStream, told: oneshot::Sender<()>) -> Self {
        Self {
            crowd,
            habit,
            stream,
            ahead: BytesMut::new(),
            out: h2::preface(WINDOW),
            streams: BTreeMap::new(),
            next_id: 1,
            reused: false,
            told: Some(told),
            last: None,
            window: 65_535,
        }
    }

    async fn run(mut self) {
        let mut next = Instant::now();
        loop {
            if !self.out.is_empty() {
                let out = std::mem::take(&mut self.out);
                // If the write fails, the read says why.
                if self.stream.write_all(&out).await.is_err() {
                    self.told = None;
                }
            }
            if self.crowd.stopping() {
                self.told = None;
            }
            if self.told.is_none() && self.streams.is_empty() {
                return;
            }
            let may_open = self.told.is_some() && self.streams.len() < self.habit.at_once;
            let piece = self.next_piece();
            let due = self.streams.values().map(|stream| stream.due).min();
            tokio::select! {
                // What has been said is read before anything is opened.
                biased;
                frame = Frame::read(&mut self.stream, &mut self.ahead) => match frame {
                    Ok(Some(frame)) => self.handle(&frame),
                    Ok(None) | Err(_) => return self.ended(),
                },
                () = at(due) => {
                    self.lose_all(Loss::Late);
                    self.told = None;
                }
                () = at(piece) => self.send_pieces(),
                () = sleep_until(next), if may_open => match look(&self.stream) {
                    Visible::Nothing => {
                        self.open();
                        next = Instant::now() + self.habit.every;
                    }
                    // To be read first.
                    _ => next = Instant::now() + Duration::from_millis(1),
                },
            }
        }
    }

    fn open(&mut self) {
        let (id, now) = (self.next_id, Instant::now());
        self.next_id += 2;
        let pieces = self.habit.pieces;
        let method = if pieces > 0 { "POST" } else { "GET" };
        let request = h2::request(method, self.habit.path, id, pieces == 0);
        self.out.extend(request);
        let takes = Duration::from_secs(1) + self.habit.every * u32::from(pieces);
        let stream = Stream {
            due: now + takes + PATIENCE,
            left: pieces,
            next_piece: now + self.habit.every,
            status: 0,
            bytes: 0,
        };
        self.streams.insert(id, stream);
    }

    fn next_piece(&self) -> Option<Instant> {
        let uploads = self.streams.values().filter(|stream| stream.left > 0);
        let next = uploads.map(|stream| stream.next_piece).min();
        next.filter(|_| self.window >= PIECE.len() as i64)
    }

    fn send_pieces(&mut self) {
        let now = Instant::now();
        for (id, stream) in &mut self.streams {
            let waits = self.window < PIECE.len() as i64;
            if stream.left == 0 || stream.next_piece > now || waits {
                continue;
            }
            stream.left -= 1;
            stream.next_piece = now + self.habit.every;
            self.window -= PIECE.len() as i64;
            self.out.extend(h2::data(*id, &PIECE, stream.left == 0));
        }
    }

    fn handle(&mut self, frame: &Frame) {
        self.out.extend(frame.ack().unwrap_or_default());
        let content = frame.content().unwrap_or_default();
        match frame.kind {
            kind::HEADERS => {
                if let Some(stream) = self.streams.get_mut(&frame.stream) {
                    // Trailers have no status.
                    stream.status = stream.status.max(h2::status(&content));
                }
            }
            kind::DATA => {
                if let Some(stream) = self.streams.get_mut(&frame.stream) {
                    stream.bytes += content.len();
                }
                let length = frame.payload.len() as u32;
                if length > 0 {
                    h2::put_window_update(&mut self.out, 0, length);
                }
            }
            kind::RST_STREAM => self.reset(frame.stream, frame.word(0).unwrap_or(0)),
            kind::WINDOW_UPDATE if frame.stream == 0 => {
                self.window += i64::from(frame.word(0).unwrap_or(0) & NO_LIMIT);
            }
            kind::GOAWAY => self.go_away(frame.word(0).unwrap_or(0) & NO_LIMIT),
            _ => {}
        }
        let ends = matches!(frame.kind, kind::HEADERS | kind::DATA) && frame.has(flag::END_STREAM);
        if let Some(stream) = ends.then(|| self.streams.remove(&frame.stream)).flatten() {
            self.reused = true;
            match stream.status == 200 && stream.bytes == self.habit.answer {
                true => self.crowd.tally.ok(self.habit.class),
                false => self.crowd.tally.lost(self.habit.class, Loss::Wrong),
            }
        }
    }

    fn reset(&mut self, id: u32, code: u32) {
        let Some(stream) = self.streams.remove(&id) else {
            return;
        };
        let tally = &self.crowd.tally;
        match code {
            REFUSED_STREAM => tally.again(self.habit.class),
            _ if stream.status == 0 => tally.lost(self.habit.class, Loss::Reset),
            _ => tally.lost(self.habit.class, Loss::Cut),
        }
    }

    /// Streams above `last` will not be processed: they may be asked again elsewhere.
    fn go_away(&mut self, last: u32) {
        self.told = None;
        if last == NO_LIMIT {
            return;
        }
        self.last = Some(last);
        for _ in self.streams.split_off(&(last + 1)) {
            self.crowd.tally.again(self.habit.class);
        }
    }

    fn lose_all(&mut self, how: Loss) {
        for _ in std::mem::take(&mut self.streams) {
            self.crowd.tally.lost(self.habit.class, how);
        }
    }

    /// The connection has ended.
    fn ended(mut self) {
        let tally = &self.crowd.tally;
        if self.streams.is_empty() {
            // Between two streams.
            tally.again(self.habit.class);
        }
        for stream in std::mem::take(&mut self.streams).into_values() {
            let how = match (stream.status, self.reused) {
                (1.., _) => Loss::Cut,
                // A part of the body was on its way.
                _ if self.habit.pieces > 0 && stream.left < self.habit.pieces => Loss::Cut,
                (_, true) => Loss::Reused,
                (_, false) => Loss::Reset,
            };
            tally.lost(self.habit.class, how);
        }
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
