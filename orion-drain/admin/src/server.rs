//! The admin port (feature `standard`): HTTP/1.1, apart from the listeners.

use std::sync::Arc;
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use listener_versions::ListenerConfig;
use tokio::net::TcpListener;
use tokio::time::error::Elapsed;

use super::{AdminBody, Standard, answer};

/// How long a request's head, or its body, may take.
const PATIENCE: Duration = Duration::from_secs(30);

impl<C: ListenerConfig> Standard<C> {
    /// Serves the admin port, each connection in a task that is spawned on the runtime that polls
    /// this. Its connections are not listed and delay no drain. It does not return.
    ///
    /// # Cancel safety
    ///
    /// Dropping it stops accepting; connections that are served go on.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of file descriptors, most likely: others need the time to give some back.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let (host, answering) = (Arc::clone(&self), Arc::clone(&self));
            let service = service_fn(move |request| respond(Arc::clone(&answering), request));
            // A client that never finishes its head must not stay for ever.
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(async move {
                // How it ended does not matter, but the answer to "quit" is out then.
                connection.await.ok();
                if host.quit.is_asked() {
                    host.quit.answered();
                }
            });
        }
    }
}

async fn respond<C: ListenerConfig>(
    host: Arc<Standard<C>>,
    request: Request<Incoming>,
) -> Result<Response<AdminBody>, Elapsed> {
    let mut response = tokio::time::timeout(PATIENCE, answer(&host, request)).await?;
    if host.quit.is_asked() {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    Ok(response)
}
