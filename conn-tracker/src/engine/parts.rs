//! The groups that are counted in one shard, each with its counters there.

use super::{counters::Counters, groups::Group};
use std::sync::Arc;

/// One group's part in one shard.
pub(crate) struct Part {
    pub(crate) group: Arc<Group>,
    pub(crate) counters: Arc<Counters>,
}

/// The parts of one shard, by the index of their group. Most groups use few shards, so the places
/// are allocated a few at a time.
#[derive(Default)]
pub(crate) struct Parts(Vec<Option<Box<[Option<Part>; CHUNK]>>>);

const CHUNK: usize = 8;

/// In which chunk a group's part is, and where in it.
const fn place(group: u32) -> (usize, usize) {
    (group as usize / CHUNK, group as usize % CHUNK)
}

impl Parts {
    #[inline]
    pub(crate) fn get(&self, group: u32) -> Option<&Part> {
        let (chunk, at) = place(group);
        self.0.get(chunk)?.as_ref()?[at].as_ref()
    }

    /// The counters of `group` in this shard, with the number `shard`.
    #[inline]
    pub(crate) fn of(&mut self, group: &Arc<Group>, shard: usize) -> &Counters {
        let (chunk, at) = place(group.index);
        if self.0.len() <= chunk {
            self.grow(chunk);
        }
        let parts = self.0[chunk].get_or_insert_default();
        &parts[at].get_or_insert_with(|| made(group, shard)).counters
    }

    #[cold]
    fn grow(&mut self, chunk: usize) {
        self.0.resize_with(chunk + 1, || None);
    }

    pub(crate) fn remove(&mut self, group: u32) {
        let (chunk, at) = place(group);
        let Some(Some(parts)) = self.0.get_mut(chunk) else {
            return;
        };
        parts[at] = None;
        if parts.iter().all(Option::is_none) {
            self.0[chunk] = None;
        }
    }
}

#[cold]
fn made(group: &Arc<Group>, shard: usize) -> Part {
    Part {
        group: Arc::clone(group),
        counters: group.add_part(shard),
    }
}
