//! Losing `Send` breaks the build here, not at a user's.

use orion_drain::StatsObserver;
use orion_drain::config::{Bootstrap, ConfigError, ListenerUpdate};
use orion_drain::serve::{Connection, HttpServer, RequestBody};
use orion_drain::stats::Stats;
use static_assertions::assert_impl_all;

assert_impl_all!(Connection: Send, Sync, Unpin, Clone);
assert_impl_all!(HttpServer: Send, Sync, Unpin, Clone);
assert_impl_all!(RequestBody<()>: Send, Sync, Unpin);
assert_impl_all!(Stats: Send, Sync, Unpin, Clone);
assert_impl_all!(StatsObserver: Send, Sync, Unpin, Clone);
assert_impl_all!(Bootstrap: Send, Sync, Unpin, Clone);
assert_impl_all!(ListenerUpdate: Send, Sync, Unpin);
assert_impl_all!(ConfigError: Send, Sync, std::error::Error);
