//! Connections by the dozen: idle and busy ones, and a loop of new ones.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::play::Play;
use crate::samples::{Samples, ms};
use crate::wire::{Client, Speak, What};
use rig::h2::NO_LIMIT;

/// Clients that do the same.
#[derive(Debug, Clone)]
pub(crate) struct Crowd(pub(crate) Vec<Arc<Client>>);

impl Crowd {
    /// Connections that have sent nothing; HTTP/2 ones their preface.
    pub(crate) async fn fresh(
        play: &Play,
        port: u16,
        speak: Speak,
        many: usize,
    ) -> anyhow::Result<Self> {
        let mut clients = Vec::new();
        for _ in 0..many {
            clients.push(play.open(port, speak).await?);
        }
        Ok(Self(clients))
    }

    /// Connections that have had one response.
    pub(crate) async fn idle(
        play: &Play,
        port: u16,
        speak: Speak,
        many: usize,
    ) -> anyhow::Result<Self> {
        let crowd = Self::fresh(play, port, speak, many).await?;
        for client in &crowd.0 {
            let answered = match speak {
                Speak::Http1 => client.ask("/v").await.is_some(),
                Speak::Http2 => client.ask_stream("/v").await,
                Speak::Bytes => {
                    client.send(b"x").await && client.wait(0, SHORT, |_| true).await.is_some()
                }
            };
            ensure!(
                answered,
                "a first request was not answered: {:?}",
                client.seen()
            );
        }
        Ok(crowd)
    }

    /// The same, each with a task that asks again and again until it is told to leave.
    pub(crate) async fn busy(
        play: &Play,
        port: u16,
        speak: Speak,
        many: usize,
        tasks: &mut Tasks,
    ) -> anyhow::Result<Self> {
        let crowd = Self::idle(play, port, speak, many).await?;
        for (turn, client) in crowd.0.iter().enumerate() {
            let client = Arc::clone(client);
            tasks.spawn(async move {
                // They do not ask all at the same moment.
                sleep(EVERY * u32::try_from(turn % 8).unwrap_or(0) / 8).await;
                while ask_once(&client, speak).await {
                    sleep(EVERY).await;
                }
            });
        }
        Ok(crowd)
    }

    /// When each first saw something, after `start`.
    pub(crate) fn first(&self, start: Instant, is: impl Fn(&What) -> bool) -> Samples {
        let each = self.0.iter();
        each.map(|client| client.first(&is).map(|seen| ms(start, seen.at)))
            .collect()
    }

    pub(crate) fn ends(&self, start: Instant) -> Samples {
        self.first(start, What::ends)
    }

    /// How long after the response that said close the server ended it.
    pub(crate) fn close_to_end(&self) -> Samples {
        self.span(|client| Some(client.first(What::says_close)?.at), end)
    }

    /// From the end of the last response to the first thing of a kind.
    pub(crate) fn after_answer(&self, is: impl Fn(&What) -> bool) -> Samples {
        let ends = |what: &What| {
            matches!(
                what,
                What::Body(_) | What::Headers { end: true, .. } | What::Data { end: true, .. }
            )
        };
        let answered = |client: &Client| {
            let seen = client.seen();
            let last = seen.iter().rev().find(|seen| ends(&seen.what));
            last.map(|seen| seen.at)
        };
        self.span(answered, |client| Some(client.first(&is)?.at))
    }

    /// From the GOAWAY that announces to the final one.
    pub(crate) fn goaway_gap(&self) -> Samples {
        self.span(|client| Some(client.goaways().first()?.0), final_goaway)
    }

    pub(crate) fn goaway_to_end(&self) -> Samples {
        self.span(final_goaway, end)
    }

    /// Those whose `drain_timeout` is over before a deadline cuts it short.
    pub(crate) fn told_before(&self, deadline: Instant, drain_timeout: u64) -> Self {
        let latest = deadline - Duration::from_millis(drain_timeout + 30);
        let in_time =
            |client: &&Arc<Client>| client.goaways().first().is_some_and(|(at, _)| *at < latest);
        Self(self.0.iter().filter(in_time).cloned().collect())
    }

    fn span(
        &self,
        from: impl Fn(&Client) -> Option<Instant>,
        to: impl Fn(&Client) -> Option<Instant>,
    ) -> Samples {
        let spans = self
            .0
            .iter()
            .map(|client| Some(ms(from(client)?, to(client)?)));
        spans.collect()
    }

    /// How many had a first GOAWAY that only announces, and a last one that names their last
    /// stream.
    pub(crate) fn right_goaways(&self) -> usize {
        let right = |client: &&Arc<Client>| {
            let goaways: Vec<u32> = client.goaways().iter().map(|(_, last)| *last).collect();
            goaways == [NO_LIMIT, client.last_stream()]
        };
        self.0.iter().filter(right).count()
    }

