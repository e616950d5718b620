//! Losing `Send` breaks the build here, not at a user's.

use drain_signal::{
    Advance, Closed, DrainCompleted, DrainEvent, DrainHandle, DrainSignal, DrainTrigger,
    DrainWatch, Drained, Draining, Goodbye, PhaseWait, Reached,
};
use static_assertions::assert_impl_all;

assert_impl_all!(DrainTrigger: Send, Sync, Unpin);
assert_impl_all!(DrainSignal: Send, Sync, Unpin, Clone);
assert_impl_all!(Draining: Send, Sync, Unpin, Clone);
assert_impl_all!(DrainWatch: Send, Sync, Unpin, Clone);
assert_impl_all!(DrainHandle: Send, Sync, Unpin, Clone);
assert_impl_all!(Reached<DrainWatch>: Send, Sync, Unpin);
assert_impl_all!(Reached<&DrainHandle>: Send, Sync, Unpin);
assert_impl_all!(PhaseWait<DrainWatch>: Send, Sync, Unpin);
assert_impl_all!(Drained: Send, Sync, Unpin);
assert_impl_all!(DrainEvent: Send, Sync, Unpin);
assert_impl_all!(Goodbye: Send, Sync, Unpin);
assert_impl_all!(Advance: Send, Sync, Unpin, Copy);
assert_impl_all!(Closed<()>: Send, Sync, Unpin);
assert_impl_all!(DrainCompleted: Send, Sync, std::error::Error);
