//! The service wrapper as a tower layer (feature `tower`), applied once per connection.

use std::fmt;

use drain_signal::DrainDecision;
use tower_layer::Layer;

use crate::exchange::Exchanges;
use crate::service::DrainService;

/// Wraps services of one connection in [`DrainService`].
///
/// A decision is a connection's own, so a layer is made per connection: `DrainLayer::new(handle,
/// exchanges).layer(app.clone())`. Laid under a whole application it would make all connections
/// leave together.
#[derive(Clone)]
pub struct DrainLayer<D> {
    decision: D,
    exchanges: Exchanges,
}

impl<D> DrainLayer<D> {
    /// A layer for the connection that this decision and these exchanges belong to.
    pub fn new(decision: D, exchanges: Exchanges) -> Self {
        Self {
            decision,
            exchanges,
        }
    }
}

impl<S, D: DrainDecision + Clone> Layer<S> for DrainLayer<D> {
    type Service = DrainService<S, D>;

    fn layer(&self, inner: S) -> Self::Service {
        DrainService::new(inner, self.decision.clone(), self.exchanges.clone())
    }
}

impl<D> fmt::Debug for DrainLayer<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainLayer")
            .field("exchanges", &self.exchanges)
            .finish_non_exhaustive()
    }
}
