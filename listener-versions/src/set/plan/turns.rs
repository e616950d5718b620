//! In which order the listeners of an update are looked at, and which are looked at again.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::SocketKey;

/// The turns of listeners, by their index in the update.
///
/// As in rounds through all of them, of which those are left out in which nothing has happened that
/// a listener waits for: so the number of looks does not grow with the square of the number of
/// listeners that wait for one another.
#[derive(Default)]
pub(super) struct Turns {
    /// Round and index.
    due: BTreeSet<(usize, usize)>,
    /// The round, and the first index that has not had its turn in it.
    now: (usize, usize),
    /// Those that wait.
    waiting: HashSet<usize>,
    /// The same, by the listener that has a socket which they want.
    by_owner: HashMap<Arc<str>, Vec<usize>>,
    /// The same, by the socket.
    by_socket: HashMap<SocketKey, Vec<usize>>,
}

impl Turns {
    /// The next one.
    pub(super) fn next(&mut self) -> Option<usize> {
        let (round, index) = self.due.pop_first()?;
        self.now = (round, index + 1);
        Some(index)
    }

    /// A new round begins, in which these have a turn.
    pub(super) fn begin(&mut self, indices: impl IntoIterator<Item = usize>) {
        self.now = (self.now.0 + 1, 0);
        let round = self.now.0;
        self.due
            .extend(indices.into_iter().map(|index| (round, index)));
    }

    /// The listener waits for these sockets, each with the listener that has it.
    pub(super) fn wait<'s>(
        &mut self,
        index: usize,
        sockets: impl Iterator<Item = (&'s SocketKey, Option<&'s Arc<str>>)>,
    ) {
        if !self.waiting.insert(index) {
            return;
        }
        for (socket, owner) in sockets {
            if let Some(owner) = owner {
                let waiting = self.by_owner.entry(Arc::clone(owner)).or_default();
                waiting.push(index);
            }
            let waiting = self.by_socket.entry(socket.clone()).or_default();
            waiting.push(index);
        }
    }

    /// A listener is decided, and has these sockets now: those that wait for what it had or has get
    /// another turn.
    pub(super) fn decided(&mut self, name: &Arc<str>, taken: &[SocketKey]) {
        let by_owner = self.by_owner.remove(name);
        let by_socket = taken
            .iter()
            .filter_map(|socket| self.by_socket.remove(socket));
        let waiting: Vec<_> = by_owner.into_iter().chain(by_socket).flatten().collect();
        let (round, first) = self.now;
        let turn = |index| (round + usize::from(index < first), index);
        self.due.extend(waiting.into_iter().map(turn));
    }
}
