//! What a version of a listener waits for before it takes over: routes that come by themselves.

use std::pin::Pin;
use std::time::Duration;

use listener_versions::RouteWatch;
use tokio::time::{Instant, timeout_at};

/// Routes that may not be there yet.
pub(super) trait Awaited: Send + Sync {
    fn is_there(&self) -> bool;

    /// Over when they are there, or have been waited for long enough from now on.
    fn ready(&self) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

pub(super) struct AwaitedRoutes<R: Send + Sync + 'static> {
    pub(super) routes: RouteWatch<R>,
    pub(super) limit: Option<Duration>,
}

impl<R: Send + Sync + 'static> Awaited for AwaitedRoutes<R> {
    fn is_there(&self) -> bool {
        self.routes.load().is_some()
    }

    fn ready(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let ready = self.routes.ready();
        // A time that no clock reaches is none.
        let end = self
            .limit
            .and_then(|limit| Instant::now().checked_add(limit));
        Box::pin(async move {
            match end {
                Some(end) => drop(timeout_at(end, ready).await),
                None => ready.await,
            }
        })
    }
}
