//! An admin request with its body, of which no more than a bound is read, and the body of its
//! answer.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::AdminHost;
use super::router::{handle, plain};

/// How much of a request's body is read: 16 KiB. No operation needs one.
pub const MAX_BODY: usize = 16 * 1024;

/// The body of an answer: whole, or a list that is written piece by piece while it is sent. Between
/// two pieces it yields, so that a list of a hundred thousand connections keeps no thread from its
/// other tasks.
pub struct AdminBody(Content);

enum Content {
    Whole(Option<Bytes>),
    Pieces {
        pieces: Box<dyn Iterator<Item = Bytes> + Send>,
        /// The task has let others run since the last piece.
        yielded: bool,
    },
}

impl AdminBody {
    pub(super) fn pieces(pieces: impl Iterator<Item = Bytes> + Send + 'static) -> Self {
        Self(Content::Pieces {
            pieces: Box::new(pieces),
            yielded: true,
        })
    }
}

impl From<Bytes> for AdminBody {
    fn from(whole: Bytes) -> Self {
        Self(Content::Whole(
            Some(whole).filter(|whole| !whole.is_empty()),
        ))
    }
}

impl From<String> for AdminBody {
    fn from(whole: String) -> Self {
        Self::from(Bytes::from(whole))
    }
}

impl Body for AdminBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Content::Whole(whole) => Poll::Ready(whole.take().map(|whole| Ok(Frame::data(whole)))),
            Content::Pieces { pieces, yielded } => {
                if !std::mem::replace(yielded, false) {
                    *yielded = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                match pieces.next() {
                    // Nothing of this piece was wanted.
                    Some(piece) if piece.is_empty() => {
                        *yielded = true;
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    }
                    piece => Poll::Ready(piece.map(|piece| Ok(Frame::data(piece)))),
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Content::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Whole(whole) => {
                SizeHint::with_exact(whole.as_ref().map_or(0, Bytes::len) as u64)
            }
            Content::Pieces { .. } => SizeHint::default(),
        }
    }
}

impl fmt::Debug for AdminBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminBody").finish_non_exhaustive()
    }
}

/// Answers an admin request, as [`handle`], after its body: 413 if that is longer than
/// [`MAX_BODY`], 400 if it breaks off. Nothing was done then, and the connection closes.
///
/// How long a client may take for its body is for the server to bound.
///
/// # Cancel safety
///
/// Dropped before the body has arrived, nothing was done.
pub async fn answer<H, B>(host: &Arc<H>, request: Request<B>) -> Response<AdminBody>
where
    H: AdminHost + Send + Sync + 'static,
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
    match read {
        Ok(_) => handle(host, &parts),
        Err(status) => {
            let mut refusal = plain(status, format!("{status}\n"));
            let close = HeaderValue::from_static("close");
            refusal.headers_mut().insert(CONNECTION, close);
            refusal
        }
    }
}
