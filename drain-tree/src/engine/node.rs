//! A node of the tree: its signal, what runs at it, what is below it.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Instant;

use drain_signal::{
    DrainCompleted, DrainDirection, DrainEnd, DrainEvent, DrainHandle, DrainSignal, DrainTrigger,
    DrainWatch, Draining, WatchOptions,
};
use drain_sync::{Mutex, MutexGuard, lock};
use slab::Slab;

use super::callbacks::{Callback, Callbacks};
use super::cascade;
use super::part::{Part, Unlisted};
use super::sequence::Sequence;
use crate::health::Health;
use crate::parent::ParentShutdownStart;
use crate::{DrainSettings, DrainType, TrafficDirection};

pub(crate) struct Node {
    pub(crate) signal: DrainSignal,
    pub(crate) drain_type: DrainType,
    pub(crate) traffic_direction: TrafficDirection,
    pub(crate) shared: Arc<Shared>,
    /// The parent, and the place among its children.
    parent: Option<(Weak<Self>, usize)>,
    unlisted: Arc<Unlisted>,
    state: Mutex<State>,
}

/// What the whole tree has in common.
pub(crate) struct Shared {
    pub(crate) settings: DrainSettings,
    pub(crate) health: Health,
    pub(crate) parent_shutdown: ParentShutdownStart,
}

pub(crate) struct State {
    drain: Drain,
    /// The sequences that reached this node: they cover it or, if not, maybe something below it.
    pub(crate) joined: Vec<Joined>,
    children: Slab<Weak<Node>>,
    pub(crate) callbacks: Callbacks,
}

/// A sequence as it is known at one node.
pub(crate) struct Joined {
    pub(crate) sequence: Arc<Sequence>,
    /// `None` if the node's traffic is not covered.
    part: Option<Arc<Part>>,
    /// Whether it was started here.
    pub(crate) is_origin: bool,
}

enum Drain {
    Ready(DrainTrigger),
    Begun(Draining),
    /// Only while the trigger is being used, under the lock.
    Starting,
}

/// With nothing locked, and without what is below.
impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("state", &self.signal.state())
            .field("drain_type", &self.drain_type)
            .field("traffic_direction", &self.traffic_direction)
            .finish_non_exhaustive()
    }
}

impl Node {
    pub(crate) fn root(shared: Arc<Shared>) -> Self {
        Self::new(
            shared,
            DrainType::Default,
            TrafficDirection::Unspecified,
            None,
        )
    }

