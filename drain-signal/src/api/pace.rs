//! A drain paced on tokio's clock, for programs that have no other. Feature `tokio`.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use tokio::time::{Instant, sleep_until};

use crate::Draining;

impl Draining {
    /// Moves the drain on, on tokio's clock, until it is over: the last watch is gone, or the last
    /// step of the [`CloseSteps`](crate::CloseSteps) has been taken. How many watches are left.
    ///
    /// Needs the feature `tokio`. This `impl` block has a file of its own because of that.
    ///
    /// # Panics
    ///
    /// Polled outside a tokio runtime with time enabled, as all of tokio's timers.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again at any time; meanwhile no slot comes.
    pub async fn pace(&self) -> usize {
        // With a registration of its own, which goes with this future.
        let draining = self.clone();
        let mut timer = pin!(sleep_until(Instant::now()));
        poll_fn(|cx| {
            // Registered before the look, so that nothing falls between the two.
            draining.wake_on_change(cx.waker());
            loop {
                // Before the drain is moved on: a watch that opens meanwhile, or a deadline that is
                // set meanwhile, is not in this step, and must not be taken for a part of it.
                if self.drain.is_drained() {
                    return Poll::Ready(0);
                }
                let has_deadline = self.deadline().is_some();
                let step = self.advance(Instant::now().into_std());
                let next = match step.next {
                    _ if step.more => {
                        // Let those run who were woken.
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Some(next) => next,
                    None if has_deadline => return Poll::Ready(self.concerned_watches()),
                    // Without a deadline nothing is left to do but to wait for the last.
                    None => return Poll::Pending,
                };
                timer.as_mut().reset(next.into());
                if timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await
    }
}
