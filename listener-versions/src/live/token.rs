//! Notifies the tasks of a version that it has ended.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use futures_util::future::{Either, select};
use tokio::sync::watch;

/// Says when a version's configuration has ended, for tasks that must end with it: certificates
/// that are renewed, routes that are subscribed to.
///
/// [`ListenerConfig::build`](crate::ListenerConfig::build) gets it, and
/// [`ListenerVersion::token`](crate::ListenerVersion::token) returns it. It ends when the version
/// is drained, or dropped before it ever accepted. A configuration that an update in place has
/// replaced ends with its last connection, and with its version at the latest. One that was refused
/// after it was built has ended too.
#[derive(Clone, Debug)]
pub struct VersionToken(watch::Receiver<bool>);

impl VersionToken {
    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Waits for the end.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped and called again.
    pub async fn ended(&self) {
        let mut end = self.0.clone();
        // The sender is dropped without a word if the configuration is.
        drop(end.wait_for(|ended| *ended).await);
    }

    /// Runs a future, and drops it when the version ends: `None` then.
    ///
    /// # Cancel safety
    ///
    /// That of the future.
    pub async fn run<F: Future>(&self, work: F) -> Option<F::Output> {
        match select(pin!(self.ended()), pin!(work)).await {
            Either::Left(_) => None,
            Either::Right((output, _)) => Some(output),
        }
    }
}

/// Ends what it has given tokens of, at the latest when it is dropped.
#[derive(Debug)]
pub(crate) struct Life(watch::Sender<bool>);

impl Life {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(watch::Sender::new(false)))
    }

    pub(crate) fn token(&self) -> VersionToken {
        VersionToken(self.0.subscribe())
    }

    pub(crate) fn end(&self) {
        self.0.send_replace(true);
    }
}
