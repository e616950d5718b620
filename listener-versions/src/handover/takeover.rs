//! The new process's side: it asks, configures itself, says that it is ready, and later that the old one has to be gone.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

use super::message::{MOST_SOCKETS, Message, Refused};
use super::wire::Wire;
use super::{HandoverError, HandoverOptions, Offer, path, tellable};
use crate::{Inherited, ListenAddress, ListenerConfig, Listeners};

/// Between two attempts, while a process that has just taken over does not offer its sockets yet.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks the process at this path for its sockets; `None` if there is none, so that this one starts afresh.
///
/// # Errors
///
/// [`HandoverError`]: somebody is there, and does not hand them over. It goes on serving, so this process should end.
///
/// # Cancel safety
///
/// Dropped, the old process goes on.
pub async fn take_over(path: &Path, options: &HandoverOptions) -> Result<Option<Takeover>, HandoverError> {
    let limit = Instant::now() + tellable(options.patience);
    loop {
        let Some(stream) = path::connect(path).await? else {
            return Ok(None);
        };
        match ask(stream, path, options).await {
            // It will be replaced at this path in a moment, or end there if it is alone after all.
            Err(HandoverError::Gone { .. } | HandoverError::Lost) if Instant::now() < limit => {
                sleep(PAUSE).await
            }
            asked => return asked.map(Some),
        }
    }
}

async fn ask(stream: UnixStream, path: &Path, options: &HandoverOptions) -> Result<Takeover, HandoverError> {
    let mut wire = Wire::new(stream)?;
    let pid = wire.peer();
    let hello = Message::Hello {
        pid: std::process::id(),
    };
    match wire.send(&hello, &[], options.patience).await {
        // Who refuses us may have hung up already, and has said why.
        Ok(()) | Err(HandoverError::Lost) => {}
        Err(error) => return Err(error),
    }
    let mut inherited = Inherited::new();
    let (mut offered, mut kept) = (Vec::new(), HashSet::new());
    loop {
        let (message, fds) = wire.receive(options.patience).await?;
        let (sockets, more) = match message {
            Message::Sockets { sockets, more } => (sockets, more),
            Message::Refused(Refused::Busy { pid }) => return Err(HandoverError::Busy { pid }),
            Message::Refused(Refused::Gone { pid }) => return Err(HandoverError::Gone { pid }),
            _ => return Err(HandoverError::Malformed("it did not send its sockets")),
        };
        for ((sent, is_kept), fd) in sockets.into_iter().zip(fds) {
            let bound = inherited.add(fd)?;
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
            return Ok(Takeover {
                wire,
                pid,
                path: path.to_owned(),
                patience: options.patience,
                inherited,
                offered,
                kept,
            });
        }
    }
}

/// We have the sockets of a process that still serves.
///
/// Dropping it leaves the old process serving, and this one must not accept on any of them.
#[derive(Debug)]
#[must_use = "the old process serves until it is told"]
pub struct Takeover {
    wire: Wire,
    pid: u32,
    path: PathBuf,
    patience: Duration,
    inherited: Inherited,
    offered: Vec<ListenAddress>,
    /// Where somebody else keeps the sockets, such as systemd.
    kept: HashSet<ListenAddress>,
}

impl Takeover {
    /// The process number of the old process, as the kernel knows it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its sockets, for [`Listeners::inherit`]; the second time, none.
    pub fn sockets(&mut self) -> Inherited {
        std::mem::take(&mut self.inherited)
    }

