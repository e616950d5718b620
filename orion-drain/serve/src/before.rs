//! What comes before the protocol (TLS, a PROXY header, an upstream's connect): bounded, and more
//! tightly in a drain.

use std::future::Future;
use std::time::Duration;

use conn_tracker::CloseReason;

use super::Connection;

/// How long a connection may take until its protocol begins.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetupTimeouts {
    /// Outside a drain. Default 10 s. Envoy's `transport_socket_connect_timeout` and
    /// `listener_filters_timeout`; Envoy's defaults are no bound and 15 s.
    pub setup: Duration,
    /// From the connection's slot on. Default 1 s.
    pub setup_in_drain: Duration,
}

impl Default for SetupTimeouts {
    fn default() -> Self {
        Self {
            setup: Duration::from_secs(10),
            setup_in_drain: Duration::from_secs(1),
        }
    }
}

impl SetupTimeouts {
    /// Sets [`setup`](Self::setup).
    #[must_use]
    pub const fn with_setup(mut self, timeout: Duration) -> Self {
        self.setup = timeout;
        self
    }

    /// Sets [`setup_in_drain`](Self::setup_in_drain).
    #[must_use]
    pub const fn with_setup_in_drain(mut self, timeout: Duration) -> Self {
        self.setup_in_drain = timeout;
        self
    }
}

impl Connection {
    /// What `setup` returns, or `None` if it takes longer than the default [`SetupTimeouts`] allow,
    /// or the drain's deadline comes, or the connection is closed by force: then `setup` is
    /// dropped, and the reason is in the registry. The transport that `setup` owns is closed with
    /// it.
    ///
    /// # Cancel safety
    ///
    /// As `setup`'s.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example<IO: tokio::io::AsyncRead + Unpin>(mut io: IO, connection: orion_drain_serve::Connection) -> Option<()> {
    /// use tokio::io::AsyncReadExt as _;
    ///
    /// let mut header = [0; 16];
    /// // A client that never sends its PROXY header does not keep the drain waiting.
    /// connection.within(io.read_exact(&mut header)).await?.ok()?;
    /// # Some(()) }
    /// ```
    pub async fn within<F: Future>(&self, setup: F) -> Option<F::Output> {
        self.within_timeouts(SetupTimeouts::default(), setup).await
    }

    /// [`within`](Self::within) with other bounds.
    ///
    /// # Cancel safety
    ///
    /// As `setup`'s.
    pub async fn within_timeouts<F: Future>(
        &self,
        timeouts: SetupTimeouts,
        setup: F,
    ) -> Option<F::Output> {
        let drain = self.drain();
        let drained = async {
            drain.signaled().await;
            tokio::select! {
                () = tokio::time::sleep(timeouts.setup_in_drain) => {}
                // The deadline, or a close by force.
                _ = drain.expired() => {}
            }
        };
        let reason = tokio::select! {
            biased;
            output = setup => return Some(output),
            () = drained => match drain.is_forced() {
                true => CloseReason::Admin,
                false => CloseReason::Deadline,
            },
            () = tokio::time::sleep(timeouts.setup) => CloseReason::Error,
        };
        self.guard().set_close_reason(reason);
        None
    }
}
