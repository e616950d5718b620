//! The new process's side: it asks, configures itself, and says that it is ready.

use std::os::fd::OwnedFd;
use std::path::Path;

use super::new_process::NewProcess;
use super::seek::{Found, seek};
use super::taking::Taking;
use super::{HandoverError, HandoverOptions, Offer};
use crate::{Inherited, ListenAddress, ListenerConfig, Listeners};

/// A process that begins: with the sockets of the process that serves at the path or, if there is
/// none, with none.
///
/// Dropping it leaves the old process serving, and this one must not accept on any of its sockets.
/// Without an old process, dropping it ends the [`Offer`] at the path.
#[derive(Debug)]
#[must_use = "the old process serves until this one is serving"]
pub struct Takeover(Begun);

#[derive(Debug)]
enum Begun {
    /// No process serves at the path. The next one finds this one.
    Afresh(Box<Offer>),
    /// Another process serves, and has sent its sockets.
    After(Box<NewProcess>),
}

/// Asks the process at this path for its sockets, or begins afresh if there is none. Of two
/// processes that begin afresh at the same moment, one does, and the other one asks it.
///
/// # Errors
///
/// [`HandoverError`]: a process is there, and does not hand over. It goes on serving, so this
/// process should end. Or the path cannot be listened on: see [`Offer::bind`].
///
/// # Cancel safety
///
/// Dropped, the old process goes on.
pub async fn start(path: &Path, options: &HandoverOptions) -> Result<Takeover, HandoverError> {
    let mut taking = Taking::Looking { ready: false };
    let begun = match seek(&mut taking, path, options, None).await? {
        Found::NoProcess(lock) => Begun::Afresh(Box::new(Offer::first(lock, path)?)),
        Found::Process(answer) => {
            Begun::After(Box::new(NewProcess::new(taking, path, options, answer)))
        }
    };
    Ok(Takeover(begun))
}

/// As [`start`]; `None` if there is no process. Nothing keeps another one from starting afresh
/// until [`Offer::bind`].
///
/// # Errors
///
/// As [`start`].
///
/// # Cancel safety
///
/// As [`start`].
pub async fn take_over(
    path: &Path,
    options: &HandoverOptions,
) -> Result<Option<Takeover>, HandoverError> {
    let mut taking = Taking::Looking { ready: false };
    match seek(&mut taking, path, options, None).await? {
        Found::NoProcess(_) => Ok(None),
        Found::Process(answer) => {
            let new = NewProcess::new(taking, path, options, answer);
            Ok(Some(Takeover(Begun::After(Box::new(new)))))
        }
    }
}

impl Takeover {
    /// The process number of the old process, as the kernel knows it; `None` if there is no old
    /// process.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        match &self.0 {
            Begun::Afresh(_) => None,
            Begun::After(new) => Some(new.pid()),
        }
    }

    /// One of its sockets for a use of its own, such as an admin port's. This process says that it
    /// goes on with it.
    pub fn take(&mut self, address: &ListenAddress) -> Option<OwnedFd> {
        match &mut self.0 {
            Begun::Afresh(_) => None,
            Begun::After(new) => new.take(address),
        }
    }

    /// The others, for [`Listeners::inherit`](crate::Listeners::inherit); the second time, none. If
    /// there is an old process, no worker accepts on anything before [`serving`](Self::serving) has
    /// returned.
    pub fn sockets(&mut self) -> Inherited {
        match &mut self.0 {
            Begun::Afresh(_) => Inherited::new(),
            Begun::After(new) => new.sockets(),
        }
    }

    /// This process is configured, and has its sockets in `listeners`, one or several: the old one
    /// stops accepting, and drains. When this returns, the
    /// sockets are this process's alone; those that no listener wants are closed, after the old
    /// process has served what waited there. The next process finds this one at the same path.
    /// Updates of the listeners wait meanwhile. Without an old process, this returns at once.
    ///
    /// If the old process dies meanwhile, this one serves; or, if another one keeps the sockets by
    /// then, asks that one.
    ///
    /// What a third process kept while the old process had it, such as the socket of a systemd
    /// unit, is kept still: closing it does not end listening.
    ///
    /// # Errors
    ///
    /// [`HandoverError`]: the old process goes on serving, or keeps the sockets for another one.
    /// This one should end.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it returns, this process must not accept. The old process goes on, or, if it
    /// has stopped by then, keeps the sockets for another one, as if this process had died.
    pub async fn serving<C: ListenerConfig>(
        self,
        listeners: &(impl AsRef<[Listeners<C>]> + ?Sized),
    ) -> Result<Offer, HandoverError> {
        match self.0 {
            Begun::Afresh(offer) => Ok(*offer),
            Begun::After(new) => new.serving(listeners.as_ref()).await,
        }
    }
}
