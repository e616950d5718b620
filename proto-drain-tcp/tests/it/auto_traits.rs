//! Losing `Send`, `Sync` or `Unpin` breaks this build, not a user's; and a copy stays small.

use proto_drain_tcp::{
    Bytes, CloseMode, CopyError, CopyOptions, CopyReport, DrainCopy, DrainPoint, Ended, Flow,
    OwnSlot, Rule, Side, Step, TcpDrainPolicy,
};
use static_assertions::assert_impl_all;
use std::error::Error;
use tokio::net::TcpStream;

assert_impl_all!(DrainCopy<TcpStream, TcpStream>: Send, Sync, Unpin);
assert_impl_all!(CopyReport: Send, Sync, Unpin);
assert_impl_all!(Ended: Send, Sync, Unpin);
assert_impl_all!(CopyError: Send, Sync, Unpin, Error);
assert_impl_all!(CopyOptions: Send, Sync, Unpin, Copy);
assert_impl_all!(TcpDrainPolicy: Send, Sync, Unpin, Copy);
assert_impl_all!(CloseMode: Send, Sync, Unpin, Copy);
assert_impl_all!(Bytes: Send, Sync, Unpin, Copy);
assert_impl_all!(Side: Send, Sync, Unpin, Copy);
assert_impl_all!(DrainPoint: Send, Sync, Unpin, Copy);
assert_impl_all!(Rule: Send, Sync, Unpin, Copy);
assert_impl_all!(Flow: Send, Sync, Unpin, Copy);
assert_impl_all!(Step: Send, Sync, Unpin, Copy);
assert_impl_all!(OwnSlot: Send, Sync, Unpin);

#[test]
fn the_state_of_a_copy_beside_its_streams_fits_into_half_a_kilobyte() {
    let own = size_of::<DrainCopy<TcpStream, TcpStream>>() - 2 * size_of::<TcpStream>();
    assert!(own <= 512, "{own} bytes");
}
