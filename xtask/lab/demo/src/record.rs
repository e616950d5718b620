//! What each connection saw: plain facts with their times, and no opinion about them (that is
//! `verdict`'s).

use std::time::Duration;

/// A class of clients: one way to use a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Class {
    /// HTTP/1.1 keep-alive, a request every 20 ms.
    H1Busy,
    /// HTTP/1.1 keep-alive, a request every few seconds.
    H1Idle,
    /// HTTP/1.1 keep-alive, one request and then silence.
    H1Silent,
    /// HTTP/1.1 chunked uploads that last longer than the time between two updates.
    Upload,
    /// HTTP/2, a new stream every 20 ms.
    H2Busy,
    /// HTTP/2, one stream and then few or none.
    H2Idle,
    /// HTTP/2, several streams whose bodies trickle for seconds.
    H2Slow,
    /// A WebSocket that echoes messages.
    WebSocket,
    /// A TCP stream whose every byte is known beforehand, in both directions.
    Tcp,
    /// A new connection for each request.
    Connect,
}

impl Class {
    /// All classes, in the order in which they are shown.
    pub(crate) const ALL: [Self; 10] = [
        Self::H1Busy,
        Self::H1Idle,
        Self::H1Silent,
        Self::Upload,
        Self::H2Busy,
        Self::H2Idle,
        Self::H2Slow,
        Self::WebSocket,
        Self::Tcp,
        Self::Connect,
    ];

    /// The name shown to people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::H1Busy => "HTTP/1.1 busy",
            Self::H1Idle => "HTTP/1.1 idle",
            Self::H1Silent => "HTTP/1.1 silent",
            Self::Upload => "HTTP/1.1 upload",
            Self::H2Busy => "HTTP/2 busy",
            Self::H2Idle => "HTTP/2 idle",
            Self::H2Slow => "HTTP/2 slow streams",
            Self::WebSocket => "WebSocket",
            Self::Tcp => "TCP",
            Self::Connect => "new connections",
        }
    }

    /// The protocol its connections speak.
    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::H1Busy | Self::H1Idle | Self::H1Silent | Self::Upload | Self::Connect => {
                Protocol::Http1
            }
            Self::H2Busy | Self::H2Idle | Self::H2Slow => Protocol::Http2,
            Self::WebSocket => Protocol::WebSocket,
            Self::Tcp => Protocol::Tcp,
        }
    }
}

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Http1,
    Http2,
    WebSocket,
    Tcp,
}

/// A word a connection heard from the proxy, or how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Saw {
    /// `connection: close` on a response.
    CloseHeader,
    /// GOAWAY(2^31-1): open no further streams, more will be said.
    FirstGoaway,
    /// GOAWAY with the highest stream that will be served.
    FinalGoaway {
        /// That stream.
        last_stream_id: u32,
    },
    /// The peer closed in order.
    Fin,
    /// The peer reset the connection.
    Reset,
    /// The client itself closed, with nothing outstanding.
    Left,
}

/// How an exchange failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum How {
    /// The connect was refused.
    Refused,
    /// The connection was reset.
    Reset,
    /// The HTTP/2 stream was reset, with this reason.
    StreamReset(u32),
    /// The connection ended before the first byte of the answer.
    Unanswered,
    /// The connection ended inside the answer.
    Cut,
    /// No whole answer in the time given.
    TimedOut,
    /// A whole answer with something wrong in it.
    Wrong(String),
    /// Bytes that had been sent in time and did not come out at the other end.
    Missing(String),
}

impl How {
    /// The word for it in the table.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::StreamReset(_) => "stream reset",
            Self::Unanswered => "unanswered",
            Self::Cut => "cut",
            Self::TimedOut => "timed out",
            Self::Wrong(_) => "wrong",
            Self::Missing(_) => "missing",
        }
    }
}

impl std::fmt::Display for How {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused => out.write_str("the connect was refused"),
            Self::Reset => out.write_str("the connection was reset"),
            Self::StreamReset(reason) => write!(out, "the stream was reset with reason {reason}"),
            Self::Unanswered => out.write_str("the connection ended before the answer"),
            Self::Cut => out.write_str("the connection ended inside the answer"),
            Self::TimedOut => out.write_str("no whole answer in time"),
            Self::Wrong(what) | Self::Missing(what) => out.write_str(what),
        }
    }
}

impl How {
    /// What an error of the socket means for who was waiting on it.
    pub(crate) fn from_io(error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => {
                Self::Reset
            }
            ErrorKind::UnexpectedEof => Self::Cut,
            ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Wrong(error.to_string()),
        }
    }
}

/// An exchange that did not end well. Whether it counts as lost is for `verdict` to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// When its first byte was written, or its connect begun.
    pub(crate) begun: Duration,
    /// When it was known to have failed.
    pub(crate) ended: Duration,
    /// Its HTTP/2 stream.
    pub(crate) stream: Option<u32>,
    /// How.
    pub(crate) how: How,
}

/// The facts about one connection. Times count from the start of the demo.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    /// Which clients it belongs to.
    pub(crate) class: Class,
    /// When its connect began.
    pub(crate) opened: Duration,
    /// When it ended.
    pub(crate) ended: Option<Duration>,
    /// The listener version that serves it, once it has said so.
    pub(crate) version: Option<u32>,
    /// Exchanges answered completely and correctly.
    pub(crate) ok: u64,
    /// Bytes verified, both directions.
    pub(crate) bytes: u64,
    /// What it heard, in order.
    pub(crate) saw: Vec<(Duration, Saw)>,
    /// What went wrong, in order.
    pub(crate) failures: Vec<Failure>,
}

