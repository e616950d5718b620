//! The old process's side after it was replaced: until the new one wants it gone.

use std::future::pending;
use std::pin::pin;

use futures_util::future::{Either, select};
use tokio::net::UnixListener;

use super::message::{Message, Refused};
use super::offer::{PAUSE, refuse};
use super::wire::Wire;

/// The process that has our sockets now.
///
/// Dropping it, as by exiting, tells the new process that we are gone.
#[derive(Debug)]
#[must_use = "the new process says when this one has to be gone"]
pub struct Successor {
    /// `None` once it is lost.
    wire: Option<Wire>,
    pid: u32,
    /// Who came to us just before the path was the other one's. `None` once there is no other one.
    listener: Option<UnixListener>,
}

impl Successor {
    pub(super) fn new(wire: Wire, pid: u32, listener: UnixListener) -> Self {
        Self {
            wire: Some(wire),
            pid,
            listener: Some(listener),
        }
    }

    /// Its process number, as the kernel knows it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Resolves when the new process wants this one gone (Envoy's `--parent-shutdown-time-s` after the handover). If the new process
    /// ends first, it never resolves: then the drain decides when this process is done.
    ///
    /// Somebody who still asks here for sockets is told who has them. If that one is gone, nobody answers any more.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped and called again.
    pub async fn terminated(&mut self) {
        while let (Some(wire), Some(listener)) = (&mut self.wire, &self.listener) {
            let heard = match select(pin!(wire.receive_whenever()), pin!(listener.accept())).await {
                Either::Left((heard, _)) => heard,
                Either::Right((Ok((other, _)), _)) => {
                    refuse(&other, Refused::Gone { pid: self.pid });
                    continue;
                }
                // Out of descriptors, most likely.
                Either::Right((Err(_), _)) => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            match heard {
                Ok((Message::Terminate, _)) => return,
                Ok(_) | Err(_) => (self.wire, self.listener) = (None, None),
            }
        }
        pending().await
    }
}
