//! Losing `Send` breaks the build here, not at a user's.

use drain_tree::{
    ChildOptions, Decision, DrainCallback, DrainManager, DrainOutcome, DrainSequence,
    DrainSettings, DrainStart, InvalidShare, PartialDrain, PartialOutcome, PartialStart, Rounding,
    Share, Spread,
};
use static_assertions::assert_impl_all;

assert_impl_all!(DrainManager: Send, Sync, Unpin, Clone);
assert_impl_all!(DrainSequence: Send, Sync);
assert_impl_all!(DrainCallback: Send, Sync, Unpin);
assert_impl_all!(Rounding: Send, Sync, Unpin, Copy);
assert_impl_all!(Decision: Send, Sync, Unpin, Clone);
assert_impl_all!(DrainSettings: Send, Sync, Unpin, Clone);
assert_impl_all!(DrainStart: Send, Sync, Unpin, Copy);
assert_impl_all!(ChildOptions: Send, Sync, Unpin, Copy);
assert_impl_all!(DrainOutcome: Send, Sync, Unpin, Copy);
assert_impl_all!(PartialDrain: Send, Unpin, Future<Output = PartialOutcome>);
assert_impl_all!(PartialStart: Send, Sync, Unpin, Copy);
assert_impl_all!(Share: Send, Sync, Unpin, Copy);
assert_impl_all!(Spread: Send, Sync, Unpin, Copy);
assert_impl_all!(InvalidShare: std::error::Error, Send, Sync, Unpin);
