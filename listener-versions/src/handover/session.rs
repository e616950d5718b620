//! What the old process says to a new one until that one is ready, and how others are answered
//! meanwhile.

use std::collections::HashSet;
use std::os::fd::AsFd as _;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::sleep;

use super::arrivals::Heard;
use super::hello::Hello;
use super::message::{BATCH, MOST_SOCKETS, Message};
use super::path::Lock;
use super::wire::Wire;
use super::{HandoverError, HandoverOptions, hooks};
use crate::{ListenAddress, SharedSocket};

/// After an error of the listener.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// Talks to one process; others hear that it is first.
pub(super) async fn one_at_a_time<T>(
    listener: &UnixListener,
    pid: u32,
    session: impl Future<Output = T>,
) -> T {
    let mut session = pin!(session);
    loop {
        match select(session.as_mut(), pin!(listener.accept())).await {
            Either::Left((done, _)) => return done,
            Either::Right((Ok((other, _)), _)) => say_busy(other, pid),
            // Out of descriptors, most likely. A process that asks again is answered then.
            Either::Right((Err(_), _)) => sleep(PAUSE).await,
        }
    }
}

fn say_busy(other: UnixStream, pid: u32) {
    // It fits into an empty buffer. A process that does not listen misses it.
    if let Ok(wire) = Wire::new(other) {
        drop(wire.send_now(&Message::Busy { pid }, &[]));
    }
}

/// Takes what the new process has said that it is, and says what this one is, also to one that
/// cannot be spoken with: both name both.
pub(super) async fn greet(
    wire: &mut Wire,
    heard: Heard,
    ours: &Hello,
    options: &HandoverOptions,
) -> Result<(), HandoverError> {
    if let Err(error @ HandoverError::Version { .. }) = heard {
        drop(wire.send_now(&Message::Hello(ours.clone()), &[]));
        return Err(error);
    }
    let (Message::Hello(theirs), _) = heard? else {
        return Err(HandoverError::Malformed("it did not say hello"));
    };
    let hello = Message::Hello(ours.clone());
    wire.send(&hello, &[], options.patience).await?;
    wire.say_goodbye(true);
    ours.fits(&theirs)
}

/// Sends the sockets, and waits until the new process is ready; the addresses that it goes on with.
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
    hooks::at("old: sockets sent");
    let taken = taken(wire, sockets, options).await?;
    // A new process that gave up waiting for an answer must find this one serving.
    if wire.has_hung_up() {
        return Err(HandoverError::Lost);
    }
    Ok(taken)
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
            return Err(HandoverError::Malformed(
                "it did not say which sockets it has",
            ));
        };
        count += taken.len();
        if count > sockets.len() {
            return Err(HandoverError::Malformed(
                "it took more sockets than were offered",
            ));
        }
        for number in taken {
            let socket = sockets.get(number as usize);
            let socket = socket.ok_or(HandoverError::Malformed(
                "it took a socket that was not offered",
            ))?;
            addresses.insert(socket.address.clone());
        }
        if !more {
            return Ok(addresses);
        }
        patience = options.patience;
    }
}

/// Says `draining`, with the lock and the path's listener, and closes this process's descriptors of
/// them: from now on, the new process is the one that lives there. If it is dead, the kernel
/// releases the lock.
///
/// If it cannot be said, for example for want of memory, the connection ends: the new process finds
/// the lock free, or this process keeping the sockets.
pub(super) fn give(wire: &mut Wire, lock: &mut Option<Lock>, listener: &mut Option<UnixListener>) {
    hooks::at("old: stopped");
    if let (Some(lock), Some(listener)) = (lock.take(), listener.take()) {
        wire.say_goodbye(false);
        let descriptors = [lock.fd().as_fd(), listener.as_fd()];
        if wire.send_now(&Message::Draining, &descriptors).is_err() {
            wire.hang_up();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn a_process_that_cannot_be_answered_finds_the_lock_free() {
        let name = format!("handover-give-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir(&folder).expect("a folder");
        let path = folder.join("edge.sock");
        let mut lock = Lock::try_get(&path).expect("a file");
        let listener = lock.as_ref().expect("it is free").listen(&path);
        let mut listener = Some(listener.expect("it is free"));
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let mut wire = Wire::new(ours).expect("the same user");
        // There is no room for an answer.
        while wire.send_now(&Message::Goodbye, &[]).is_ok() {}
        give(&mut wire, &mut lock, &mut listener);
        let mut heard = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(60), theirs.read_to_end(&mut heard));
        ended.await.expect("it ends").expect("in order");
        assert!(Lock::try_get(&path).expect("a file").is_some());
        drop((wire, std::fs::remove_dir_all(&folder)));
    }
}