impl Record {
    /// A connection whose connect begins now.
    pub(crate) fn new(class: Class, opened: Duration) -> Self {
        Self {
            class,
            opened,
            ended: None,
            version: None,
            ok: 0,
            bytes: 0,
            saw: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// When it first saw something that `wanted` picks.
    pub(crate) fn when(&self, wanted: impl Fn(Saw) -> bool) -> Option<Duration> {
        self.saw
            .iter()
            .find(|(_, saw)| wanted(*saw))
            .map(|(at, _)| *at)
    }

    /// When it was first told to leave, in the words of its protocol.
    pub(crate) fn told(&self) -> Option<Duration> {
        self.when(|saw| {
            matches!(
                saw,
                Saw::CloseHeader | Saw::FirstGoaway | Saw::FinalGoaway { .. }
            )
        })
    }

    /// The final GOAWAY: when, and the highest stream that will be served.
    pub(crate) fn final_goaway(&self) -> Option<(Duration, u32)> {
        self.saw.iter().rev().find_map(|(at, saw)| match saw {
            Saw::FinalGoaway { last_stream_id } => Some((*at, *last_stream_id)),
            _ => None,
        })
    }

    /// What it was doing at a moment, for those who watch.
    pub(crate) fn state(&self, now: Duration) -> State {
        if self.ended.is_some_and(|ended| ended <= now) {
            State::Ended
        } else if self.final_goaway().is_some() {
            State::Leaving
        } else if self.told().is_some() {
            State::Told
        } else {
            State::Open
        }
    }
}

/// How far on its way out a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing said yet.
    Open,
    /// `connection: close` or the first GOAWAY seen.
    Told,
    /// The final GOAWAY seen.
    Leaving,
    /// Gone.
    Ended,
}

/// When each listener version was replaced, and so when it must be gone.
#[derive(Debug, Clone)]
pub(crate) struct Updates {
    /// The moment of each rename; the first one replaced version 1.
    pub(crate) at: Vec<Duration>,
    /// The drain time.
    pub(crate) drain_time: Duration,
}

/// How long after a rename the new version must be the one that answers.
pub(crate) const SETTLE: Duration = Duration::from_secs(1);

impl Updates {
    /// The newest version at a moment, counting from 1.
    pub(crate) fn newest(&self, now: Duration) -> u32 {
        1 + self.at.iter().filter(|at| **at <= now).count() as u32
    }

    /// The oldest version that a connection begun at this moment may get.
    pub(crate) fn oldest_for(&self, opened: Duration) -> u32 {
        opened
            .checked_sub(SETTLE)
            .map_or(1, |settled| self.newest(settled))
    }

    /// When a version was replaced; `None` for the last one.
    pub(crate) fn replaced(&self, version: u32) -> Option<Duration> {
        self.at.get((version as usize).checked_sub(1)?).copied()
    }

    /// When the connections of a version are cut; `None` for the last one.
    pub(crate) fn deadline(&self, version: u32) -> Option<Duration> {
        self.replaced(version).map(|at| at + self.drain_time)
    }

    /// The version of a connection: what it said, or else the oldest it can be.
    pub(crate) fn version_of(&self, record: &Record) -> u32 {
        record
            .version
            .unwrap_or_else(|| self.oldest_for(record.opened))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn updates() -> Updates {
        Updates {
            at: vec![ms(2000), ms(5000)],
            drain_time: ms(8000),
        }
    }

    #[test]
    fn a_version_is_replaced_by_the_update_of_its_number() {
        assert_eq!(updates().newest(ms(1999)), 1);
        assert_eq!(updates().newest(ms(2000)), 2);
        assert_eq!(updates().deadline(1), Some(ms(10_000)));
        assert_eq!(updates().deadline(3), None);
        assert_eq!(updates().deadline(0), None);
    }

    #[test]
    fn a_connection_that_does_not_say_its_version_gets_the_benefit_of_the_doubt() {
        let mut record = Record::new(Class::WebSocket, ms(2100));
        assert_eq!(updates().version_of(&record), 1);
        record.version = Some(2);
        assert_eq!(updates().version_of(&record), 2);
        assert_eq!(
            updates().version_of(&Record::new(Class::WebSocket, ms(3000))),
            2
        );
    }

    #[test]
    fn the_words_of_a_protocol_move_the_state_forward() {
        let mut record = Record::new(Class::H2Idle, ms(0));
        assert_eq!(record.state(ms(1)), State::Open);
        record.saw.push((ms(10), Saw::FirstGoaway));
        assert_eq!(record.state(ms(11)), State::Told);
        record
            .saw
            .push((ms(20), Saw::FinalGoaway { last_stream_id: 5 }));
        assert_eq!(
            (record.state(ms(21)), record.final_goaway()),
            (State::Leaving, Some((ms(20), 5)))
        );
        record.ended = Some(ms(30));
        assert_eq!(
            (record.state(ms(29)), record.state(ms(30))),
            (State::Leaving, State::Ended)
        );
    }
}
