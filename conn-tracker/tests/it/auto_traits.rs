//! Losing `Send` or `Sync` breaks this build, not a user's.

use conn_tracker::{
    AttachError, CloseError, CloseReason, ConnChain, ConnCounts, ConnGroup, ConnGuard, ConnId,
    ConnInfo, ConnKind, ConnLabel, ConnProtocol, ConnRequest, ConnSnapshot, ConnState, ConnTracker,
    GroupView, InvalidTransition, ParseConnIdError, Peer, SnapshotPage, TrackerOptions, WaitEmpty,
};
use static_assertions::{assert_impl_all, assert_not_impl_any};
use std::{error::Error, hash::Hash};

assert_impl_all!(ConnTracker: Send, Sync, Unpin, Clone);
assert_impl_all!(ConnGroup: Send, Sync, Unpin, Clone);
assert_impl_all!(ConnChain: Send, Sync, Unpin, Clone);
assert_impl_all!(ConnGuard: Send, Sync, Unpin, Clone);
assert_impl_all!(WaitEmpty: Send, Sync, Unpin, Future<Output = ()>);
assert_impl_all!(ConnInfo: Send, Sync, Unpin);
assert_impl_all!(ConnRequest: Send, Sync, Unpin, Copy, Hash);
assert_impl_all!(TrackerOptions: Send, Sync, Unpin, Clone);
assert_impl_all!(ConnSnapshot: Send, Sync, Unpin, Clone);
assert_impl_all!(SnapshotPage: Send, Sync, Unpin, Clone);
assert_impl_all!(GroupView: Send, Sync, Unpin, Clone);
assert_impl_all!(ConnCounts: Send, Sync, Unpin, Copy);
assert_impl_all!(ConnId: Send, Sync, Unpin, Copy, Hash, Ord);
assert_impl_all!(ConnState: Send, Sync, Unpin, Copy, Ord);
assert_impl_all!(ConnKind: Send, Sync, Unpin, Copy);
assert_impl_all!(ConnProtocol: Send, Sync, Unpin, Copy);
assert_impl_all!(ConnLabel: Send, Sync, Unpin, Copy);
assert_impl_all!(CloseReason: Send, Sync, Unpin, Copy);
assert_impl_all!(Peer: Send, Sync, Unpin, Copy);
assert_impl_all!(AttachError: Error, Send, Sync, Unpin, Clone);
assert_impl_all!(CloseError: Error, Send, Sync, Unpin);
assert_impl_all!(InvalidTransition: Error, Send, Sync, Unpin);
assert_impl_all!(ParseConnIdError: Error, Send, Sync, Unpin);
// A wait has one waker.
assert_not_impl_any!(WaitEmpty: Clone);

#[test]
fn a_guard_is_two_words() {
    assert_eq!(size_of::<ConnGuard>(), 16);
    assert_eq!(size_of::<Option<ConnGuard>>(), 16);
}
