//! What each class of clients went through: counted as it happens.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::spread::quantile;

/// Clients that do the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    New,
    KeepAlive,
    Away10,
    Away50,
    Pauses,
    H1Upload,
    H2Small,
    H2Upload,
    Grpc,
    WebSocket,
    Tcp,
}

impl Class {
    pub(crate) const ALL: [Self; 11] = [
        Self::New,
        Self::KeepAlive,
        Self::Away10,
        Self::Away50,
        Self::Pauses,
        Self::H1Upload,
        Self::H2Small,
        Self::H2Upload,
        Self::Grpc,
        Self::WebSocket,
        Self::Tcp,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::New => "a new connection each",
            Self::KeepAlive => "keep-alive",
            Self::Away10 => "keep-alive, 10 ms away",
            Self::Away50 => "keep-alive, 50 ms away",
            Self::Pauses => "keep-alive, long pauses",
            Self::H1Upload => "HTTP/1.1 uploads",
            Self::H2Small => "HTTP/2, small",
            Self::H2Upload => "HTTP/2 uploads",
            Self::Grpc => "HTTP/2 streams (as gRPC)",
            Self::WebSocket => "WebSocket",
            Self::Tcp => "TCP, endless",
        }
    }
}

/// How something was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Loss {
    /// Nobody listened.
    Refused,
    /// The connection was reset or closed before the first byte of the first answer.
    Reset,
    /// The same on a connection that had been good for earlier answers.
    Reused,
    /// The answer, or what was being sent, was cut in the middle.
    Cut,
    /// No whole answer in time.
    Late,
    /// A whole answer, but not the one that was asked for.
    Wrong,
}

impl Loss {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Reused => "closed while reused",
            Self::Cut => "cut",
            Self::Late => "late",
            Self::Wrong => "wrong",
        }
    }

    pub(crate) fn of_connect(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            _ => Self::Reset,
        }
    }
}

/// All counts of a run.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<BTreeMap<Class, Counts>>);

#[derive(Debug, Default)]
struct Counts {
    ok: u64,
    again: u64,
    lost: BTreeMap<Loss, u64>,
    /// Of requests on new connections: when each was answered, by which version, and after how many
    /// ms.
    answers: Vec<(Instant, u32, f64)>,
}

/// What a class went through.
#[derive(Debug, Clone)]
pub(crate) struct Summary {
    pub(crate) class: Class,
    pub(crate) ok: u64,
    /// Asked again without a loss: the close, or the refusal, was visible in time.
    pub(crate) again: u64,
    pub(crate) lost: BTreeMap<Loss, u64>,
}

impl Summary {
    pub(crate) fn losses(&self) -> u64 {
        self.lost.values().sum()
    }
}

impl Tally {
    fn of(&self) -> MutexGuard<'_, BTreeMap<Class, Counts>> {
        // Counters: a panic elsewhere leaves them usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The class takes part.
    pub(crate) fn plays(&self, class: Class) {
        self.of().entry(class).or_default();
    }

    pub(crate) fn ok(&self, class: Class) {
        self.of().entry(class).or_default().ok += 1;
    }

    pub(crate) fn again(&self, class: Class) {
        self.of().entry(class).or_default().again += 1;
    }

    pub(crate) fn lost(&self, class: Class, how: Loss) {
        *self
            .of()
            .entry(class)
            .or_default()
            .lost
            .entry(how)
            .or_default() += 1;
    }

    /// A request on a new connection was answered now.
    pub(crate) fn answered(&self, class: Class, version: u32, took: Duration) {
        let mut all = self.of();
        let counts = all.entry(class).or_default();
        counts.ok += 1;
        counts
            .answers
            .push((Instant::now(), version, took.as_secs_f64() * 1e3));
    }

    /// From each change to the first answer of its version or a later one on a new connection, in
    /// ms.
    pub(crate) fn first_new(&self, changes: &[(Instant, u32)]) -> Vec<f64> {
        let all = self.of();
        let Some(counts) = all.get(&Class::New) else {
            return Vec::new();
        };
        let first = |(at, version): &(Instant, u32)| {
            let mut later = counts
                .answers
                .iter()
                .filter(|(when, seen, _)| when >= at && seen >= version);
            later
                .next()
                .map(|(when, ..)| (*when - *at).as_secs_f64() * 1e3)
        };
        changes.iter().filter_map(first).collect()
    }

    /// The 99th percentile of requests on new connections, in ms.
    pub(crate) fn p99(&self) -> f64 {
        let all = self.of();
        let answers = all.get(&Class::New).map(|counts| &counts.answers);
        let mut took: Vec<f64> = answers
            .into_iter()
            .flatten()
            .map(|(.., took)| *took)
            .collect();
        quantile(&mut took, 0.99)
    }

    pub(crate) fn summaries(&self) -> Vec<Summary> {
        let all = self.of();
        all.iter()
            .map(|(class, counts)| Summary {
                class: *class,
                ok: counts.ok,
                again: counts.again,
                lost: counts.lost.clone(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_new_answer_counts_from_its_change() {
        let tally = Tally::default();
        let ms = Duration::from_millis;
        tally.answered(Class::New, 1, ms(2));
        let change = Instant::now();
        tokio::time::advance(ms(30)).await;
        tally.answered(Class::New, 1, ms(2));
        tokio::time::advance(ms(20)).await;
        tally.answered(Class::New, 3, ms(4));
        assert_eq!(tally.first_new(&[(change, 2), (change, 4)]), [50.0]);
        assert_eq!(tally.p99(), 4.0);
    }
}
