//! Where the sockets of a handover come from, and go to.

use std::collections::HashSet;
use std::io;

use crate::{Inherited, ListenAddress, SharedSocket};

/// Listening sockets that may change hands: those of one or several
/// [`Listeners`](crate::Listeners). A handover knows no more of them.
pub(crate) trait SocketSource {
    /// The old process: a descriptor of each listening socket. Until [`settle`](Self::settle), no
    /// socket is opened that is not among them, and closing one of them does not end listening.
    ///
    /// # Errors
    ///
    /// If the process has no file descriptors left. Nothing has happened then.
    fn share(&self) -> io::Result<Vec<SharedSocket>>;

    /// The new process: the addresses, among those that the old process offers, where this process
    /// goes on with the old process's sockets. Until [`settle`](Self::settle) the answer stays
    /// true.
    fn claim(&self, offered: &HashSet<ListenAddress>) -> HashSet<ListenAddress>;

    /// How it ended: once after each [`share`](Self::share) and each [`claim`](Self::claim).
    fn settle(&self, settled: Settled<'_>);
}

/// How a handover ended for one of the two processes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Settled<'a> {
    /// It came to nothing: everything is as it was before.
    Unchanged {
        /// What [`share`](SocketSource::share) said; nothing for the new process.
        shared: &'a [SharedSocket],
    },
    /// The old process: the new process goes on. This process stops accepting, at all of its
    /// addresses, and drains.
    Given {
        /// What [`share`](SocketSource::share) said.
        shared: &'a [SharedSocket],
        /// Where the new process accepts. Elsewhere this process ends listening, and serves what
        /// waits there.
        taken: &'a HashSet<ListenAddress>,
    },
    /// The new process: the sockets are this process's, which accepts from now on.
    Owned {
        /// Where a third one has the socket as well, such as systemd.
        kept: &'a HashSet<ListenAddress>,
    },
}

/// Says `Unchanged` when it is dropped, unless something else was said before.
pub(super) struct Unsettled<'a, S: SocketSource + ?Sized> {
    source: &'a S,
    shared: Vec<SharedSocket>,
    is_settled: bool,
}

impl<'a, S: SocketSource + ?Sized> Unsettled<'a, S> {
    /// With `more` sockets that are not the source's.
    pub(super) fn share(source: &'a S, more: &Inherited) -> io::Result<Self> {
        let shared = source.share()?;
        let mut unsettled = Self {
            source,
            shared,
            is_settled: false,
        };
        unsettled.shared.extend(more.descriptors()?);
        Ok(unsettled)
    }

    pub(super) fn claim(
        source: &'a S,
        offered: &HashSet<ListenAddress>,
    ) -> (Self, HashSet<ListenAddress>) {
        let claimed = source.claim(offered);
        let unsettled = Self {
            source,
            shared: Vec::new(),
            is_settled: false,
        };
        (unsettled, claimed)
    }

    pub(super) fn shared(&self) -> &[SharedSocket] {
        &self.shared
    }

    pub(super) fn given(mut self, taken: &HashSet<ListenAddress>) -> Vec<SharedSocket> {
        self.is_settled = true;
        let shared = std::mem::take(&mut self.shared);
        self.source.settle(Settled::Given {
            shared: &shared,
            taken,
        });
        shared
    }

    pub(super) fn owned(mut self, kept: &HashSet<ListenAddress>) {
        self.is_settled = true;
        self.source.settle(Settled::Owned { kept });
    }
}

impl<S: SocketSource + ?Sized> Drop for Unsettled<'_, S> {
    fn drop(&mut self) {
        if !self.is_settled {
            let shared = &self.shared;
            self.source.settle(Settled::Unchanged { shared });
        }
    }
}
