//! Moves a drain on to an instant: stores the pace, wakes those whose time has come, and says when
//! to come again.

use std::time::Instant;

use drain_sync::wake_each;

use super::drain::Drain;
use super::entries::{BATCH, Walked};
use crate::phase::{Steps, at, tick};
use crate::schedule::{Place, micros, signal_window};
use crate::{Advance, DrainEvent, DrainSchedule};

/// How far, in microseconds, time may run ahead of a walk before the pace moves on. Until then the
/// walk looks for the same slots in all shards.
const PATIENCE: u64 = 10_000;

/// Looking through the parked takes about half a nanosecond each. So many nanoseconds each between
/// two looks keep that below a fiftieth of the time: a slot of one among a million comes up to 30
/// ms late, of one among a thousand 30 us.
const REST_PER_PARKED: u64 = 30;

/// How far a drain has come.
struct Progress {
    event: DrainEvent,
    steps: Steps,
    pace: u64,
    /// Time is ahead of the pace: a walk is still busy.
    is_behind: bool,
}

pub(crate) fn advance(drain: &Drain, now: Instant) -> Advance {
    let Some(progress) = keep_pace(drain, now) else {
        return Advance::default();
    };
    let mut walked = Walked::default();
    // Here, so that nothing is allocated under a lock.
    walked.wakers.reserve(BATCH);
    let mut shards = drain.shards.iter_from_mine();
    let all_seen = shards.all(|shard| shard.take_due(&mut walked));
    wake_each(walked.wakers);
    let word = drain.state.word();
    let more =
        progress.is_behind || !all_seen || drain.shards.iter().any(|shard| !shard.is_walked(word));
    let next = if more {
        Some(progress.pace)
    } else {
        next(&progress, walked.earliest, walked.waiting)
    };
    Advance {
        next: next.and_then(|pace| at(progress.event.start, pace)),
        more,
    }
}

/// The pace at which something is to be done next.
fn next(progress: &Progress, earliest: Option<u64>, waiting: u64) -> Option<u64> {
    let (event, pace) = (&progress.event, progress.pace);
    let rest = waiting.saturating_mul(REST_PER_PARKED).div_ceil(1000);
    let slot = earliest.map(|key| {
        let slot = match (event.schedule, u16::try_from(key)) {
            (DrainSchedule::FirstQuarter, Ok(place)) => {
                micros(Place(place).of(signal_window(event)))
            }
            _ => key,
        };
        slot.max(pace.saturating_add(rest))
    });
    let tick = tick(event, pace).map(|tick| pace.saturating_add(tick));
    let step = progress.steps.next(pace);
    [slot, tick, step].into_iter().flatten().min()
}

/// Stores how far the drain has come, unless a walk is still busy with how far it had come before.
fn keep_pace(drain: &Drain, now: Instant) -> Option<Progress> {
    let mut published = drain.state.lock();
    let event = DrainEvent::clone(published.event.as_deref()?);
    let steps = Steps::new(&event, published.deadline);
    let word = published.word;
    let pace = micros(now.saturating_duration_since(event.start)).max(published.pace);
    let is_pressing =
        steps.at(pace) != steps.at(published.pace) || pace - published.pace >= PATIENCE;
    let is_walked = || drain.shards.iter().all(|shard| shard.is_walked(word));
    if pace > published.pace && (is_pressing || is_walked()) {
        published.pace = pace;
        let mut next = published.next_word(word.state());
        if next == word && next.is_envoy() {
            next = next.touched();
        }
        if next != word {
            drain.state.publish(&mut published, next);
        }
    }
    Some(Progress {
        event,
        steps,
        is_behind: published.pace < pace,
        pace: published.pace,
    })
}
