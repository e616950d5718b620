//! An admin request with its body, of which no more than a bound is read.

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};

use super::AdminHost;
use super::router::{handle, plain};

/// How much of a request's body is read: 16 KiB. No operation needs one.
pub const MAX_BODY: usize = 16 * 1024;

/// Answers an admin request, as [`handle`], after its body: 413 if that is longer than [`MAX_BODY`], 400 if it breaks off.
/// Nothing was done then, and the connection closes.
///
/// How long a client may take for its body is for the server to bound.
///
/// # Cancel safety
///
/// Dropped before the body has arrived, nothing was done.
pub async fn answer<H, B>(host: &H, request: Request<B>) -> Response<Full<Bytes>>
where
    H: AdminHost + ?Sized,
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (parts, body) = request.into_parts();
    let read = if body.size_hint().lower() > MAX_BODY as u64 {
        Err(StatusCode::PAYLOAD_TOO_LARGE)
    } else {
        let read = Limited::new(body, MAX_BODY).collect().await;
        read.map_err(|error| match error.is::<LengthLimitError>() {
            true => StatusCode::PAYLOAD_TOO_LARGE,
            false => StatusCode::BAD_REQUEST,
        })
    };
    let response = match read {
        Ok(_) => handle(host, &parts),
        Err(status) => {
            let mut refusal = plain(status, format!("{status}\n"));
            let close = HeaderValue::from_static("close");
            refusal.headers_mut().insert(CONNECTION, close);
            refusal
        }
    };
    response.map(Full::new)
}
