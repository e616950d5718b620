//! HTTP/1.1 keep-alive clients: busy, idle and silent ones. None uses a connection again after
//! `connection: close`.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::ask::Ask;
use super::book::Entry;
use super::crowd::Crowd;
use super::h1::{Pause, Wire};
use super::record::{Class, How, Saw};

/// Uses one connection after the other until it is time to go home.
pub(crate) async fn client(crowd: &Arc<Crowd>, class: Class) {
    let mut leaving = JoinSet::new();
    while !crowd.stopping() {
        let Some((stream, entry)) = crowd.connect(class, crowd.http).await else {
            continue;
        };
        let mut wire = Wire::new(stream);
        match use_up(crowd, class, &mut wire, &entry).await {
            After::Told => {
                leaving.spawn(wire.see_end(entry, Arc::clone(crowd)));
            }
            After::Ended => {}
        }
    }
    leaving.join_all().await;
}

/// Why a connection is not used any more.
enum After {
    /// It said `connection: close`.
    Told,
    /// It is closed.
    Ended,
}

async fn use_up(crowd: &Crowd, class: Class, wire: &mut Wire, entry: &Entry) -> After {
    // The first request asks for the version, so that the record knows it.
    let mut ask = Ask::version();
    let mut version = 1;
    for n in 1.. {
        let Some(reuse) = wire.ask(&ask, entry).await else {
            return After::Ended;
        };
        version = reuse.version.unwrap_or(version);
        if reuse.close {
            return After::Told;
        }
        ask = Ask::busy(n);
        match wire
            .pause(
                every(crowd, class).map(|every| Instant::now() + every),
                crowd,
            )
            .await
        {
            Pause::Over => {}
            Pause::Ended(how) => {
                entry.saw(how);
                return After::Ended;
            }
            Pause::Unasked => {
                entry.failed(
                    entry.now(),
                    None,
                    How::Wrong("bytes that no request asked for".to_owned()),
                );
                return After::Ended;
            }
        }
        // Only a busy client goes on until it is told, whatever the time; see `Book::in_time`.
        let race = class != Class::H1Busy && !crowd.book.in_time(version, ask.takes);
        if crowd.stopping() || race {
            break;
        }
    }
    entry.saw(Saw::Left);
    After::Ended
}

/// The time between two requests; `None`: there is no second one.
fn every(crowd: &Crowd, class: Class) -> Option<Duration> {
    match class {
        Class::H1Silent => None,
        Class::H1Idle => Some(crowd.drain_time.mul_f64(0.15 + 0.1 * fastrand::f64())),
        _ => Some(Duration::from_millis(20)),
    }
}
