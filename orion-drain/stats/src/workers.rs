//! What each worker counts of a listener. The listener's own numbers are their sum, so that a
//! connection is counted once.

use std::sync::OnceLock;

use super::{Counter, Gauge};

/// How many workers are found in one step.
const NEAR: usize = 64;

/// The connections of a listener by the worker that accepted them. Without locks; a worker's
/// numbers are made with its first connection.
#[derive(Debug)]
pub(super) struct Workers {
    near: [OnceLock<Box<OfWorker>>; NEAR],
    far: OnceLock<Box<Self>>,
}

/// `listener.<address>.worker_<number>.*`
#[derive(Debug, Default)]
pub(super) struct OfWorker {
    pub(super) downstream_cx_total: Counter,
    pub(super) downstream_cx_active: Gauge,
}

impl Default for Workers {
    fn default() -> Self {
        Self {
            near: [const { OnceLock::new() }; NEAR],
            far: OnceLock::new(),
        }
    }
}

impl Workers {
    pub(super) fn of(&self, worker: usize) -> &OfWorker {
        match self.near.get(worker) {
            Some(cell) => cell.get_or_init(Box::default),
            None => self.far.get_or_init(Box::default).of(worker - NEAR),
        }
    }

    /// Those that have accepted something, with their numbers.
    pub(super) fn each(&self, visit: &mut impl FnMut(usize, &OfWorker)) {
        self.each_from(0, visit);
    }

    fn each_from(&self, first: usize, visit: &mut impl FnMut(usize, &OfWorker)) {
        for (number, cell) in self.near.iter().enumerate() {
            if let Some(of) = cell.get() {
                visit(first + number, of);
            }
        }
        if let Some(far) = self.far.get() {
            far.each_from(first + NEAR, visit);
        }
    }

    pub(super) fn total(&self) -> u64 {
        let mut sum = 0;
        self.each(&mut |_, of| sum += of.downstream_cx_total.value());
        sum
    }

    pub(super) fn active(&self) -> u64 {
        let mut sum = 0;
        self.each(&mut |_, of| sum += of.downstream_cx_active.value());
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_workers_is_counted_apart() {
        let workers = Workers::default();
        for worker in [0, 1, NEAR - 1, NEAR, 3 * NEAR + 1] {
            workers.of(worker).downstream_cx_total.inc();
            workers.of(worker).downstream_cx_active.inc();
        }
        workers.of(NEAR).downstream_cx_active.dec();
        let mut seen = Vec::new();
        workers.each(&mut |worker, of| seen.push((worker, of.downstream_cx_active.value())));
        assert_eq!(
            seen,
            [(0, 1), (1, 1), (NEAR - 1, 1), (NEAR, 0), (3 * NEAR + 1, 1)]
        );
        assert_eq!((workers.total(), workers.active()), (5, 4));
    }
}
