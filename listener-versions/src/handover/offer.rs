//! The old process's side until it is replaced: who asks gets the sockets, one at a time.

use std::collections::HashSet;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Instant, sleep};

use super::message::{BATCH, MOST_SOCKETS, Message, Refused};
use super::wire::Wire;
use super::{HandoverError, HandoverOptions, Successor, path};
use crate::{Inherited, ListenAddress, ListenerConfig, Listeners, SharedSocket};

/// After an error of the listener.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// The path at which a new process may ask for our sockets.
///
/// Dropping it ends the offer. The path stays; nobody answers there, which a new process takes as a fresh start.
#[derive(Debug)]
pub struct Offer {
    listener: UnixListener,
    path: PathBuf,
}

impl Offer {
    /// Offers at this path, which must be nobody's: a file is replaced, a process that answers there is not.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AddrInUse`] if a process answers there; else what the system says.
    pub async fn bind(path: &Path) -> io::Result<Self> {
        match path::connect(path).await? {
            Some(_) => Err(io::ErrorKind::AddrInUse.into()),
            None => Ok(Self::new(path::listen(path)?, path)),
        }
    }

    pub(super) fn new(listener: UnixListener, path: &Path) -> Self {
        let path = path.to_owned();
        Self { listener, path }
    }

    /// Waits for a new process, and hands over: the listeners stop, and drain for
    /// [`HotRestart`](drain_tree::DrainReason::HotRestart). `more` sockets go with theirs, such as an admin port's; who has them
    /// has to close them then.
    ///
    /// While it is not sure who goes on, updates of the listeners wait: a socket opened now would be nobody's later.
    ///
    /// # Errors
    ///
    /// [`HandoverError`]: this attempt came to nothing, and the listeners go on as if it had not been. Call it again.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits, nothing has happened; in the middle of an attempt, the attempt comes to nothing. Only between the
    /// moment when the listeners stop and the one when the new process can be found at the path, the handover stands: then the
    /// sockets are not kept for another one, should the new process die.
    pub async fn next<C: ListenerConfig>(
        &mut self,
        listeners: &Listeners<C>,
        options: &HandoverOptions,
        more: &Inherited,
    ) -> Result<Successor, HandoverError> {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    sleep(PAUSE).await;
                    return Err(error.into());
                }
            };
            let wire = Wire::new(stream)?;
            let pid = wire.peer();
            let session = hand_over(wire, listeners, options, more);
            if let Some((wire, kept)) = one_at_a_time(&self.listener, pid, session).await? {
                let listener = self.listener.as_fd().try_clone_to_owned()?;
                let listener = UnixListener::from_std(listener.into())?;
                return Ok(Successor::new(wire, listener, self.path.clone(), options, kept));
            }
        }
    }
}

/// Talks to one process; others are told that it is first.
pub(super) async fn one_at_a_time<T>(
    listener: &UnixListener,
    pid: u32,
    session: impl Future<Output = T>,
) -> T {
    let mut session = pin!(session);
    loop {
        match select(session.as_mut(), pin!(listener.accept())).await {
            Either::Left((done, _)) => return done,
            Either::Right((Ok((other, _)), _)) => refuse(&other, Refused::Busy { pid }),
            // Out of descriptors, most likely; whoever asks again is answered then.
            Either::Right((Err(_), _)) => sleep(PAUSE).await,
        }
    }
}

/// Tells somebody why not. It fits into an empty buffer; who does not listen misses it.
pub(super) fn refuse(stream: &UnixStream, refused: Refused) {
    drop(stream.try_write(&Message::Refused(refused).encode()));
}

