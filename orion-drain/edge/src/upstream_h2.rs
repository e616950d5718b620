//! HTTP/2 to an endpoint: one connection, made when it is needed, which all requests share.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::dial::Dial;
use crate::failure::Failure;
use crate::timed::RequestBody;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::Mutex;

/// How much of a response waits here for a client that does not read: as much as a connection keeps
/// by default (Envoy's `per_connection_buffer_limit_bytes`).
pub(crate) const STREAM_WINDOW: u32 = 1 << 20;
/// The largest there is. All clients share the connection, and those that do not read must leave
/// room for the others; what waits is bounded by the streams' windows.
pub(crate) const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
/// How large the head of a response may be: Envoy's `max_response_headers_kb`, 60 KiB.
pub(crate) const MAX_HEADER_BYTES: u32 = 60 * 1024;

/// An endpoint that speaks HTTP/2 with prior knowledge, or agrees on it by ALPN.
#[derive(Debug)]
pub(crate) struct Http2 {
    dial: Dial,
    /// Locked to take a handle or to connect, never while a request is under way.
    made: Mutex<Made>,
    /// How many connections could not be made.
    failures: AtomicUsize,
}

/// What came of the last attempts to connect.
#[derive(Debug, Default)]
struct Made {
    sender: Option<SendRequest<RequestBody>>,
    failure: Option<Failure>,
}

impl Http2 {
    pub(crate) fn new(dial: Dial) -> Self {
        Self {
            dial,
            made: Mutex::default(),
            failures: AtomicUsize::new(0),
        }
    }

    /// Sends a request. One that the endpoint has not seen, since the connection was going away, is
    /// sent once more.
    pub(crate) async fn request(
        &self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, Failure> {
        let mut tries = 2;
        loop {
            tries -= 1;
            let mut error = match self.sender().await?.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            match error.take_message() {
                Some(unsent) if tries > 0 => request = unsent,
                _ => return Err(Failure::responding(&error.into_error())),
            }
        }
    }

    /// A connection that cannot be made fails all requests that wait for it, as in Envoy: one after
    /// the other they would wait for many times the cluster's `connect_timeout`.
    async fn sender(&self) -> Result<SendRequest<RequestBody>, Failure> {
        // Relaxed, also below: the lock orders it with the failure.
        let failures = self.failures.load(Ordering::Relaxed);
        let mut made = self.made.lock().await;
        if let Some(sender) = made.sender.as_ref().filter(|sender| sender.is_ready()) {
            return Ok(sender.clone());
        }
        if self.failures.load(Ordering::Relaxed) != failures {
            if let Some(failure) = made.failure {
                return Err(failure);
            }
        }
        // Boxed: most requests find a connection, and keep no room for making one.
        match Box::pin(self.connect()).await {
            Ok(sender) => {
                made.sender = Some(sender.clone());
                Ok(sender)
            }
            Err(failure) => {
                made.failure = Some(failure);
                self.failures.fetch_add(1, Ordering::Relaxed);
                Err(failure)
            }
        }
    }

    async fn connect(&self) -> Result<SendRequest<RequestBody>, Failure> {
        let stream = self.dial.connect().await;
        let stream = stream.map_err(|error| Failure::connecting(&error))?;
        let handshake = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEADER_BYTES)
            .handshake(TokioIo::new(stream))
            .await;
        let (sender, connection) = handshake.map_err(|error| Failure::responding(&error))?;
        // How it ends is told to the requests on it.
        tokio::spawn(async move { connection.await.ok() });
        Ok(sender)
    }
}
