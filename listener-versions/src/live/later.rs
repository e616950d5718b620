//! What an update has decided and is done with nothing locked, because code runs by it that is not
//! ours: callbacks of drains, the wakers of tasks, and what is dropped with them.

use std::sync::Arc;

use drain_tree::{DrainReason, DrainSequence, DrainWatch};
use tokio::sync::{mpsc, watch};

use super::driver::{DrainJob, Job, without_panic};
use super::inner::Locked;
use super::{Event, Inner, State};
use crate::net::{Acceptor, Listening};
use crate::{ListenerChain, ListenerConfig, ListenerVersion};

/// Done in the order in which it was decided, before the update returns.
pub(crate) enum Later<C> {
    /// The driver has something to run.
    Run(Job<C>),
    /// A worker has another address.
    Offer(mpsc::UnboundedSender<Acceptor<C>>, Acceptor<C>),
    /// Workers look at what is theirs of an address: it is closed, or whether they may open a
    /// socket has been decided. And a guard that nothing needs any more.
    Look(Arc<Listening<C>>, Option<DrainWatch>),
    /// Those who wait until a version is warm go on.
    LeaveWarming(watch::Sender<()>),
    /// The version's configuration has ended, and so do its tasks.
    End(Arc<ListenerVersion<C>>),
    /// Nothing needs the version any more.
    Unused(Arc<ListenerVersion<C>>),
    /// The version drains. It takes nothing new by now.
    Drain(Arc<ListenerVersion<C>>, DrainReason),
    /// The chain drains. It takes nothing new by now.
    DrainChain(Arc<ListenerChain>, DrainReason),
    /// The version's deadline comes nearer.
    Hurry(Arc<ListenerVersion<C>>, std::time::Instant),
}

/// What was done, to be written down.
enum Done<C> {
    Draining(Arc<ListenerVersion<C>>, DrainReason, DrainSequence),
    ChainDraining(Arc<ListenerChain>, DrainReason, DrainSequence),
    Hurried(Arc<ListenerVersion<C>>, std::time::Instant),
}

impl<C: ListenerConfig> Inner<C> {
    /// Unlocks the state, does what is left to do, and locks it again.
    pub(crate) fn do_later<'a>(&'a self, mut state: Locked<'a, C>) -> Locked<'a, C> {
        while !state.later.is_empty() {
            let later = std::mem::take(&mut state.later);
            drop(state);
            // A panic in code that is not ours concerns nothing else.
            let done = later
                .into_iter()
                .filter_map(|later| without_panic(|| self.do_now(later)).flatten());
            let done: Vec<_> = done.collect();
            state = self.lock();
            self.write_down(&mut state, done);
        }
        state
    }

    fn do_now(&self, later: Later<C>) -> Option<Done<C>> {
        let start = |reason| self.shared.options.drain_start(reason);
        match later {
            Later::Run(job) => self.run(job),
            // A worker that is gone gives its acceptor back by dropping it.
            Later::Offer(worker, acceptor) => drop(worker.send(acceptor)),
            Later::Look(listening, unused) => {
                listening.look_again();
                drop(unused);
            }
            Later::LeaveWarming(waited_for) => drop(waited_for),
            Later::End(version) => version.end(),
            Later::Unused(version) => drop(version),
            Later::Drain(version, reason) => {
                let sequence = version.drain().start_drain_sequence(start(reason));
                return Some(Done::Draining(version, reason, sequence));
            }
            Later::DrainChain(chain, reason) => {
                let sequence = chain.drain().start_drain_sequence(start(reason));
                return Some(Done::ChainDraining(chain, reason, sequence));
            }
            Later::Hurry(version, deadline) => {
                version.drain().bring_forward(deadline);
                return Some(Done::Hurried(version, deadline));
            }
        }
        None
    }

    /// The driver gets a drain after its start was written down, so that its end is reported later.
    fn write_down(&self, state: &mut State<C>, done: Vec<Done<C>>) {
        let mut draining = Vec::new();
        for done in done {
            match done {
                Done::Draining(version, reason, sequence) => {
                    let event = Event::DrainStarted(version.view(), reason);
                    state.events.push(event);
                    draining.push(Arc::clone(&version));
                    let job = DrainJob::Version { version, sequence };
                    state.later.push(Later::Run(Job::Drain(job)));
                }
                Done::ChainDraining(chain, reason, sequence) => {
                    let event = Event::ChainDrainStarted(Arc::clone(&chain), reason);
                    state.events.push(event);
                    let job = DrainJob::Chain { chain, sequence };
                    state.later.push(Later::Run(Job::Drain(job)));
                }
                // What was reaped meanwhile has been reported as drained.
                Done::Hurried(version, deadline) if state.live.contains_key(&version.number()) => {
                    let event = Event::Hurried(version.view(), deadline);
                    state.events.push(event);
                }
                Done::Hurried(..) => {}
            }
        }
        self.hurry(state, &draining);
    }

    /// Beyond the soft cap the oldest drains end earlier. None is forgotten, and none ends before
    /// the floor.
    fn hurry(&self, state: &mut State<C>, draining: &[Arc<ListenerVersion<C>>]) {
        let (options, now) = (&self.shared.options, tokio::time::Instant::now());
        // A floor that no clock can tell is never reached.
        let deadline = now.into_std().checked_add(options.floor);
        let (Some(cap), Some(deadline)) = (options.cap(), deadline) else {
            return;
        };
        for name in draining.iter().map(|version| version.name()) {
            for oldest in state.set.over_cap(name, cap) {
                let Some(version) = state.live.get(&oldest) else {
                    continue;
                };
                let now = version.drain().deadline();
                if now.is_none_or(|now| now > deadline) {
                    state
                        .later
                        .push(Later::Hurry(Arc::clone(version), deadline));
                }
            }
        }
    }
}
