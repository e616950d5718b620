//! Losing `Send` breaks the build here, not at a user's.

use orion_drain::StatsObserver;
use orion_drain::config::{Bootstrap, ConfigError, ListenerUpdate};
use orion_drain::lifecycle::{Shutdown, ShutdownOutcome, ShutdownRun, ShutdownSettings};
use orion_drain::serve::{Connection, HttpServer, ReceivedBody};
use orion_drain::stats::Stats;
use static_assertions::assert_impl_all;

assert_impl_all!(Connection: Send, Sync, Unpin, Clone);
assert_impl_all!(HttpServer: Send, Sync, Unpin, Clone);
assert_impl_all!(ReceivedBody: Send, Sync, Unpin);
assert_impl_all!(Stats: Send, Sync, Unpin, Clone);
assert_impl_all!(StatsObserver: Send, Sync, Unpin, Clone);
assert_impl_all!(Bootstrap: Send, Sync, Unpin, Clone);
assert_impl_all!(ListenerUpdate: Send, Sync, Unpin);
assert_impl_all!(ConfigError: Send, Sync, std::error::Error);
assert_impl_all!(Shutdown: Send, Sync, Unpin, Clone);
assert_impl_all!(ShutdownRun: Send, Sync, Unpin);
assert_impl_all!(ShutdownSettings: Send, Sync, Unpin, Clone);
assert_impl_all!(ShutdownOutcome: Send, Sync, Unpin, Copy);

#[cfg(all(feature = "systemd", target_os = "linux"))]
mod systemd {
    use orion_drain::lifecycle::systemd::{FdStore, Notifier, PassedError, PassedSockets};
    use static_assertions::assert_impl_all;

    assert_impl_all!(Notifier: Send, Sync, Unpin, Clone);
    assert_impl_all!(FdStore: Send, Sync, Unpin);
    assert_impl_all!(PassedSockets: Send, Sync, Unpin);
    assert_impl_all!(PassedError: Send, Sync, std::error::Error);
}
