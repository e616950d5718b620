//! What may be sent, shared and moved: a promise to callers, checked when it compiles.

use crate::common::Config;
use listener_versions::*;
use static_assertions::assert_impl_all;

assert_impl_all!(Listeners<Config>: Clone, Send, Sync, Unpin);
assert_impl_all!(Worker<Config>: Send, Unpin);
assert_impl_all!(Accepted<Config>: Send, Unpin);
assert_impl_all!(Stream: Send, Unpin, tokio::io::AsyncRead, tokio::io::AsyncWrite);
assert_impl_all!(ListenerVersion<Config>: Send, Sync);
assert_impl_all!(ListenerChain: Send, Sync);
assert_impl_all!(Accepted<Config, ()>: Send, Unpin);
assert_impl_all!(VersionView: Clone, Send, Sync, Unpin);
assert_impl_all!(Update<Config>: Send, Sync, Unpin);
assert_impl_all!(UpdateReport: Send, Sync, Unpin);
assert_impl_all!(UpdateError: std::error::Error, Send, Sync, Unpin);
assert_impl_all!(Refusal: std::error::Error, Send, Sync, Unpin, Copy);
assert_impl_all!(FieldError: std::error::Error, Send, Sync, Unpin);
assert_impl_all!(Inherited: Send, Sync, Unpin);
assert_impl_all!(ListenersOptions: Clone, Send, Sync, Unpin);

#[test]
fn a_worker_future_can_be_spawned() {
    fn spawnable(_: &(impl Send + 'static)) {}
    let root = drain_tree::DrainManager::root(drain_tree::DrainSettings::default());
    let tracker = conn_tracker::ConnTracker::new();
    let (listeners, driver) =
        Listeners::<Config>::new(root, tracker, ListenersOptions::default(), ());
    spawnable(&listeners.worker().run(drop));
    spawnable(&driver);
}
