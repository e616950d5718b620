//! The book in which the clients write what they see: one clock, one list of records, one list of
//! updates.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::record::{Class, Failure, How, Record, Saw, Updates};

/// All records of a run.
#[derive(Debug)]
pub(crate) struct Book {
    start: Instant,
    pages: Mutex<Pages>,
}

/// What is behind the lock.
#[derive(Debug)]
pub(crate) struct Pages {
    pub(crate) records: Vec<Record>,
    pub(crate) updates: Updates,
}

impl Book {
    /// An empty book; its clock starts now.
    pub(crate) fn new(drain_time: Duration) -> Arc<Self> {
        let updates = Updates {
            at: Vec::new(),
            drain_time,
        };
        Arc::new(Self {
            start: Instant::now(),
            pages: Mutex::new(Pages {
                records: Vec::new(),
                updates,
            }),
        })
    }

    /// The time since the start.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Looks at everything written so far.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Pages) -> T) -> T {
        look(&self.pages())
    }

    /// An update is being renamed into place now.
    pub(crate) fn updated(&self) {
        let now = self.now();
        self.pages().updates.at.push(now);
    }

    /// Begins the record of a connection.
    pub(crate) fn open(self: &Arc<Self>, class: Class) -> Entry {
        let opened = self.now();
        let mut pages = self.pages();
        pages.records.push(Record::new(class, opened));
        Entry {
            book: Arc::clone(self),
            index: pages.records.len() - 1,
        }
    }

    /// Whether an exchange of that length, begun now, ends well before the deadline of its version.
    ///
    /// A real client does not know deadlines. Those here that speak seldom, or for long, do, so
    /// that what they lose is the proxy's fault and not the known race between a request and the
    /// close of a silent connection (RFC 9112 section 9.5).
    pub(crate) fn in_time(&self, version: u32, takes: Duration) -> bool {
        const BEFORE_DEADLINE: Duration = Duration::from_millis(1250);
        let ends = self.now() + takes + BEFORE_DEADLINE;
        self.pages()
            .updates
            .deadline(version)
            .is_none_or(|deadline| ends < deadline)
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        // Nothing between lock and unlock leaves the pages half written.
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The record of one connection, written by its client. Dropping it says that the connection has
/// ended.
#[derive(Debug)]
#[must_use = "dropping it says the connection is gone"]
pub(crate) struct Entry {
    book: Arc<Book>,
    index: usize,
}

impl Entry {
    /// The book's clock.
    pub(crate) fn now(&self) -> Duration {
        self.book.now()
    }

    /// An exchange was answered completely and correctly.
    pub(crate) fn ok(&self) {
        self.write(|record| record.ok += 1);
    }

    /// That many further bytes were what they should be.
    pub(crate) fn verified(&self, bytes: u64) {
        self.write(|record| record.bytes += bytes);
    }

    /// The proxy said something, or the connection ended.
    pub(crate) fn saw(&self, saw: Saw) {
        let now = self.now();
        self.write(|record| {
            record.saw.push((now, saw));
            if matches!(saw, Saw::Fin | Saw::Reset | Saw::Left) {
                record.ended = Some(now);
            }
        });
    }

    /// A word that stays true once said is written once.
    pub(crate) fn saw_once(&self, saw: Saw) {
        if self
            .book
            .read(|pages| pages.records[self.index].when(|seen| seen == saw).is_none())
        {
            self.saw(saw);
        }
    }

    /// An exchange begun at `begun` failed now.
    pub(crate) fn failed(&self, begun: Duration, stream: Option<u32>, how: How) {
        let ended = self.now();
        self.write(|record| {
            record.failures.push(Failure {
                begun,
                ended,
                stream,
                how,
            })
        });
    }

    /// The connection said which version serves it. A connection never changes its version.
    pub(crate) fn version(&self, version: u32) {
        let now = self.now();
        self.write(|record| match record.version {
            None => record.version = Some(version),
            Some(first) if first == version => {}
            Some(first) => {
                let how = How::Wrong(format!(
                    "version changed from {first} to {version} on one connection"
                ));
                record.failures.push(Failure {
                    begun: now,
                    ended: now,
                    stream: None,
                    how,
                });
            }
        });
    }

    fn write(&self, write: impl FnOnce(&mut Record)) {
        write(&mut self.book.pages().records[self.index]);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let now = self.now();
        self.write(|record| {
            record.ended.get_or_insert(now);
        });
    }
}