    pub(crate) fn open(&self) -> usize {
        self.0.iter().filter(|client| client.is_open()).count()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

fn end(client: &Client) -> Option<Instant> {
    Some(client.end()?.at)
}

fn final_goaway(client: &Client) -> Option<Instant> {
    let goaways = client.goaways();
    goaways
        .iter()
        .find(|(_, last)| *last != NO_LIMIT)
        .map(|(at, _)| *at)
}

/// Until a connection that has been opened is certainly accepted.
pub(crate) const SETTLE: Duration = Duration::from_millis(200);

const EVERY: Duration = Duration::from_millis(200);
const SHORT: Duration = Duration::from_secs(3);

/// One request more; whether the client may go on.
async fn ask_once(client: &Client, speak: Speak) -> bool {
    match speak {
        Speak::Http1 => matches!(
            client.ask("/v").await,
            Some(What::Head { close: false, .. })
        ),
        Speak::Http2 => client.goaways().is_empty() && client.ask_stream("/v").await,
        Speak::Bytes => {
            let from = client.len();
            client.send(b"beat").await
                && client.wait(from, SHORT, |_| true).await.is_some()
                && client.is_open()
        }
    }
}

/// Sends a piece again and again until the connection ends.
pub(crate) fn talk(client: &Arc<Client>, tasks: &mut Tasks) {
    let client = Arc::clone(client);
    tasks.spawn(async move {
        while client.is_open() && client.send(b"talk").await {
            sleep(EVERY).await;
        }
    });
}

/// Tasks that end with their scenario.
pub(crate) type Tasks = JoinSet<()>;

/// What came of a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probed {
    Refused,
    /// Accepted, and ended without an answer.
    Unanswered,
    Answered {
        version: u32,
        close: bool,
    },
}

/// One new connection with one request.
pub(crate) async fn probe(play: &Play, port: u16) -> Probed {
    probe_at(play.address(port)).await
}

async fn probe_at(address: std::net::SocketAddr) -> Probed {
    let Ok(client) = Client::open(address, Speak::Http1).await else {
        return Probed::Refused;
    };
    match client.ask("/v").await {
        Some(What::Head { version, close, .. }) => Probed::Answered { version, close },
        _ => Probed::Unanswered,
    }
}

/// New connections, one after the other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Probes(Arc<Mutex<Vec<(Instant, Probed)>>>);

impl Probes {
    /// Begins; it ends with the tasks.
    pub(crate) fn start(play: &Play, port: u16, tasks: &mut Tasks) -> Self {
        let probes = Self::default();
        let (told, address) = (probes.clone(), play.address(port));
        tasks.spawn(async move {
            loop {
                let begun = Instant::now();
                let probed = probe_at(address).await;
                told.0
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((begun, probed));
                sleep(Duration::from_millis(20)).await;
            }
        });
        probes
    }

    pub(crate) fn all(&self) -> Vec<(Instant, Probed)> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How many were refused or not answered.
    pub(crate) fn lost(&self) -> usize {
        let all = self.all();
        all.iter()
            .filter(|(_, probed)| !matches!(probed, Probed::Answered { .. }))
            .count()
    }

    /// When a version answered first and last, after `start`; only those that began within the
    /// span.
    pub(crate) fn span_of(&self, start: Instant, wanted: u32) -> (Option<i64>, Option<i64>) {
        let all = self.all();
        let mut of = all.iter().filter_map(|(at, probed)| match probed {
            Probed::Answered { version, .. } if *version == wanted => Some(ms(start, *at)),
            _ => None,
        });
        let first = of.next();
        (first, of.next_back().or(first))
    }

    /// How many answers told to close.
    pub(crate) fn told_to_close(&self) -> usize {
        let all = self.all();
        all.iter()
            .filter(|(_, probed)| matches!(probed, Probed::Answered { close: true, .. }))
            .count()
    }
}

/// Opens a WebSocket, without talking.
pub(crate) async fn websocket(client: &Client) -> bool {
    let ask = b"GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.send(ask).await;
    let switched = |what: &What| matches!(what, What::Head { status: 101, .. });
    client.wait(0, SHORT, switched).await.is_some()
}

/// Waits until so many ms after `start`.
pub(crate) async fn at(start: Instant, ms: u64) {
    sleep_until(start + Duration::from_millis(ms)).await;
}

/// `hits of all`.
pub(crate) fn of(hits: usize, all: usize) -> String {
    format!("{hits} of {all}")
}

/// A moment in ms, or that it never came.
pub(crate) fn moment(start: Instant, at: Option<Instant>) -> String {
    at.map_or_else(|| "never".to_owned(), |at| ms(start, at).to_string())
}
