//! HTTP/2 to an endpoint: one connection, made when it is needed, which all requests share.

use crate::dial::Dial;
use crate::failure::Failure;
use crate::timed::RequestBody;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::Mutex;

/// An endpoint that speaks HTTP/2 with prior knowledge, or agrees on it by ALPN.
#[derive(Debug)]
pub(crate) struct Http2 {
    dial: Dial,
    /// Locked to take a handle or to connect, never while a request is under way.
    sender: Mutex<Option<SendRequest<RequestBody>>>,
}

impl Http2 {
    pub(crate) fn new(dial: Dial) -> Self {
        Self {
            dial,
            sender: Mutex::default(),
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

    async fn sender(&self) -> Result<SendRequest<RequestBody>, Failure> {
        let mut sender = self.sender.lock().await;
        if let Some(sender) = sender.as_ref().filter(|sender| sender.is_ready()) {
            return Ok(sender.clone());
        }
        let stream = self.dial.connect().await;
        let stream = stream.map_err(|error| Failure::connecting(&error))?;
        let made = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (made, connection) = made.map_err(|error| Failure::responding(&error))?;
        // How it ends is told to the requests on it.
        tokio::spawn(async move { connection.await.ok() });
        *sender = Some(made.clone());
        Ok(made)
    }
}
