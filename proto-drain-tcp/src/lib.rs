//! Drains TCP connections: a two-way copy that takes part in a drain, keeps half-close, delivers
//! what it has read, and ends in FIN.
//!
//! TCP has no message by which a server asks its peer to finish. A proxy that drains a TCP
//! connection can only choose the moment of the close: leave the connection alone as long as
//! possible, close when nothing is under way, deliver before FIN what was read, and never answer
//! late bytes with an RST that destroys what was delivered. [`TcpDrainPolicy`] names the choices,
//! with Envoy's as the default.
//!
//! ```text
//!                 slot: start()          shortly before the deadline: finish()     deadline: abort()
//!  UntilDeadline  stays                  closes in the next quiet moment           deliver, FIN, end
//!  CheckOnData    asks at each chunk     closes in the next quiet moment           deliver, FIN, end
//!  WhenQuiet(d)   closes when quiet      closes in the next quiet moment           deliver, FIN, end
//!  AtSlot         deliver, FIN, linger
//! ```
//!
//! # Example
//!
//! ```
//! use drain_signal::drive;
//! use proto_drain_tcp::{CopyOptions, DrainCopy, TcpDrainPolicy};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (mut client, accepted) = duplex(1024);
//! let (connected, mut upstream) = duplex(1024);
//! let (_trigger, signal) = drain_signal::channel();
//! let watch = signal.watch()?;
//! let handle = watch.handle();
//!
//! let options = CopyOptions::new().with_policy(TcpDrainPolicy::AtSlot);
//! let copy = tokio::spawn(drive(DrainCopy::new(accepted, connected).with_options(options), watch));
//!
//! client.write_all(b"ping").await?;
//! let mut ping = [0; 4];
//! upstream.read_exact(&mut ping).await?;
//!
//! handle.start_now(); // a drain says the same at the connection's slot
//! assert_eq!(client.read(&mut [0]).await?, 0, "FIN");
//! drop((client, upstream));
//! let report = copy.await?.output.ok_or("dropped by the driver")?;
//! assert!(report.is_lossless() && report.client_to_upstream.delivered == 4);
//! # Ok(()) }
//! ```
//!
//! # What dropping means
//!
//! | dropped | means |
//! | --- | --- |
//! | [`DrainCopy`] | both ends are closed at once; bytes taken and not delivered are lost, unreported; it never blocks |
//! | the watch it is driven with | the connection is gone ([`drive`](drain_signal::drive) drops it after the copy) |
//! | [`CopyReport`] | nothing, except that a loss goes unnoticed |
//!
//! # How it ends
//!
//! FIN both ways after everything taken is delivered, then a read-and-drop until the peers have
//! ended, bounded in time and bytes: closing a socket with unread data sends RST, and an RST lets
//! the peer's kernel throw away what it has not handed on yet ([RFC 9293, section
//! 3.6.1](https://www.rfc-editor.org/rfc/rfc9293#section-3.6.1)). RST is a named choice,
//! [`CloseMode::Reset`], and what a peer gets whose other side was reset: a reset says that the
//! data is not complete, FIN would say that it is. The means is `SO_LINGER` with time zero. A
//! positive `SO_LINGER` is never set; it would block the thread that drops the socket.
//!
//! # What it does not do
//!
//! It does not decide when a drain begins or when a connection's slot is (drain-signal,
//! drain-tree), accept or connect (listener-versions and its caller), or look into the bytes. It
//! closes connections of other protocols only as byte streams: HTTP has proto-drain-http1 and
//! proto-drain-h2.
//!
//! # Where it follows Envoy
//!
//! [`UntilDeadline`](TcpDrainPolicy::UntilDeadline) is Envoy's `tcp_proxy`,
//! [`CheckOnData`](TcpDrainPolicy::CheckOnData) its
//! [`check_drain_close`](https://github.com/envoyproxy/envoy/pull/44567). Deviations: a chunk that
//! triggers a close is delivered, where Envoy loses a request chunk; quiet connections leave one by
//! one in the last moments before the deadline, where Envoy cuts all at once
//! ([envoy#44419](https://github.com/envoyproxy/envoy/issues/44419);
//! [`finish_quiet`](CopyOptions::finish_quiet) of `Duration::MAX` is Envoy's way); the close is
//! staged, where a talking client of Envoy gets RST.
//!
//! # Features and requirements
//!
//! No features. Runs on tokio, with its time driver enabled once a connection drains. Minimum
//! supported Rust version 1.85.

mod copy;
mod half;
mod options;
mod policy;
mod report;
mod reset;
mod run;
mod timer;

pub use copy::{DrainCopy, OwnSlot};
pub use options::CopyOptions;
pub use policy::{DrainPoint, Flow, Rule, Step, TcpDrainPolicy};
pub use report::{Bytes, CopyError, CopyReport, Ended, Side};
pub use reset::{CloseMode, reset_on_drop};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
