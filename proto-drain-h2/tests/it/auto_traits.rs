//! Send, Sync and Unpin of the public types are promises.

use proto_drain_h2::{
    CloseCounts, GoawayHandle, GoawayIo, H2Connection, H2Drain, H2DrainSettings, H2Event, H2Parts,
    H2Phase, InvalidTransition, StreamsAtDeadline, WireProtocol,
};
use static_assertions::assert_impl_all;
use std::error::Error;
use tokio::io::DuplexStream;

assert_impl_all!(GoawayIo<DuplexStream>: Send, Sync, Unpin, std::fmt::Debug);
assert_impl_all!(H2Connection<DuplexStream>: Send, Sync, Unpin, std::fmt::Debug);
assert_impl_all!(GoawayHandle: Send, Sync, Unpin, Clone, std::fmt::Debug);
assert_impl_all!(H2DrainSettings: Send, Sync, Unpin, Clone);
assert_impl_all!(StreamsAtDeadline: Send, Sync, Unpin, Copy);
assert_impl_all!(CloseCounts: Send, Sync, Unpin, Copy);
assert_impl_all!(H2Drain: Send, Sync, Unpin, Clone);
assert_impl_all!(H2Parts: Send, Unpin);
assert_impl_all!(WireProtocol: Send, Sync, Unpin, Copy);
assert_impl_all!(H2Phase: Send, Sync, Unpin, Copy, Ord);
assert_impl_all!(H2Event: Send, Sync, Unpin, Copy);
assert_impl_all!(InvalidTransition: Send, Sync, Unpin, Error);

#[cfg(feature = "hyper")]
mod hyper {
    use proto_drain_h2::{
        NoticeFirst, RequestDrain, ResetBody, ResetFuture, ResetHandle, ResetService, StreamError,
        WithDrain,
    };
    use static_assertions::assert_impl_all;
    use std::error::Error;

    assert_impl_all!(ResetHandle: Send, Sync, Unpin, Clone);
    assert_impl_all!(ResetService<()>: Send, Sync, Unpin, Clone);
    assert_impl_all!(ResetFuture<()>: Send, Sync);
    assert_impl_all!(ResetBody<()>: Send, Sync);
    assert_impl_all!(NoticeFirst<(), drain_signal::DrainHandle>: Send, Sync, Clone);
    assert_impl_all!(RequestDrain: Send, Sync, Unpin, Clone);
    assert_impl_all!(WithDrain<()>: Send, Sync, Unpin, Clone);
    assert_impl_all!(StreamError: Send, Sync, Unpin, Error);
}

#[cfg(feature = "h2")]
mod h2 {
    use proto_drain_h2::ServeStreams;
    use static_assertions::assert_impl_all;

    assert_impl_all!(ServeStreams<tokio::io::DuplexStream, fn()>: Send, Unpin);
}