/// Everything up to the moment when the sockets are the other one's: those that it has, by then. `None`: it only looked
/// whether anybody is here.
async fn hand_over<C: ListenerConfig>(
    mut wire: Wire,
    listeners: &Listeners<C>,
    options: &HandoverOptions,
    more: &Inherited,
) -> Result<Option<(Wire, Vec<SharedSocket>)>, HandoverError> {
    match hello(&mut wire, options).await {
        Ok(()) => {}
        Err(HandoverError::Lost) => return Ok(None),
        Err(error) => return Err(error),
    }
    // From here on, leaving early gives everything back.
    let mut hold = listeners.hold();
    let mut sockets = hold.share()?;
    sockets.extend(more.descriptors()?);
    let taken = exchange(&mut wire, &sockets, options).await?;
    hold.retire(&taken);
    sockets.retain(|shared| taken.contains(&shared.address));
    say_draining(&mut wire, options).await;
    Ok(Some((wire, sockets)))
}

pub(super) async fn hello(wire: &mut Wire, options: &HandoverOptions) -> Result<(), HandoverError> {
    match wire.receive(options.patience).await?.0 {
        Message::Hello { .. } => Ok(()),
        _ => Err(HandoverError::Malformed("it did not say hello")),
    }
}

/// Sends the sockets, and waits until the other process is ready; the addresses that it goes on with.
pub(super) async fn exchange(
    wire: &mut Wire,
    sockets: &[SharedSocket],
    options: &HandoverOptions,
) -> Result<HashSet<ListenAddress>, HandoverError> {
    if sockets.len() > MOST_SOCKETS {
        return Err(HandoverError::Malformed(
            "there are more sockets than one process takes",
        ));
    }
    send_all(wire, sockets, options).await?;
    let taken = taken(wire, sockets, options).await?;
    // Who gave up waiting for an answer must find us serving.
    if wire.has_hung_up() {
        return Err(HandoverError::Lost);
    }
    Ok(taken)
}

/// It is done, whether the other one hears of it or not. Returns when that one can be found at the path: who is asked by others may
/// end now.
pub(super) async fn say_draining(wire: &mut Wire, options: &HandoverOptions) {
    let uptime = options.uptime(Instant::now().into_std());
    let draining = Message::Draining {
        epoch: options.epoch,
        uptime: uptime.as_millis().try_into().unwrap_or(u64::MAX),
    };
    if wire.send(&draining, &[], options.patience).await.is_ok() {
        // What else it may say does not matter: it has the sockets.
        drop(wire.receive(options.patience).await);
    }
}

async fn send_all(
    wire: &Wire,
    sockets: &[SharedSocket],
    options: &HandoverOptions,
) -> Result<(), HandoverError> {
    let count = sockets.len().div_ceil(BATCH).max(1);
    for index in 0..count {
        let batch = sockets.chunks(BATCH).nth(index).unwrap_or_default();
        let named = batch
            .iter()
            .map(|shared| (shared.address.clone(), shared.is_kept));
        let message = Message::Sockets {
            sockets: named.collect(),
            more: index + 1 < count,
        };
        let fds: Vec<_> = batch.iter().map(|shared| shared.socket.as_fd()).collect();
        wire.send(&message, &fds, options.patience).await?;
    }
    Ok(())
}

/// The addresses whose sockets the new process goes on with.
async fn taken(
    wire: &mut Wire,
    sockets: &[SharedSocket],
    options: &HandoverOptions,
) -> Result<HashSet<ListenAddress>, HandoverError> {
    let mut addresses = HashSet::new();
    let mut patience = options.warm_up;
    let mut count = 0;
    loop {
        let Message::Drain { taken, more } = wire.receive(patience).await?.0 else {
            return Err(HandoverError::Malformed("it did not say which sockets it has"));
        };
        count += taken.len();
        if count > sockets.len() {
            return Err(HandoverError::Malformed("it took more sockets than were offered"));
        }
        for number in taken {
            let socket = sockets.get(number as usize);
            let socket = socket.ok_or(HandoverError::Malformed("it took a socket that was not offered"))?;
            addresses.insert(socket.address.clone());
        }
        if !more {
            return Ok(addresses);
        }
        patience = options.patience;
    }
}
