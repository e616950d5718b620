//! HTTP/2 clients: busy, idle, and with slow streams. After the first GOAWAY new streams go to a
//! new connection, while the old one finishes what it has and is watched until its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::ask::Ask;
use super::crowd::Crowd;
use super::h2_session::Session;
use super::record::Class;

/// Uses one connection after the other until it is time to go home.
pub(crate) async fn client(crowd: &Arc<Crowd>, class: Class, nth: usize) {
    let mut sessions = JoinSet::new();
    while !crowd.stopping() {
        let Some((stream, entry)) = crowd.connect(class, crowd.http).await else {
            continue;
        };
        let (told, until_told) = oneshot::channel();
        sessions.spawn(
            Session::new(
                Arc::clone(crowd),
                Habit::of(class, nth, crowd),
                stream,
                entry,
                told,
            )
            .run(),
        );
        // Either way, said or dropped, the next connection is due.
        match until_told.await {
            Ok(()) | Err(_) => {}
        }
    }
    sessions.join_all().await;
}

/// How a class uses its connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Habit {
    pub(crate) class: Class,
    /// The time between two new streams; `None`: only the first one.
    pub(crate) every: Option<Duration>,
    /// How many streams may be open at once.
    pub(crate) at_once: usize,
    /// How long a slow stream takes, at most.
    slow: Duration,
}

impl Habit {
    fn of(class: Class, nth: usize, crowd: &Crowd) -> Self {
        let slow = crowd.drain_time.mul_f64(0.35);
        let every = match class {
            Class::H2Busy => Some(Duration::from_millis(20)),
            Class::H2Slow => Some(Duration::from_millis(150)),
            // Every other idle client is silent after its first stream.
            _ => (nth % 2 == 0).then(|| crowd.drain_time.mul_f64(0.25)),
        };
        let at_once = if class == Class::H2Slow { 4 } else { 100 };
        Self {
            class,
            every,
            at_once,
            slow,
        }
    }

    /// The `n`th request.
    pub(crate) fn ask(&self, n: u64) -> Ask {
        let slow = || self.slow.mul_f64(0.3 + 0.7 * fastrand::f64());
        match self.class {
            // The first stream asks for the version, so that the record knows it.
            _ if n == 0 => Ask::version(),
            Class::H2Slow if n % 4 == 0 => Ask::slow(slow()),
            Class::H2Slow => Ask::trickle(slow(), 20),
            _ => Ask::busy(n),
        }
    }
}
