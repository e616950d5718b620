//! The upstreams of all plays: HTTP that takes its time, streams or switches protocols, and a TCP
//! echo.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use rig::upstream::{Body, Upstream, echo, full, switch};
use tokio::time::sleep;

/// The time between two pieces of `/stream`.
const BEAT: Duration = Duration::from_millis(100);

/// Starts both: HTTP, then TCP.
pub(crate) async fn start() -> std::io::Result<[Upstream; 2]> {
    Ok([Upstream::http(answer).await?, Upstream::start(echo).await?])
}

/// `/slow?ms` answers late, `/stream?ms` for long, `/ws` switches to an echo, anything else says
/// how long the request's body was.
async fn answer(mut request: Request<Incoming>) -> Response<Body> {
    let ms = request
        .uri()
        .query()
        .and_then(|ms| ms.parse().ok())
        .unwrap_or(0);
    match request.uri().path() {
        "/slow" => {
            sleep(Duration::from_millis(ms)).await;
            full("slow")
        }
        "/stream" => {
            let beats = stream::unfold(ms / 100, |left| async move {
                let left = left.checked_sub(1)?;
                sleep(BEAT).await;
                Some((Ok(Frame::data(Bytes::from_static(b"beat"))), left))
            });
            Response::new(StreamBody::new(beats).boxed_unsync())
        }
        "/ws" => switch(&mut request, echo),
        _ => match request.into_body().collect().await {
            Ok(body) => full(body.to_bytes().len().to_string()),
            Err(_) => full("a broken body"),
        },
    }
}
