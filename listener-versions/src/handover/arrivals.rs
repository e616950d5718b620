//! The connections at the path that have not said anything yet: a silent one keeps no other one
//! waiting.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select, select_all};
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Instant, sleep, timeout_at};

use super::message::Message;
use super::session::PAUSE;
use super::wire::Wire;
use super::{HandoverError, tellable};

/// So many may be silent at once. For one more the oldest ends: a new process speaks as soon as it
/// is connected, so it is not the oldest for long.
const MOST: usize = 64;

/// What a connection has said first, or how it ended.
pub(super) type Heard = Result<(Message, Vec<OwnedFd>), HandoverError>;

/// What happens first.
enum Come {
    /// The connection of this index has.
    Spoken((usize, Heard)),
    Accepted(io::Result<(UnixStream, SocketAddr)>),
}

/// The connections that have said nothing so far.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// Until when each may be silent.
    silent: VecDeque<(Wire, Instant)>,
    /// Whether the caller has been told that the listener fails.
    is_told: bool,
}

impl Arrivals {
    /// The next connection that has said something, has ended or has been silent for too long.
    ///
    /// # Errors
    ///
    /// The listener fails, which is said once until it accepts again; or a process of another user
    /// has connected.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it loses no connection, and nothing that one has said.
    pub(super) async fn next(
        &mut self,
        listener: &UnixListener,
        patience: Duration,
    ) -> Result<(Wire, Heard), HandoverError> {
        loop {
            let come = {
                let silent = &mut self.silent;
                let spoken = async {
                    if silent.is_empty() {
                        return pending().await;
                    }
                    let each = silent
                        .iter_mut()
                        .map(|(wire, until)| Box::pin(timeout_at(*until, wire.receive_whenever())));
                    let (heard, index, _) = select_all(each).await;
                    (index, heard.unwrap_or(Err(HandoverError::TimedOut)))
                };
                match select(pin!(spoken), pin!(listener.accept())).await {
                    Either::Left((spoken, _)) => Come::Spoken(spoken),
                    Either::Right((accepted, _)) => Come::Accepted(accepted),
                }
            };
            let stream = match come {
                Come::Spoken((index, heard)) => match self.silent.remove(index) {
                    Some((wire, _)) => return Ok((wire, heard)),
                    None => continue,
                },
                Come::Accepted(Ok((stream, _))) => stream,
                Come::Accepted(Err(error)) => {
                    // Out of descriptors, most likely.
                    sleep(PAUSE).await;
                    if std::mem::replace(&mut self.is_told, true) {
                        continue;
                    }
                    return Err(error.into());
                }
            };
            self.is_told = false;
            let wire = Wire::new(stream)?;
            if self.silent.len() == MOST {
                self.silent.pop_front();
            }
            self.silent
                .push_back((wire, Instant::now() + tellable(patience)));
        }
    }

    /// All that are silent hear that this process is first. One that is a new process asks again.
    pub(super) fn say_busy(&mut self, pid: u32) {
        for (wire, _) in self.silent.drain(..) {
            drop(wire.send_now(&Message::Busy { pid }, &[]));
        }
    }
}