    fn new(
        shared: Arc<Shared>,
        drain_type: DrainType,
        traffic_direction: TrafficDirection,
        parent: Option<(Weak<Self>, usize)>,
    ) -> Self {
        let (trigger, signal) = drain_signal::channel();
        let state = State {
            drain: Drain::Ready(trigger),
            joined: vec![],
            children: Slab::new(),
            callbacks: Callbacks::default(),
        };
        Self {
            signal,
            drain_type,
            traffic_direction,
            shared,
            parent,
            unlisted: Arc::new(Unlisted::new()),
            state: Mutex::new(state),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    // === watches ===

    /// Opens a watch, and sees to it that what drains this node looks at it (invariants 5 and 7).
    #[inline]
    pub(crate) fn watch(&self, options: WatchOptions) -> Result<DrainWatch, DrainCompleted> {
        if self.signal.is_draining() && self.unlisted.any() {
            self.catch_up();
        }
        let watch = self.signal.watch_with(options)?;
        // Asked of the watch, whose count has just gone up: see `part`.
        if !watch.is_draining() || !self.unlisted.any_after_opening() {
            return Ok(watch);
        }
        self.list(watch, options)
    }

    /// A watch was opened at a node that a sequence does not list.
    #[cold]
    #[inline(never)]
    fn list(&self, watch: DrainWatch, options: WatchOptions) -> Result<DrainWatch, DrainCompleted> {
        for (sequence, part) in self.covering() {
            let concerns = options.drained_by.covers(sequence.event.direction);
            // Where a wider drain goes on, the watch is under that one.
            if concerns && sequence.list(&part).is_err() && !part.is_widened(&sequence.event) {
                // The sequence is over, and was about to complete this node.
                part.draining.complete();
                drop(watch);
                return self.signal.watch_with(options);
            }
        }
        Ok(watch)
    }

    /// The drain of an empty node does not advance; a new watch's slot lies between now and the end
    /// of the window. Now is as of the last poll, which is a tick ago at most.
    #[cold]
    #[inline(never)]
    fn catch_up(&self) {
        let draining = self.lock().draining();
        let now = self
            .covering()
            .iter()
            .map(|(sequence, _)| sequence.now())
            .max();
        if let (Some(draining), Some(now)) = (draining, now) {
            draining.advance(now);
        }
    }

    /// The sequences that cover this node.
    fn covering(&self) -> Vec<(Arc<Sequence>, Arc<Part>)> {
        let state = self.lock();
        let covering = state.joined.iter();
        let covering =
            covering.filter_map(|joined| Some((&joined.sequence, joined.part.as_ref()?)));
        covering
            .map(|(sequence, part)| (Arc::clone(sequence), Arc::clone(part)))
            .collect()
    }

    pub(crate) fn open_watches(&self) -> usize {
        let mut open = 0;
        self.each_signal(|signal| open += signal.open_watches());
        open
    }

    /// The connections here and below that wait for their slot.
    pub(crate) fn waiting(&self) -> Vec<DrainHandle> {
        let mut waiting = vec![];
        self.each_signal(|signal| waiting.extend(signal.waiting()));
        waiting
    }

    /// Visits this node and every node below, with nothing locked.
    fn each_signal(&self, mut visit: impl FnMut(&DrainSignal)) {
        visit(&self.signal);
        let mut below = self.lock().children();
        while let Some(node) = below.pop() {
            visit(&node.signal);
            below.extend(node.lock().children());
        }
    }

    // === the tree ===

    /// A new node below this one, which takes part in what runs here.
    pub(crate) fn child(
        self: &Arc<Self>,
        drain_type: DrainType,
        traffic_direction: TrafficDirection,
    ) -> Arc<Self> {
        let (child, sequences) = {
            let mut state = self.lock();
            let entry = state.children.vacant_entry();
            let parent = Some((Arc::downgrade(self), entry.key()));
            let child = Arc::new(Self::new(
                Arc::clone(&self.shared),
                drain_type,
                traffic_direction,
                parent,
            ));
            entry.insert(Arc::downgrade(&child));
            let sequences = state
                .joined
                .iter()
                .map(|joined| Arc::clone(&joined.sequence));
            (child, sequences.collect::<Vec<_>>())
        };
        for sequence in sequences {
            // It has neither callbacks nor children yet.
            drop(child.join(&sequence));
        }
        let (own, inherited) = (self.signal.event(), child.signal.event());
        if let (Some(own), Some(inherited), Some(deadline)) =
            (own, inherited, self.signal.deadline())
        {
            // A nearer deadline of this node's drain is the child's too, but not that of a drain
            // which does not cover it.
            if own.start == inherited.start {
                child.bring_forward(deadline);
            }
        }
        child
    }

    /// Takes part in `sequence` (invariant 4). The callbacks that it covers, and the nodes below.
    pub(crate) fn join(&self, sequence: &Arc<Sequence>) -> (Vec<Callback>, Vec<Arc<Self>>) {
        let (part, callbacks, children) = {
            let mut state = self.lock();
            let part = state.join(self, sequence, false);
            let callbacks = state.callbacks.take(sequence.event.direction);
            (part, callbacks, state.children())
        };
        if let Some(part) = part {
            begun(sequence, &part);
        }
        (callbacks, children)
    }

    /// The deadline of what drains here and below comes nearer.
    pub(crate) fn bring_forward(self: &Arc<Self>, deadline: Instant) {
        let mut below = self.bring_own_forward(deadline);
        while let Some(node) = below.pop() {
            below.extend(node.bring_own_forward(deadline));
        }
    }

    /// The deadline of what drains at this node alone; the nodes below it, which are read after the
    /// deadline was written: a child reads it after it was added (invariant 3).
    fn bring_own_forward(self: &Arc<Self>, deadline: Instant) -> Vec<Arc<Self>> {
        let (draining, joined) = {
            let state = self.lock();
            let joined = state.joined.iter();
            let joined = joined.map(|joined| (Arc::clone(&joined.sequence), joined.is_origin));
            (state.draining(), joined.collect::<Vec<_>>())
        };
        for (sequence, is_origin) in joined {
            // A node that joins later takes the sequence's deadline.
            if is_origin && sequence.event.end == DrainEnd::Close {
                sequence.bring_forward(deadline);
            }
            // What a start has not reached yet would keep the old deadline (invariant 4).
            cascade::mark(&sequence, self, false, sequence.now());
        }
        if let Some(draining) = draining {
            draining.bring_forward(deadline);
        }
        self.lock().children()
    }
}

/// What is left to do, with nothing locked, for a node whose drain has begun.
fn begun(sequence: &Sequence, part: &Arc<Part>) {
    if sequence.event.direction == DrainDirection::All {
        // Nothing, unless a drain of inbound listeners runs here: then it becomes one of all
        // connections.
        part.draining.widen();
    }
    if sequence.event.end == DrainEnd::Close {
        // Read after the event was published: a deadline brought forward since then finds this node
        // begun.
        part.draining.bring_forward(sequence.deadline());
    }
    let is_over = sequence.is_over() || !part.is_empty() && sequence.list(part).is_err();
    if is_over {
        sequence.end_late(part);
    }
}

impl Drop for Node {
    /// Invariants 8 and 9.
    fn drop(&mut self) {
        let joined = std::mem::take(&mut self.lock().joined);
        for Joined { sequence, part, .. } in &joined {
            if let Some(part) = part {
                sequence.dismiss(part);
            }
        }
        if let Some((parent, place)) = &self.parent {
            if let Some(parent) = parent.upgrade() {
                let mut state = parent.lock();
                state.children.try_remove(*place);
                if state.children.is_empty() {
                    // What the most children at a time took is given back.
                    state.children = Slab::new();
                }
            }
        }
    }
}

impl State {
    fn draining(&self) -> Option<Draining> {
        match &self.drain {
            Drain::Begun(draining) => Some(draining.clone()),
            Drain::Ready(_) | Drain::Starting => None,
        }
    }

    fn children(&self) -> Vec<Arc<Node>> {
        let children = self.children.iter();
        children.filter_map(|(_, child)| child.upgrade()).collect()
    }

    /// The sequence that a start in `direction` that ends as `end` joins here.
    pub(crate) fn running(&self, direction: DrainDirection, end: DrainEnd) -> Option<&Joined> {
        let mut joined = self.joined.iter();
        joined.find(|joined| joined.sequence.covers(direction, end))
    }

    /// The node's part in `sequence`, which it joins if it has not done so; `None` if its traffic
    /// is not covered.
    pub(crate) fn join(
        &mut self,
        node: &Node,
        sequence: &Arc<Sequence>,
        is_origin: bool,
    ) -> Option<Arc<Part>> {
        let mut joined = self.joined.iter();
        if let Some(joined) = joined.find(|joined| Arc::ptr_eq(&joined.sequence, sequence)) {
            return joined.part.clone();
        }
        let is_covered = node
            .traffic_direction
            .is_covered_by(sequence.event.direction);
        let part = is_covered.then(|| {
            // Counted before the event is published: a watch that sees the one sees the other.
            node.unlisted.add();
            let draining = self.begin(&sequence.event);
            sequence.admit(draining, Arc::clone(&node.unlisted))
        });
        self.joined.push(Joined {
            sequence: Arc::clone(sequence),
            part: part.clone(),
            is_origin,
        });
        part
    }

    /// Begins the node's drain, unless it has begun. Under the lock: no waker is registered with a
    /// drain that has not begun.
    fn begin(&mut self, event: &DrainEvent) -> Draining {
        let draining = match std::mem::replace(&mut self.drain, Drain::Starting) {
            Drain::Ready(trigger) => trigger.start(event.clone()),
            Drain::Begun(draining) => draining,
            Drain::Starting => unreachable!("the state is locked from the replacement to its end"),
        };
        self.drain = Drain::Begun(draining.clone());
        draining
    }
}
