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

/// What each layer adds to a connection, in bytes on a 64-bit system. A change that adds to it
/// shows here.
#[cfg(target_pointer_width = "64")]
#[test]
fn a_connection_costs_no_more_than_this() {
    use std::future::Ready;

    let own = [
        size_of::<LingerIo<DuplexStream>>() - size_of::<DuplexStream>(),
        size_of::<Http1Connection<Ready<u64>>>() - size_of::<Ready<u64>>(),
        size_of::<Exchanges>(),
        size_of::<CloseCounters>(),
    ];
    assert_eq!(own, [72, 32, 8, 8]);
    #[cfg(any(feature = "hyper", feature = "tower"))]
    assert_eq!(
        size_of::<Responding<Ready<u64>, drain_signal::DrainHandle>>() - size_of::<Ready<u64>>(),
        16
    );
}
