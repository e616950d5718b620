//! Losing an auto trait breaks this build, not a user's.

use proto_drain_http1::*;
use static_assertions::assert_impl_all;
use tokio::io::DuplexStream;

assert_impl_all!(LingerIo<DuplexStream>: Send, Sync, Unpin);
assert_impl_all!(Lingering<DuplexStream>: Send, Sync, Unpin);
assert_impl_all!(LingerSettings: Send, Sync, Unpin, Copy);
assert_impl_all!(CloseCounters: Send, Sync, Unpin, Clone);
assert_impl_all!(CloseCounts: Send, Sync, Unpin, Copy);
assert_impl_all!(Exchanges: Send, Sync, Unpin, Clone);
assert_impl_all!(Exchange: Send, Sync, Unpin);
assert_impl_all!(RequestFacts: Send, Sync, Unpin, Copy);
assert_impl_all!(AfterResponse: Send, Sync, Unpin, Copy);
assert_impl_all!(Leaving: Send, Sync, Unpin, Copy);
assert_impl_all!(Http1Settings: Send, Sync, Unpin, Copy);
assert_impl_all!(IdlePolicy: Send, Sync, Unpin, Copy);
assert_impl_all!(AtDeadline: Send, Sync, Unpin, Copy);
assert_impl_all!(CloseCode: Send, Sync, Unpin, Copy);
assert_impl_all!(WebSocketIo<DuplexStream>: Send, Sync, Unpin);
assert_impl_all!(WebSocketClientIo<DuplexStream>: Send, Sync, Unpin);
#[cfg(feature = "hyper-util")]
assert_impl_all!(CleanEnd<()>: Send, Sync, Unpin);
assert_impl_all!(Outcome<()>: Send, Sync, Unpin, Copy);
assert_impl_all!(Http1Connection<std::future::Ready<()>>: Send, Sync, Unpin);

#[cfg(any(feature = "hyper", feature = "tower"))]
assert_impl_all!(DrainService<(), drain_signal::DrainHandle>: Send, Sync, Unpin, Clone);
#[cfg(any(feature = "hyper", feature = "tower"))]
assert_impl_all!(Responding<std::future::Ready<()>, drain_signal::DrainHandle>: Send, Sync, Unpin);
#[cfg(feature = "tower")]
assert_impl_all!(DrainLayer<drain_signal::DrainHandle>: Send, Sync, Unpin, Clone);
#[cfg(feature = "hyper")]
assert_impl_all!(ExchangeBody<http_body_util::Empty<&'static [u8]>>: Send, Sync, Unpin);
