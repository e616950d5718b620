//! The new process looks for the one that serves at the path, and asks for its sockets.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::{Instant, sleep};

use super::hello::Hello;
use super::message::{MOST_SOCKETS, Message};
use super::path::{Keeping, Lock, There};
use super::taking::{Taking, TakingAction, TakingEvent};
use super::wire::Wire;
use super::{HandoverError, HandoverOptions, path, tellable};
use crate::{Inherited, ListenAddress};

/// Between two attempts, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// For so long a process that is not ready asks again while another one is first: that one may have
/// died, and the old process may not have noticed it.
const BUSY: Duration = Duration::from_secs(1);

/// What a process has said that was asked.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) wire: Wire,
    pub(super) pid: u32,
    pub(super) hello: Hello,
    /// When the first process in the row was started.
    pub(super) since: Instant,
    pub(super) sockets: Inherited,
    /// Where they listen, in the order in which they came.
    pub(super) offered: Vec<ListenAddress>,
    /// Where a third process keeps the socket, such as systemd.
    pub(super) kept: HashSet<ListenAddress>,
}

pub(super) enum Found {
    /// A process that serves, or keeps the sockets of one that is dead.
    Process(Box<Answer>),
    /// No process: this one has the lock.
    NoProcess(Lock),
}

/// Looks, and asks, until it is known who serves. `owner` is the process that served last when this
/// one was sent the sockets that it has.
pub(super) async fn seek(
    taking: &mut Taking,
    path: &Path,
    options: &HandoverOptions,
    owner: Option<u64>,
) -> Result<Found, HandoverError> {
    let limit = Instant::now() + tellable(options.patience);
    let mut pause = PAUSE.0;
    let mut why = HandoverError::Lost;
    let mut busy_until = None;
    loop {
        let mut action = match path::connect(path).await {
            Ok(There::Process(stream)) => {
                taking.on(TakingEvent::Found);
                match ask(stream, options).await {
                    Ok(answer) => {
                        taking.on(TakingEvent::Sockets);
                        return Ok(Found::Process(Box::new(answer)));
                    }
                    Err((event, error)) => {
                        why = error;
                        taking.on(event)
                    }
                }
            }
            Ok(There::Full) => {
                why = HandoverError::TimedOut;
                taking.on(TakingEvent::Full)
            }
            Ok(There::NoProcess) => taking.on(TakingEvent::NoProcess),
            Err(error) => {
                why = wait_after(error, owner)?;
                TakingAction::Wait
            }
        };
        if action == TakingAction::TryLock {
            (action, why) = match Lock::try_get(path) {
                Ok(Some(lock)) => {
                    let served_last = lock.owner().or(owner);
                    if owner.is_some() && served_last != owner {
                        taking.on(TakingEvent::Overtaken);
                        return Err(HandoverError::Overtaken);
                    }
                    if owner.is_some() || !Keeping::is_any(path) {
                        taking.on(TakingEvent::LockGot);
                        return Ok(Found::NoProcess(lock));
                    }
                    drop(lock);
                    (taking.on(TakingEvent::Kept), HandoverError::NotOffered)
                }
                Ok(None) => (taking.on(TakingEvent::LockHeld), HandoverError::NotOffered),
                Err(error) => (TakingAction::Wait, wait_after(error, owner)?),
            };
        }
        if action != TakingAction::Wait {
            return Err(why);
        }
        let is_busy = matches!(why, HandoverError::Busy { .. });
        busy_until = busy_until.filter(|_| is_busy);
        let limit = match taking {
            Taking::Looking { ready: false } if is_busy => {
                limit.min(*busy_until.get_or_insert_with(|| Instant::now() + BUSY))
            }
            _ => limit,
        };
        if Instant::now() + pause > limit {
            taking.on(TakingEvent::TimedOut);
            return Err(why);
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// A process that has the sockets, of an old process that is dead, may be the only one that can
/// serve: it looks again. What the system lacks may be there then.
fn wait_after(error: io::Error, owner: Option<u64>) -> Result<HandoverError, HandoverError> {
    match owner {
        Some(_) => Ok(error.into()),
        None => Err(error.into()),
    }
}

async fn ask(
    stream: UnixStream,
    options: &HandoverOptions,
) -> Result<Answer, (TakingEvent, HandoverError)> {
    let asked = async {
        let mut wire = Wire::new(stream)?;
        let ours = Hello::new(0, 0, Duration::ZERO);
        match wire
            .send(&Message::Hello(ours.clone()), &[], options.patience)
            .await
        {
            // A process that refuses this one may have hung up already, and has said why.
            Ok(()) | Err(HandoverError::Lost) => {}
            Err(error) => return Err(error),
        }
        let theirs = match wire.receive(options.patience).await?.0 {
            Message::Hello(hello) => hello,
            Message::Busy { pid } => return Err(HandoverError::Busy { pid }),
            _ => return Err(HandoverError::Malformed("it did not say hello")),
        };
        ours.fits(&theirs)?;
        receive(wire, theirs, options).await
    };
    asked.await.map_err(|error| (event(&error), error))
}

async fn receive(
    mut wire: Wire,
    hello: Hello,
    options: &HandoverOptions,
) -> Result<Answer, HandoverError> {
    let now = Instant::now();
    let since = now
        .checked_sub(Duration::from_millis(hello.uptime))
        .unwrap_or(now);
    let mut sockets = Inherited::undecided();
    let (mut offered, mut kept) = (Vec::new(), HashSet::new());
    loop {
        let (message, fds) = wire.receive(options.patience).await?;
        let (named, more) = match message {
            Message::Sockets { sockets, more } => (sockets, more),
            Message::Goodbye => return Err(HandoverError::Lost),
            _ => return Err(HandoverError::Malformed("it did not send its sockets")),
        };
        for ((sent, is_kept), fd) in named.into_iter().zip(fds) {
            let bound = sockets.add(fd)?;
            if bound != sent {
                return Err(HandoverError::Address { sent, bound });
            }
            if is_kept {
                kept.insert(bound.clone());
            }
            offered.push(bound);
        }
        if offered.len() > MOST_SOCKETS {
            return Err(HandoverError::Malformed(
                "there are more sockets than one process takes",
            ));
        }
        if !more {
            let pid = wire.peer();
            return Ok(Answer {
                wire,
                pid,
                hello,
                since,
                sockets,
                offered,
                kept,
            });
        }
    }
}

fn event(error: &HandoverError) -> TakingEvent {
    match error {
        HandoverError::Lost => TakingEvent::Ended,
        HandoverError::Busy { .. } => TakingEvent::Busy,
        HandoverError::TimedOut => TakingEvent::TimedOut,
        _ => TakingEvent::Unfit,
    }
}
