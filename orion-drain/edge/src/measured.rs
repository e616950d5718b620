//! How long requests and connections take, for `downstream_rq_time` and `downstream_cx_length_ms`.
//!
//! That costs two readings of the clock a request and two a connection, as in Envoy: these two
//! histograms need them. A server without such statistics reads no clock for a request; its timers
//! do not need one.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use hyper::body::{Frame, SizeHint};
use orion_drain::stats::{Histogram, HttpStats};
use tokio::time::Instant;

use crate::answers::Body;
use crate::timeout::Overdue;

/// Something that takes time. Dropped, it is over, and recorded.
#[derive(Debug)]
pub(crate) struct Measured {
    stats: Arc<HttpStats>,
    which: fn(&HttpStats) -> &Histogram,
    since: Instant,
}

impl Measured {
    /// A request that has come.
    pub(crate) fn request(stats: &Arc<HttpStats>) -> Self {
        Self::new(stats, |stats| &stats.downstream_rq_time)
    }

    /// A connection that is open.
    pub(crate) fn connection(stats: &Arc<HttpStats>) -> Self {
        Self::new(stats, |stats| &stats.downstream_cx_length_ms)
    }

    fn new(stats: &Arc<HttpStats>, which: fn(&HttpStats) -> &Histogram) -> Self {
        Self {
            stats: Arc::clone(stats),
            which,
            since: Instant::now(),
        }
    }

    /// What it is counted in.
    pub(crate) const fn stats(&self) -> &Arc<HttpStats> {
        &self.stats
    }

    /// The request has this response; it is over when that has ended.
    pub(crate) fn until_the_end_of(self, response: Response<Body>) -> Response<MeasuredBody> {
        self.stats.responded(response.status().as_u16());
        response.map(|body| MeasuredBody {
            body,
            measured: self,
        })
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        (self.which)(&self.stats).record(self.since.elapsed());
    }
}

/// The body of a response whose request is measured.
pub(crate) struct MeasuredBody {
    body: Body,
    measured: Measured,
}

impl hyper::body::Body for MeasuredBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Err(error))) = &frame {
            if let Some(overdue) = error.downcast_ref::<Overdue>() {
                overdue.count(self.measured.stats());
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
