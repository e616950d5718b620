//! The new process's view of the old one, which drains.

use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;

use futures_util::future::{Either, select};
use tokio::time::timeout;

use super::message::Message;
use super::wire::Wire;
use super::{HandoverOptions, tellable};

/// The process that had this one's sockets, and drains; or none, if this process began afresh.
///
/// Dropping it leaves the old process alone: it ends when it is drained.
#[derive(Debug)]
pub struct Predecessor {
    /// `None` if it is gone already.
    wire: Option<Wire>,
    pid: Option<u32>,
    options: HandoverOptions,
    /// The connection stays open as long as this or the [`Offer`](super::Offer) is there.
    _connection: Option<Arc<OwnedFd>>,
}

/// How an old process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ended {
    /// By itself, in time: its connections were done. Or there was none.
    ByItself,
    /// This process has asked it to end.
    Terminated,
    /// This process has asked it to end, and it is still there. It may hang.
    Lingers,
}

impl Predecessor {
    pub(super) fn new(
        wire: Option<Wire>,
        pid: Option<u32>,
        options: &HandoverOptions,
        connection: Option<Arc<OwnedFd>>,
    ) -> Self {
        Self {
            wire,
            pid,
            options: options.clone(),
            _connection: connection,
        }
    }

    /// There was no process.
    pub(super) fn none() -> Self {
        Self::new(None, None, &HandoverOptions::default(), None)
    }

    /// Its process number, as the kernel knows it; `None` if there was no process.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Waits until the old process has ended by itself, or asks it to when `terminate` is ready:
    /// the parent shutdown sequence
    /// ([`start_parent_shutdown_sequence`](drain_tree::DrainManager::start_parent_shutdown_sequence),
    /// Envoy's `--parent-shutdown-time-s`).
    ///
    /// # Cancel safety
    ///
    /// Dropped, the old process is left alone.
    pub async fn ends(mut self, terminate: impl Future<Output = ()>) -> Ended {
        let Some(wire) = &mut self.wire else {
            return Ended::ByItself;
        };
        if let Either::Left(_) = select(pin!(gone(wire)), pin!(terminate)).await {
            return Ended::ByItself;
        }
        let patience = self.options.patience;
        if wire.send(&Message::Terminate, &[], patience).await.is_err() {
            return Ended::ByItself;
        }
        match timeout(tellable(patience), gone(wire)).await {
            Ok(()) => Ended::Terminated,
            Err(_) => Ended::Lingers,
        }
    }
}

async fn gone(wire: &mut Wire) {
    while wire.receive_whenever().await.is_ok() {}
}
