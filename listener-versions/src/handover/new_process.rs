//! The new process after it was sent the sockets: it configures itself, says that it is ready, and
//! hears that the old one has stopped.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::time::sleep;

use super::message::Message;
use super::path::Lock;
use super::predecessor::Predecessor;
use super::seek::{Answer, Found, seek};
use super::source::{SocketSource, Unsettled};
use super::taking::{Taking, TakingAction, TakingEvent};
use super::{HandoverError, HandoverOptions, Offer, hooks, path};
use crate::{Inherited, ListenAddress};

/// How often, and after how long, a process looks again for a path that is gone.
const LOOKS: usize = 5;
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// This process has the sockets of one that still serves.
#[derive(Debug)]
pub(super) struct NewProcess {
    taking: Taking,
    path: PathBuf,
    options: HandoverOptions,
    answer: Box<Answer>,
    /// What [`take`](Self::take) has given out.
    taken: HashSet<ListenAddress>,
}

impl NewProcess {
    pub(super) fn new(
        taking: Taking,
        path: &Path,
        options: &HandoverOptions,
        answer: Box<Answer>,
    ) -> Self {
        Self {
            taking,
            path: path.to_owned(),
            options: options.clone(),
            answer,
            taken: HashSet::new(),
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.answer.pid
    }

    pub(super) fn take(&mut self, address: &ListenAddress) -> Option<OwnedFd> {
        let socket = self.answer.sockets.remove(address)?;
        self.taken.insert(address.clone());
        Some(socket)
    }

    pub(super) fn sockets(&mut self) -> Inherited {
        std::mem::replace(&mut self.answer.sockets, Inherited::undecided())
    }

    /// See [`Takeover::serving`](super::Takeover::serving).
    pub(super) async fn serving<S: SocketSource + ?Sized>(
        mut self,
        source: &S,
    ) -> Result<Offer, HandoverError> {
        self.can_be_found().await?;
        let offered = self.offered();
        let (unsettled, mut claimed) = Unsettled::claim(source, &offered);
        claimed.extend(self.taken.iter().cloned());
        let mut kept = self.answer.kept.clone();
        let mut action = self.taking.on(TakingEvent::Configured);
        let mut is_alone = false;
        let (lock, listener) = loop {
            debug_assert_eq!(action, TakingAction::SayDrain);
            let event = match self.drain(&claimed).await {
                Ok(Some((lock, listener))) => {
                    self.taking.on(TakingEvent::Draining);
                    break (lock, listener);
                }
                Ok(None) => TakingEvent::Goodbye,
                Err(HandoverError::Lost) => TakingEvent::Ended,
                Err(error) => return Err(error),
            };
            if self.taking.on(event) == TakingAction::Fail {
                return Err(HandoverError::Lost);
            }
            let owner = Some(self.answer.hello.owner);
            match seek(&mut self.taking, &self.path, &self.options, owner).await? {
                Found::NoProcess(lock) => {
                    is_alone = true;
                    // That it cannot be found is no reason not to serve. `Offer::next` tries again,
                    // and says why.
                    let listener = lock.listen(&self.path).ok();
                    break (lock, listener);
                }
                Found::Process(answer) => {
                    // Its sockets are those that this process has already: other descriptors of
                    // them.
                    self.adopt(answer);
                    kept.extend(self.answer.kept.iter().cloned());
                    action = TakingAction::SayDrain;
                }
            }
        };
        unsettled.owned(&kept);
        Ok(self.owner(is_alone, lock, listener))
    }

    /// Nothing else may have come to the path if the old process lives: a path that was removed is
    /// made anew by the process that serves. If the old process is dead, the lock decides who
    /// listens there.
    async fn can_be_found(&self) -> Result<(), HandoverError> {
        for _ in 0..LOOKS {
            if path::can_be_listened_at(&self.path) || self.answer.wire.has_hung_up() {
                return Ok(());
            }
            // The process that keeps a dead one's sockets may be about to listen there.
            sleep(LOOK_AGAIN).await;
        }
        let path = self.path.clone();
        Err(HandoverError::Moved { path })
    }

    /// Where the old process offers a socket, except where this process has not looked at it.
    fn offered(&self) -> HashSet<ListenAddress> {
        let unused: HashSet<_> = self.answer.sockets.addresses().collect();
        let offered = self.answer.offered.iter();
        offered
            .filter(|address| !unused.contains(address))
            .cloned()
            .collect()
    }

    fn adopt(&mut self, mut answer: Box<Answer>) {
        answer.hello.epoch = answer.hello.epoch.max(self.answer.hello.epoch);
        answer.since = answer.since.min(self.answer.since);
        self.answer = answer;
    }

    /// Says that this process is ready, and hears that the other one has stopped; `None`: it lives,
    /// and goes on.
    async fn drain(
        &mut self,
        claimed: &HashSet<ListenAddress>,
    ) -> Result<Option<(Lock, Option<UnixListener>)>, HandoverError> {
        let Answer { wire, offered, .. } = &mut *self.answer;
        let numbered = offered.iter().zip(0_u32..);
        let taken: Vec<u32> = numbered
            .filter(|(address, _)| claimed.contains(address))
            .map(|(_, number)| number)
            .collect();
        let patience = self.options.patience;
        // For the two descriptors of the answer, without which the old process would have stopped
        // in vain.
        let room = [wire.descriptor()?, wire.descriptor()?];
        for message in Message::drain(&taken) {
            match wire.send(&message, &[], patience).await {
                // What it has said before its end says whether it lives.
                Ok(()) | Err(HandoverError::Lost) => {}
                Err(error) => return Err(error),
            }
        }
        hooks::at("new: drain said");
        wire.readable(patience).await?;
        drop(room);
        let (message, fds) = wire.receive(patience).await?;
        if message == Message::Goodbye {
            return Ok(None);
        }
        let (Message::Draining, Ok([lock, listener])) = (message, <[OwnedFd; 2]>::try_from(fds))
        else {
            return Err(HandoverError::Malformed("it did not say that it drains"));
        };
        // Without a listener, the next process cannot find this one. `Offer::next` tries again.
        Ok(Some((Lock::given(lock), path::given(listener).ok())))
    }

    fn owner(self, is_alone: bool, lock: Lock, listener: Option<UnixListener>) -> Offer {
        let Answer {
            wire,
            pid,
            hello,
            since,
            ..
        } = *self.answer;
        let wire = Some(wire).filter(|_| !is_alone);
        // Without a descriptor left, the connection ends with the predecessor. The lock says then
        // that this process lives.
        let connection = wire.as_ref().and_then(|wire| wire.descriptor().ok());
        let connection = connection.map(Arc::new);
        let row = (hello.epoch.saturating_add(1), since);
        let predecessor = Predecessor::new(wire, Some(pid), &self.options, connection.clone());
        let offer = Offer::new(&self.path, row, connection, (lock, listener));
        let mut offer = offer.after(predecessor);
        // `Offer::next` tries again, and says why.
        drop(offer.own());
        offer
    }
}
