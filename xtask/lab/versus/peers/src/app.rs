//! The application: the same behind every server.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Extension;
use axum::extract::WebSocketUpgrade;
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use axum::response::Response;
use axum::routing::{any, get};
use bytes::Bytes;
use futures_util::stream;
use orion_drain::serve::Connection;
use tokio::time::sleep;

/// Answers what the upstream of the proxies answers too.
pub fn router() -> Router {
    Router::new()
        .route("/version", get(async || "version 1"))
        .route("/slow", get(slow))
        .route("/stream", any(async || chunks(Some(10))))
        .route("/sse", get(async || chunks(None)))
        .route("/flood", get(async || flood()))
        .route("/ws", get(web_socket))
        .fallback(async |body: Bytes| body.len().to_string())
}

/// An answer that takes a second.
async fn slow() -> &'static str {
    sleep(Duration::from_secs(1)).await;
    "slow"
}

/// A chunk each 100 ms: so many, or without end.
fn chunks(many: Option<usize>) -> Response {
    let chunks = stream::unfold(0, move |n| async move {
        if many.is_some_and(|many| n >= many) {
            return None;
        }
        sleep(Duration::from_millis(100)).await;
        Some((
            Ok::<_, Infallible>(Bytes::from_static(b"data: tick\n\n")),
            n + 1,
        ))
    });
    Response::new(Body::from_stream(chunks))
}

/// As much as the client takes.
fn flood() -> Response {
    let zeros = stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(&[0; 65_536])));
    Response::new(Body::from_stream(zeros))
}

/// Under ours the connection comes with the request; under the others there is none.
async fn web_socket(upgrade: WebSocketUpgrade, ours: Option<Extension<Connection>>) -> Response {
    upgrade.on_upgrade(async move |mut socket| {
        let Some(Extension(connection)) = ours else {
            return echo(&mut socket).await;
        };
        tokio::select! {
            () = echo(&mut socket) => return,
            _ = connection.drain().signaled() => {}
        }
        // The client is told to come again. If it is gone, nobody has to be told.
        socket
            .send(Message::Close(Some(CloseFrame {
                code: 1012,
                reason: "restart".into(),
            })))
            .await
            .ok();
    })
}

async fn echo(socket: &mut WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let ended = matches!(message, Message::Close(_));
        if matches!(message, Message::Ping(_) | Message::Pong(_)) {
            continue;
        }
        if ended || socket.send(message).await.is_err() {
            return;
        }
    }
}
