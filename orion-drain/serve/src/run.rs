//! One call for a whole set of listeners: every connection is accepted, registered, served and
//! drained.

use std::future::Future;
use std::sync::{Mutex, PoisonError};

use listener_versions::{Accepted, ListenAddress, ListenerConfig, Listeners};

/// What serves accepted connections, each in a task of its own.
///
/// [`Http`](super::Http) and [`Tcp`](super::Tcp) do; and so does every function from an
/// [`Accepted`] to a future, which may put the pieces of this module together in its own way.
pub trait Handler<C>: Send + 'static {
    /// Serves one connection to its end.
    fn handle(&self, accepted: Accepted<C>) -> impl Future<Output = ()> + Send + 'static;
}

impl<C, F, Served> Handler<C> for F
where
    F: Fn(Accepted<C>) -> Served + Send + 'static,
    Served: Future<Output = ()> + Send + 'static,
{
    fn handle(&self, accepted: Accepted<C>) -> impl Future<Output = ()> + Send + 'static {
        self(accepted)
    }
}

/// Accepts on every socket of `listeners`, now and after any update, and serves each connection in
/// a task that is spawned on the runtime that polls this. Call it once for each runtime: they share
/// the sockets.
///
/// It resolves when the last handle of the listeners is gone; it does not keep one itself. Their
/// [driver](Listeners::new) must be spawned, as always.
///
/// # Cancel safety
///
/// Dropping it stops accepting on this runtime; connections that are served go on.
///
/// # Examples
///
/// A tower service (an axum router, tonic's routes), and a drain of the process:
///
/// ```
/// use std::convert::Infallible;
///
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use hyper::{body::Bytes, service::service_fn};
/// use conn_tracker::ConnTracker;
/// use drain_tree::{DrainManager, DrainReason, DrainSettings, DrainStart};
/// use listener_versions::{Listeners, ListenersOptions, Update};
/// use orion_drain_serve::{Http, ListenOn, ReceivedBody, serve};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let root = DrainManager::root(DrainSettings::default());
/// let (listeners, driver) = Listeners::new(root.clone(), ConnTracker::new(), ListenersOptions::default(), ());
/// tokio::spawn(driver);
/// let service = service_fn(|_: Request<ReceivedBody>| async {
///     Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("hello"))))
/// });
/// tokio::spawn(serve(&listeners, Http::new(service))); // Http::tower(router) for a tower service
/// let report = listeners.apply(Update::bootstrap([ListenOn::new("in", "127.0.0.1:0".parse()?)])).await;
/// assert!(report.is_success());
///
/// // When the process is asked to end (`orion-drain-shutdown` has the whole of it):
/// let outcome = root.start_drain_sequence(DrainStart::new(DrainReason::ProcessShutdown)).await;
/// assert_eq!(outcome.left, 0);
/// # Ok(()) }
/// ```
pub fn serve<C: ListenerConfig, H: Handler<C>>(
    listeners: &Listeners<C>,
    handler: H,
) -> impl Future<Output = ()> + Send + use<C, H> {
    // For services that are not `Sync` (tower's `BoxCloneService`). One task takes
    // it: it is never contended.
    let handler = Mutex::new(handler);
    listeners.worker().run(move |accepted| {
        let handler = handler.lock().unwrap_or_else(PoisonError::into_inner);
        drop(tokio::spawn(handler.handle(accepted)));
    })
}

/// A listener that is nothing but a name and an address, for servers that have no configuration of
/// their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenOn {
    name: String,
    address: ListenAddress,
}

impl ListenOn {
    /// Listens on `address`.
    pub fn new(name: impl Into<String>, address: ListenAddress) -> Self {
        Self {
            name: name.into(),
            address,
        }
    }
}

impl ListenerConfig for ListenOn {
    type Chain = ();

    fn name(&self) -> &str {
        &self.name
    }

    fn address(&self) -> &ListenAddress {
        &self.address
    }

    fn same_content(&self, other: &Self) -> bool {
        self == other
    }
}
