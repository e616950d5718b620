//! Which worker accepts on which socket of an address: all on the one that they share, or each on
//! its own, and never a socket without a worker while there is one.

/// The sockets of an address by number, and the workers by theirs. It opens and closes nothing.
#[derive(Debug)]
pub(super) struct Assignment {
    /// Whether each worker has a socket of its own; otherwise all accept on each.
    per_worker: bool,
    /// The worker that accepts on each socket; `None` if there is no worker. It means nothing if
    /// all accept on each.
    owners: Vec<Option<u64>>,
    workers: Vec<u64>,
}

impl Assignment {
    /// One socket, which waits for its first worker.
    pub(super) fn new(per_worker: bool) -> Self {
        Self {
            per_worker,
            owners: vec![None],
            workers: Vec::new(),
        }
    }

    /// One more socket, which waits for its first worker as well.
    pub(super) fn inherited(&mut self) {
        self.owners.push(None);
    }

    /// A worker comes. The first one takes every socket that there is. A later one takes one from a
    /// worker that has several, which has to look again then (`true`), or [needs a new
    /// one](Self::needs_socket).
    pub(super) fn join(&mut self, worker: u64) -> bool {
        if self.workers.contains(&worker) {
            return false;
        }
        self.workers.push(worker);
        if self.workers.len() == 1 {
            self.owners.fill(Some(worker));
            return false;
        }
        let spare = self
            .owners
            .iter()
            .rposition(|owner| owner.is_some_and(|owner| self.count(owner) > 1));
        if let Some(spare) = spare {
            self.owners[spare] = Some(worker);
        }
        spare.is_some()
    }

    /// Whether a socket has to be opened for this worker.
    pub(super) fn needs_socket(&self, worker: u64) -> bool {
        self.per_worker && self.workers.contains(&worker) && self.count(worker) == 0
    }

    /// The next socket is this worker's.
    pub(super) fn opened(&mut self, worker: u64) {
        self.owners.push(Some(worker));
    }

    /// A worker is gone. Its sockets stay, and go to the workers that have the fewest; `true`:
    /// these have to look.
    pub(super) fn leave(&mut self, worker: u64) -> bool {
        self.workers.retain(|other| *other != worker);
        let mut moved = false;
        for index in 0..self.owners.len() {
            if self.owners[index] == Some(worker) {
                let heir = self
                    .workers
                    .iter()
                    .copied()
                    .min_by_key(|heir| self.count(*heir));
                self.owners[index] = heir;
                moved |= heir.is_some();
            }
        }
        moved
    }

    /// The sockets on which this worker accepts.
    pub(super) fn of(&self, worker: u64) -> impl Iterator<Item = usize> + '_ {
        let shared = !self.per_worker;
        let sockets = self.owners.iter().enumerate();
        sockets
            .filter(move |(_, owner)| shared || **owner == Some(worker))
            .map(|(index, _)| index)
    }

    fn count(&self, worker: u64) -> usize {
        self.owners
            .iter()
            .filter(|owner| **owner == Some(worker))
            .count()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(assignment: &Assignment, worker: u64) -> Vec<usize> {
        assignment.of(worker).collect()
    }

    /// As a worker does it.
    fn join(assignment: &mut Assignment, worker: u64) {
        assignment.join(worker);
        if assignment.needs_socket(worker) {
            assignment.opened(worker);
        }
    }

    #[test]
    fn workers_share_the_one_socket() {
        let mut assignment = Assignment::new(false);
        for worker in 1..4 {
            join(&mut assignment, worker);
        }
        assert!((1..4).all(|worker| of(&assignment, worker) == [0]));
        assignment.leave(1);
        assert_eq!(of(&assignment, 2), [0]);
    }

    #[test]
    fn a_worker_that_goes_leaves_its_socket_to_another_and_one_that_comes_takes_it_over() {
        let mut assignment = Assignment::new(true);
        join(&mut assignment, 1);
        join(&mut assignment, 2);
        assert_eq!((of(&assignment, 1), of(&assignment, 2)), (vec![0], vec![1]));
        assert!(assignment.leave(1), "the other one has to look");
        assert_eq!(of(&assignment, 2), [0, 1]);
        assert!(assignment.join(3), "the other one has to look");
        assert_eq!((of(&assignment, 2), of(&assignment, 3)), (vec![0], vec![1]));
        assert!(assignment.leave(2));
        assert!(!assignment.leave(3), "no other worker is there");
        join(&mut assignment, 4);
        assert_eq!(of(&assignment, 4), [0, 1], "nothing waits without a worker");
    }

    proptest! {
        #[test]
        fn every_socket_has_one_worker_and_every_worker_a_socket(ops in prop::collection::vec((any::<bool>(), 0..6u64), 1..40)) {
            let mut assignment = Assignment::new(true);
            let mut present = std::collections::BTreeSet::new();
            let mut most = 1;
            for (come, worker) in ops {
                if come {
                    join(&mut assignment, worker);
                    present.insert(worker);
                } else {
                    assignment.leave(worker);
                    present.remove(&worker);
                }
                most = most.max(present.len());
                let mut served: Vec<usize> = present.iter().flat_map(|worker| of(&assignment, *worker)).collect();
                served.sort_unstable();
                if !present.is_empty() {
                    prop_assert_eq!(served, (0..assignment.owners.len()).collect::<Vec<_>>());
                }
                prop_assert!(present.iter().all(|worker| !of(&assignment, *worker).is_empty()));
                prop_assert!(assignment.owners.len() <= most, "as many as there were workers at once");
            }
        }
    }
}
