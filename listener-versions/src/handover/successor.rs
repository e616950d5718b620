//! The old process's side after it was replaced: until the new one wants it gone, or has died and another one takes its place.

use std::collections::HashSet;
use std::future::pending;
use std::net::Shutdown;
use std::path::PathBuf;
use std::pin::pin;

use futures_util::future::{Either, select};
use socket2::SockRef;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Instant, sleep, timeout_at};

use super::message::{Message, Refused};
use super::offer::{PAUSE, exchange, hello, one_at_a_time, refuse, say_draining};
use super::wire::Wire;
use super::{HandoverError, HandoverOptions, path, tellable};
use crate::{ListenAddress, SharedSocket};

/// The process that has our sockets now.
///
/// Dropping it, as by exiting, tells the new process that we are gone.
#[derive(Debug)]
#[must_use = "the new process says when this one has to be gone"]
pub struct Successor {
    state: State,
    pid: u32,
    path: PathBuf,
    options: HandoverOptions,
    /// What it has, in case that it dies. Nobody accepts on them here.
    kept: Vec<SharedSocket>,
}

#[derive(Debug)]
enum State {
    /// It lives. The listener is for whoever came to us just before the path was its own.
    Lives { wire: Wire, listener: UnixListener },
    /// It has died. Until then another one may have its sockets.
    Died { listener: UnixListener, until: Instant },
    /// There is nobody, or somebody who does not know us.
    Alone,
}

impl Successor {
    pub(super) fn new(
        wire: Wire,
        listener: UnixListener,
        path: PathBuf,
        options: &HandoverOptions,
        kept: Vec<SharedSocket>,
    ) -> Self {
        Self {
            pid: wire.peer(),
            state: State::Lives { wire, listener },
            path,
            options: options.clone(),
            kept,
        }
    }

    /// Its process number, as the kernel knows it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Resolves when the new process wants this one gone (Envoy's `--parent-shutdown-time-s` after the handover). Else it never
    /// resolves: then the drain decides when this process is done.
    ///
    /// Somebody who still asks here for sockets is told who has them. If that one dies, its sockets are kept for a while
    /// ([`HandoverOptions::keep`]): what comes waits in their queues, and a process that is started gets them. Accepting again
    /// would be no help, as this process drains.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped and called again. A handover in the middle comes to nothing by it.
    pub async fn terminated(&mut self) {
        while self.next().await != SuccessorEvent::Terminate {}
    }

    /// What becomes of the new process, as far as it matters here; after [`Terminate`](SuccessorEvent::Terminate) nothing more
    /// is to be expected. See [`terminated`](Self::terminated).
    ///
    /// # Cancel safety
    ///
    /// As [`terminated`](Self::terminated).
    pub async fn next(&mut self) -> SuccessorEvent {
        loop {
            match &mut self.state {
                State::Lives { wire, listener } => match hear(wire, listener, self.pid).await {
                    Heard::Terminate => return SuccessorEvent::Terminate,
                    Heard::End => {
                        self.state = self.died().await;
                        if matches!(self.state, State::Died { .. }) {
                            return SuccessorEvent::Died;
                        }
                    }
                },
                State::Died { listener, until } => {
                    match timeout_at(*until, listener.accept()).await {
                        Ok(Ok((stream, _))) => {
                            if self.hand_on(stream).await {
                                return SuccessorEvent::Replaced;
                            }
                        }
                        // Out of descriptors, most likely.
                        Ok(Err(_)) => sleep(PAUSE).await,
                        Err(_) => {
                            // Only this process's descriptors: another process may serve there that this one does not know of.
                            self.kept.clear();
                            self.state = State::Alone;
                            return SuccessorEvent::Closed;
                        }
                    }
                }
                State::Alone => pending().await,
            }
        }
    }

    async fn died(&mut self) -> State {
        // What it has closed is closed for everybody.
        self.kept.retain(is_listening);
        // The path may still be this process's own, if the new process died before it took the path. The [`Offer`](super::Offer) has
        // a descriptor of the same listener.
        if let State::Lives { listener, .. } = &self.state {
            drop(SockRef::from(listener).shutdown(Shutdown::Both));
        }
        let somebody = path::connect(&self.path).await;
        if !self.kept.is_empty() && matches!(somebody, Ok(None)) {
            if let Ok(listener) = path::listen(&self.path) {
                let until = Instant::now() + tellable(self.options.keep);
                return State::Died { listener, until };
            }
        }
        self.kept.clear();
        State::Alone
    }

    /// Gives the sockets to another one. If it comes to nothing (`false`), the next one may have them.
    async fn hand_on(&mut self, stream: UnixStream) -> bool {
        let (Ok(wire), State::Died { listener, .. }) = (Wire::new(stream), &self.state) else {
            return false;
        };
        let pid = wire.peer();
        let session = given(wire, &self.kept, &self.options);
        let Ok((mut wire, taken)) = one_at_a_time(listener, pid, session).await else {
            return false;
        };
        self.kept.retain(|shared| taken.contains(&shared.address));
        say_draining(&mut wire, &self.options).await;
        self.pid = pid;
        if let State::Died { listener, .. } = std::mem::replace(&mut self.state, State::Alone) {
            self.state = State::Lives { wire, listener };
        }
        true
    }
}

/// What becomes of a process that has taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SuccessorEvent {
    /// It wants this process gone.
    Terminate,
    /// It has died. Its sockets are kept for another one.
    Died,
    /// Another one has taken its place: [`Successor::pid`].
    Replaced,
    /// No other one has come in time, and the sockets are closed.
    Closed,
}

enum Heard {
    Terminate,
    /// It is gone, or makes no sense.
    End,
}

async fn hear(wire: &mut Wire, listener: &UnixListener, pid: u32) -> Heard {
    loop {
        match select(pin!(wire.receive_whenever()), pin!(listener.accept())).await {
            Either::Left((Ok((Message::Terminate, _)), _)) => return Heard::Terminate,
            Either::Left((Ok(_) | Err(_), _)) => return Heard::End,
            Either::Right((Ok((other, _)), _)) => refuse(&other, Refused::Gone { pid }),
            Either::Right((Err(_), _)) => sleep(PAUSE).await,
        }
    }
}

async fn given(
    mut wire: Wire,
    kept: &[SharedSocket],
    options: &HandoverOptions,
) -> Result<(Wire, HashSet<ListenAddress>), HandoverError> {
    hello(&mut wire, options).await?;
    let taken = exchange(&mut wire, kept, options).await?;
    Ok((wire, taken))
}

fn is_listening(shared: &SharedSocket) -> bool {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    let listens = SockRef::from(&shared.socket).is_listener().unwrap_or(false);
    // Elsewhere a socket cannot be asked.
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    let listens = shared.socket.try_clone().is_ok();
    listens
}