    /// This process is configured: the old one stops accepting, and drains. When this returns, the sockets are ours alone; those that
    /// no listener of ours wants are closed, after the old process has served what waited there. The next process finds this
    /// one at the same path. Updates of the listeners wait meanwhile.
    ///
    /// What somebody else kept while the old process had it, such as the socket of a systemd unit, is kept still: closing it
    /// does not end listening.
    ///
    /// Begin to accept afterwards: a connection that this process had taken would be lost if the handover came to nothing.
    ///
    /// # Errors
    ///
    /// [`HandoverError`]: the old process goes on serving, so this one should end. That it has ended in this very moment is no error.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropped in between, it is not known who goes on.
    pub async fn serving<C: ListenerConfig>(
        mut self,
        listeners: &Listeners<C>,
    ) -> Result<(Predecessor, Offer), HandoverError> {
        let offer = path::Prepared::new(&self.path)?;
        // What is said to be taken, or not, must stay so until it is decided.
        let _hold = listeners.hold();
        let unclaimed: HashSet<_> = listeners.unclaimed().into_iter().collect();
        let numbered = self.offered.iter().zip(0_u32..);
        let taken: Vec<u32> = numbered
            .filter(|(address, _)| !unclaimed.contains(address))
            .map(|(_, number)| number)
            .collect();
        let heard = match self.say_and_hear(&taken).await {
            Ok(heard) => Some(heard),
            // Dead, then its sockets are ours; or it has had enough of us.
            Err(HandoverError::Lost) if path::connect(&self.path).await?.is_none() => None,
            Err(error) => return Err(error),
        };
        listeners.own_but(&self.kept);
        // That it cannot be found is no reason not to serve.
        let (_, listener) = offer.publish();
        if heard.is_some() {
            drop(self.wire.send(&Message::Offering, &[], self.patience).await);
        }
        let (epoch, uptime) = heard.unwrap_or_default();
        let predecessor = Predecessor {
            wire: heard.is_some().then_some(self.wire),
            pid: self.pid,
            epoch,
            uptime,
            patience: self.patience,
        };
        Ok((predecessor, Offer::new(listener, &self.path)))
    }

    async fn say_and_hear(&mut self, taken: &[u32]) -> Result<(u32, Duration), HandoverError> {
        for message in Message::drain(taken) {
            self.wire.send(&message, &[], self.patience).await?;
        }
        match self.wire.receive(self.patience).await?.0 {
            Message::Draining { epoch, uptime } => Ok((epoch, Duration::from_millis(uptime))),
            _ => Err(HandoverError::Malformed("it did not say that it drains")),
        }
    }
}

/// The process that had our sockets, and drains.
///
/// Dropping it leaves the old process alone: it ends when it is drained. Keep the [`Offer`] then, or the old process takes this one
/// for dead, and gives the sockets to whoever asks.
#[derive(Debug)]
pub struct Predecessor {
    /// `None` if it is gone already.
    wire: Option<Wire>,
    pid: u32,
    epoch: u32,
    uptime: Duration,
    patience: Duration,
}

/// How an old process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ended {
    /// By itself, in time: its connections were done.
    ByItself,
    /// It was told to.
    Terminated,
    /// It was told to, and is still there. It may hang.
    Lingers,
}

impl Predecessor {
    /// Its process number, as the kernel knows it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The how-manieth process in a row it was, from 0; 0 if it died before it could say so.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// How long ago the first process in the row was started, when the old one handed over; zero if it was not said.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.uptime
    }

    /// Waits until the old process has ended by itself, or tells it to when `terminate` is ready: the parent shutdown sequence
    /// ([`start_parent_shutdown_sequence`](drain_tree::DrainManager::start_parent_shutdown_sequence), Envoy's
    /// `--parent-shutdown-time-s`).
    ///
    /// # Cancel safety
    ///
    /// Dropped, the old process is left alone.
    pub async fn ends(self, terminate: impl Future<Output = ()>) -> Ended {
        let Some(mut wire) = self.wire else {
            return Ended::ByItself;
        };
        if let Either::Left(_) = select(pin!(gone(&mut wire)), pin!(terminate)).await {
            return Ended::ByItself;
        }
        if wire.send(&Message::Terminate, &[], self.patience).await.is_err() {
            return Ended::ByItself;
        }
        match timeout(tellable(self.patience), gone(&mut wire)).await {
            Ok(()) => Ended::Terminated,
            Err(_) => Ended::Lingers,
        }
    }
}

async fn gone(wire: &mut Wire) {
    while wire.receive_whenever().await.is_ok() {}
}
