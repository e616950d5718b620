//! Which worker accepts on which socket of an address: all on the one that they share, or each on its own, and never a socket
//! without a worker while there is one.

use crate::ReusePort;

/// The sockets of an address by number, and the workers by theirs. It opens and closes nothing.
#[derive(Debug)]
pub(super) struct Lanes {
    mode: ReusePort,
    /// Who accepts on each socket. Nobody, if there is no worker; in the shared mode it means nothing.
    holders: Vec<Option<u64>>,
    workers: Vec<u64>,
}

impl Lanes {
    /// One socket, which waits for its first worker.
    pub(super) fn new(mode: ReusePort) -> Self {
        Self {
            mode,
            holders: vec![None],
            workers: Vec::new(),
        }
    }

    /// One more socket, which waits for its first worker as well.
    pub(super) fn inherited(&mut self) {
        self.holders.push(None);
    }

    /// A worker comes. The first one takes every socket that there is; a later one takes one from who has several, in which case
    /// that one has to look again (`true`), or [needs a new one](Self::needs_socket).
    pub(super) fn join(&mut self, worker: u64) -> bool {
        if self.workers.contains(&worker) {
            return false;
        }
        self.workers.push(worker);
        if self.workers.len() == 1 {
            self.holders.fill(Some(worker));
            return false;
        }
        let spare = self
            .holders
            .iter()
            .rposition(|holder| holder.is_some_and(|holder| self.count(holder) > 1));
        if let Some(spare) = spare {
            self.holders[spare] = Some(worker);
        }
        spare.is_some()
    }

    /// Whether a socket has to be opened for this worker.
    pub(super) fn needs_socket(&self, worker: u64) -> bool {
        self.mode == ReusePort::PerWorker && self.workers.contains(&worker) && self.count(worker) == 0
    }

    /// The next socket is this worker's.
    pub(super) fn opened(&mut self, worker: u64) {
        self.holders.push(Some(worker));
    }

    /// A worker is gone. Its sockets stay, and go to those who have the fewest; `true`: they have to look.
    pub(super) fn leave(&mut self, worker: u64) -> bool {
        self.workers.retain(|other| *other != worker);
        let mut moved = false;
        for lane in 0..self.holders.len() {
            if self.holders[lane] == Some(worker) {
                let heir = self.workers.iter().copied().min_by_key(|heir| self.count(*heir));
                self.holders[lane] = heir;
                moved |= heir.is_some();
            }
        }
        moved
    }

    /// The sockets on which this worker accepts.
    pub(super) fn of(&self, worker: u64) -> impl Iterator<Item = usize> + '_ {
        let shared = self.mode == ReusePort::Shared;
        let lanes = self.holders.iter().enumerate();
        lanes
            .filter(move |(_, holder)| shared || **holder == Some(worker))
            .map(|(lane, _)| lane)
    }

    fn count(&self, worker: u64) -> usize {
        self.holders
            .iter()
            .filter(|holder| **holder == Some(worker))
            .count()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(lanes: &Lanes, worker: u64) -> Vec<usize> {
        lanes.of(worker).collect()
    }

    /// As a worker does it.
    fn join(lanes: &mut Lanes, worker: u64) {
        lanes.join(worker);
        if lanes.needs_socket(worker) {
            lanes.opened(worker);
        }
    }

    #[test]
    fn workers_share_the_one_socket() {
        let mut lanes = Lanes::new(ReusePort::Shared);
        for worker in 1..4 {
            join(&mut lanes, worker);
        }
        assert!((1..4).all(|worker| of(&lanes, worker) == [0]));
        lanes.leave(1);
        assert_eq!(of(&lanes, 2), [0]);
    }

    #[test]
    fn a_worker_that_goes_leaves_its_socket_to_another_and_one_that_comes_takes_it_over() {
        let mut lanes = Lanes::new(ReusePort::PerWorker);
        join(&mut lanes, 1);
        join(&mut lanes, 2);
        assert_eq!((of(&lanes, 1), of(&lanes, 2)), (vec![0], vec![1]));
        assert!(lanes.leave(1), "the other one has to look");
        assert_eq!(of(&lanes, 2), [0, 1]);
        assert!(lanes.join(3), "the other one has to look");
        assert_eq!((of(&lanes, 2), of(&lanes, 3)), (vec![0], vec![1]));
        assert!(lanes.leave(2));
        assert!(!lanes.leave(3), "nobody is there");
        join(&mut lanes, 4);
        assert_eq!(of(&lanes, 4), [0, 1], "nothing waits without a worker");
    }

    proptest! {
        #[test]
        fn every_socket_has_one_worker_and_every_worker_a_socket(ops in prop::collection::vec((any::<bool>(), 0..6u64), 1..40)) {
            let mut lanes = Lanes::new(ReusePort::PerWorker);
            let mut present = std::collections::BTreeSet::new();
            let mut most = 1;
            for (come, worker) in ops {
                if come {
                    join(&mut lanes, worker);
                    present.insert(worker);
                } else {
                    lanes.leave(worker);
                    present.remove(&worker);
                }
                most = most.max(present.len());
                let mut served: Vec<usize> = present.iter().flat_map(|worker| of(&lanes, *worker)).collect();
                served.sort_unstable();
                if !present.is_empty() {
                    prop_assert_eq!(served, (0..lanes.holders.len()).collect::<Vec<_>>());
                }
                prop_assert!(present.iter().all(|worker| !of(&lanes, *worker).is_empty()));
                prop_assert!(lanes.holders.len() <= most, "as many as there were workers at once");
            }
        }
    }
}
