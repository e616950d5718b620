//! Moves a drain on to an instant: stores the pace, wakes those whose time has come, and says when
//! to come again.

use std::time::{Duration, Instant};

use drain_sync::wake_each;

use super::Published;
use super::drain::Drain;
use super::entries::{BATCH, Walked};
use crate::phase::{Steps, at};
use crate::schedule::{Place, micros, signal_window, tick};
use crate::{Advance, DrainEvent, DrainSchedule};

/// How far, in microseconds, time may run ahead of a walk before the pace moves on. Until then the
/// walk looks for the same slots in all shards.
const PATIENCE: u64 = 10_000;

/// Looking through the parked takes half a nanosecond each as long as a cache holds them, and some
/// three among a million. So many nanoseconds each between two looks keep that at a fiftieth of the
/// time in which slots come, and at a tenth among a million: there the slot of one comes up to 30
/// ms late, among a thousand 30 us.
const REST_PER_PARKED: u64 = 30;

pub(crate) fn advance(drain: &Drain, now: Instant) -> Advance {
    let published = keep_pace(drain, now);
    let Some(event) = &published.event else {
        return Advance::default();
    };
    let mut walked = Walked::default();
    // Here, so that nothing is allocated under a lock.
    walked.wakers.reserve(BATCH);
    let mut shards = drain.shards.iter_from_mine();
    let all_seen = shards.all(|shard| shard.take_due(&mut walked));
    wake_each(walked.wakers.drain(..));
    let is_walked = all_seen && drain.is_walked(drain.state.word());
    let next = if is_walked {
        next(event, &published, &walked)
    } else {
        Some(published.pace)
    };
    // Time goes on while a walk is busy: what is next may have come by now.
    let elapsed = micros(now.saturating_duration_since(event.start));
    Advance {
        next: next.and_then(|pace| at(event.start, pace)),
        more: !is_walked || next.is_some_and(|next| next <= elapsed),
    }
}

/// The pace at which something is to be done next.
fn next(event: &DrainEvent, published: &Published, walked: &Walked) -> Option<u64> {
    let pace = published.pace;
    let rest = walked
        .waiting
        .saturating_mul(REST_PER_PARKED)
        .div_ceil(1000);
    let slot = walked.earliest.map(|key| {
        let slot = match (event.schedule, u16::try_from(key)) {
            (DrainSchedule::FirstQuarter, Ok(place)) => {
                micros(Place(place).of(signal_window(event)))
            }
            _ => key,
        };
        slot.max(pace.saturating_add(rest))
    });
    let tick = tick(event, Duration::from_micros(pace));
    let tick = tick.map(|tick| pace.saturating_add(micros(tick)));
    let step = Steps::new(event, published.deadline).next(pace);
    let nexts = [slot, tick, step].into_iter().flatten();
    // At the end of time nothing is.
    nexts.filter(|&next| next > pace).min()
}

/// Stores how far the drain has come, unless a walk is still busy with how far it had come before.
/// The facts after that.
fn keep_pace(drain: &Drain, now: Instant) -> Published {
    let mut published = drain.state.lock();
    if let Some(event) = &published.event {
        let steps = Steps::new(event, published.deadline);
        let pace = micros(now.saturating_duration_since(event.start));
        let (before, word) = (published.pace, published.word);
        let is_pressing = || steps.at(pace) != steps.at(before) || pace - before >= PATIENCE;
        if pace > before && (is_pressing() || drain.is_walked(word)) {
            published.pace = pace;
            let next = published.next_word(word.state());
            if next != word {
                drain.state.publish(&mut published, next);
            }
        }
    }
    published.clone()
}
