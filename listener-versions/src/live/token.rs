//! Notifies the tasks of a version that it has ended.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

/// Ends what it has given tokens of, at the latest when it is dropped.
#[derive(Debug)]
pub(crate) struct Life(CancellationToken);

impl Life {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(CancellationToken::new()))
    }

    /// One of its own for each caller: cancelled by its holder, it ends no other one.
    pub(crate) fn token(&self) -> CancellationToken {
        self.0.child_token()
    }

    pub(crate) fn end(&self) {
        self.0.cancel();
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.end();
    }
}
