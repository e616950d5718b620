//! The watch of a response that is under way: its times run on while the client takes nothing of it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use orion_drain::serve::{Watched, watch_response};
use orion_drain::stats::HttpStats;

use crate::timeout::{Progress, StreamTimer};

/// Has the stream's task watch its response, also while the client takes nothing of it.
pub(crate) fn watch(mut timer: StreamTimer, stats: Arc<HttpStats>) -> Arc<Progress> {
    let progress = timer.answers();
    watch_response(ResponseWatch {
        timer,
        progress: Arc::clone(&progress),
        stats,
    });
    progress
}

/// What it says when a time is over.
struct ResponseWatch {
    timer: StreamTimer,
    progress: Arc<Progress>,
    stats: Arc<HttpStats>,
}

impl Future for ResponseWatch {
    type Output = Watched;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Watched> {
        let this = self.get_mut();
        if this.progress.is_answered() {
            return Poll::Ready(Watched::Ended);
        }
        if let Some(overdue) = this.progress.overdue() {
            // The body was not asked: the client takes nothing.
            overdue.count(&this.stats);
            return Poll::Ready(Watched::Cut);
        }
        let overdue = ready!(Pin::new(&mut this.timer).poll(cx));
        // Its body comes first, if there is room for a frame: it ends the response with an error.
        this.progress.is_over(overdue);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
