//! The new process's view of the old one, which drains.

use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;

use futures_util::future::{Either, select};
use tokio::time::timeout;

use super::message::Message;
use super::wire::Wire;
use super::{HandoverError, HandoverOptions, tellable};

/// The process that had this one's sockets, and drains; or none, if this process began afresh.
///
/// Dropping it leaves the old process alone: it ends when it is drained.
#[derive(Debug)]
pub(super) struct Predecessor {
    /// `None` if it is gone already.
    wire: Option<Wire>,
    pid: Option<u32>,
    options: HandoverOptions,
    /// The connection stays open as long as this or the [`Offer`](super::Offer) is there.
    _connection: Option<Arc<OwnedFd>>,
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

    /// Its process number; `None` if there was no process.
    pub(super) fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// See [`Offer::predecessor_ends`](super::Offer::predecessor_ends).
    pub(super) async fn ends(
        mut self,
        terminate: impl Future<Output = ()>,
    ) -> Result<(), HandoverError> {
        let Some(wire) = &mut self.wire else {
            return Ok(());
        };
        if let Either::Left(_) = select(pin!(gone(wire)), pin!(terminate)).await {
            return Ok(());
        }
        let patience = self.options.patience;
        if wire.send(&Message::Terminate, &[], patience).await.is_err() {
            return Ok(());
        }
        let gone = timeout(tellable(patience), gone(wire)).await;
        gone.map_err(|_| HandoverError::TimedOut)
    }
}

async fn gone(wire: &mut Wire) {
    while wire.receive_whenever().await.is_ok() {}
}
