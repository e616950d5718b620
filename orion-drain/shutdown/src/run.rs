//! Runs the machine: waits for its times and for connections, and takes its steps.

use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use conn_tracker::ConnTracker;
use drain_tree::{DrainDirection, DrainManager, DrainOutcome, DrainSequence, DrainStart};
use futures_util::future::join_all;
use listener_versions::{ListenerConfig, Listeners};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::machine::{Action, Counts, Left, Machine};
use super::{ShutdownPlan, ShutdownProgress, ShutdownReason, ShutdownSettings, ShutdownState};

/// The handle of a shutdown: it begins the shutdown, ends it at once, and says how far it is.
/// Clones are handles of the same shutdown.
#[derive(Debug, Clone)]
pub struct Shutdown {
    shared: Arc<Shared>,
}

/// Takes the steps of a shutdown: [`run`](Self::run) it, from the start of the process on.
#[must_use = "no step of a shutdown is taken unless it is run"]
#[derive(Debug)]
pub struct ShutdownRun {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    root: DrainManager,
    tracker: ConnTracker,
    machine: Mutex<Machine>,
    state: watch::Sender<ShutdownState>,
    /// The run has something to look at.
    wished: Notify,
}

impl Shared {
    /// Nothing is left half-changed by a panic.
    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the machine, and notifies the tasks that wait for a state.
    fn change<T>(&self, change: impl FnOnce(&mut Machine, std::time::Instant) -> T) -> T {
        let now = Instant::now().into_std();
        let mut machine = self.lock();
        let value = change(&mut machine, now);
        self.tell(&machine);
        value
    }

    /// Under the machine's lock: states are published in their order.
    fn tell(&self, machine: &Machine) {
        let state = machine.state();
        self.state
            .send_if_modified(|told| std::mem::replace(told, state) != state);
    }
}

/// How a shutdown came to its end.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShutdownEnding {
    /// The drain is over; [`ShutdownOutcome::drain`] says how.
    Drained,
    /// [`Shutdown::end_now`] ended it before the drain was over.
    AtOnce,
}

/// What became of a shutdown.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShutdownOutcome {
    /// Why the process ends; `None` if it was ended at once before it was asked to drain.
    pub reason: Option<ShutdownReason>,
    /// How.
    pub ending: ShutdownEnding,
    /// From [`Shutdown::begin`] to the end, with the lead time.
    pub took: Duration,
    /// What became of the drain, if it came to its end.
    pub drain: Option<DrainOutcome>,
    /// How many connections are open now. They end with the process.
    pub left: usize,
}

impl Shutdown {
    /// A shutdown of everything below `root`, which has not begun yet. `tracker` has the
    /// connections that it waits for. [`ShutdownRun::run`] must be polled from now on.
    pub fn new(
        root: &DrainManager,
        tracker: &ConnTracker,
        settings: ShutdownSettings,
    ) -> (Self, ShutdownRun) {
        let shared = Arc::new(Shared {
            root: root.clone(),
            tracker: tracker.clone(),
            machine: Mutex::new(Machine::new(settings, root.settings().clone())),
            state: watch::Sender::new(ShutdownState::Serving),
            wished: Notify::new(),
        });
        let run = ShutdownRun {
            shared: Arc::clone(&shared),
        };
        (Self { shared }, run)
    }

    /// Begins the shutdown. Begun again for the same reason, it goes on unchanged: a preStop hook
    /// and SIGTERM may both begin it. A program that wants a second signal to end it at once calls
    /// [`end_now`](Self::end_now) then.
    ///
    /// Two reasons are no repetition: a process that drains because another one has replaced it is
    /// asked to end, and gets the deadline of that shutdown if it is nearer; or a process that is
    /// ending is replaced as well, and accepts no more.
    pub fn begin(&self, reason: ShutdownReason) {
        self.shared
            .change(|machine, now| machine.begin(reason, now));
        self.shared.wished.notify_one();
    }

    /// The shutdown is over now, in whatever state it is; also before it has begun. For
    /// `/quitquitquit`, and for the process that has replaced this one and wants it gone: Envoy's
    /// [`--parent-shutdown-time-s`](https://www.envoyproxy.io/docs/envoy/latest/operations/cli#cmdoption-parent-shutdown-time-s).
    pub fn end_now(&self) {
        self.shared.change(Machine::end);
        self.shared.wished.notify_one();
    }

    /// Whether traffic should come here: no from [`health_delay`](ShutdownSettings::health_delay)
    /// on.
    ///
    /// For `/ready`, together with [`DrainManager::health_failed`].
    pub fn is_ready(&self) -> bool {
        self.shared.lock().is_ready()
    }

    /// The times that a shutdown for this reason has, or will have.
    pub fn plan(&self, reason: ShutdownReason) -> ShutdownPlan {
        self.shared.lock().plan(reason)
    }

    /// How far the process is: serving, lead time, draining, minimum or done.
    pub fn state(&self) -> ShutdownState {
        *self.shared.state.borrow()
    }

    /// How far the shutdown is: its state, what comes next and when, its deadline, and how many
    /// connections are open.
    pub fn progress(&self) -> ShutdownProgress {
        let connections = self.shared.tracker.len();
        let now = Instant::now().into_std();
        self.shared.lock().progress(now, connections)
    }

    /// Waits until the process has reached `state`, or a later one.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again at any time.
    pub async fn reached(&self, state: ShutdownState) {
        let mut told = self.shared.state.subscribe();
        // The sender lives as long as this handle.
        told.wait_for(|now| *now >= state).await.ok();
    }
}

impl ShutdownRun {
    /// Waits until [`Shutdown::begin`] is called, takes the steps of the shutdown, and resolves
    /// when the process may exit.
    ///
    /// `stop_accepting` is called once, when the sockets are to close; also if the drain is over
    /// before.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it takes no further step: a process that has become unready stays so, and a drain
    /// that has begun stays begun, is not paced, and has no deadline, until it is
    /// [joined](DrainManager::start_drain_sequence).
    ///
    /// # Panics
    ///
    /// When polled outside a tokio runtime with time enabled.
    pub async fn run(self, stop_accepting: impl FnOnce() + Send) -> ShutdownOutcome {
        let mut stop_accepting = Some(stop_accepting);
        let mut stop = || {
            if let Some(stop) = stop_accepting.take() {
                stop();
            }
        };
        let mut drain = None;
        let drained = loop {
            let wished = self.shared.wished.notified();
            while let Some(action) = self.look(drain.as_deref()) {
                match action {
                    Action::StopAccepting => stop(),
                    action => self.take(action, &mut drain),
                }
            }
            if self.shared.lock().state() == ShutdownState::Done {
                break None;
            }
            let (at, counts) = self.next();
            tokio::select! {
                biased;
                () = wished => {}
                over = drained(&mut drain, counts) => {
                    if over.is_some() {
                        break over;
                    }
                }
                () = few(&self.shared.tracker, counts) => {}
                () = until(at) => {}
            }
        };
        if drained.is_some() {
            stop();
        }
        self.outcome(drained)
    }

    /// Gives the machine the connections that are left; what is to be done now.
    fn look(&self, drain: Option<&DrainSequence>) -> Option<Action> {
        let left = drain.map(|drain| {
            let counts = self.shared.tracker.counts();
            Left {
                is_empty: drain.is_empty(),
                held: counts.awaited as usize,
                total: counts.total as usize,
            }
        });
        let now = Instant::now().into_std();
        let mut machine = self.shared.lock();
        if let Some(left) = left {
            machine.count(left, now);
        }
        let action = machine.action(now);
        // A task that sees a state finds its actions done: published before, a response could go
        // out in between.
        if action.is_none() {
            self.shared.tell(&machine);
        }
        action
    }

    fn take(&self, action: Action, drain: &mut Option<Pin<Box<DrainSequence>>>) {
        let root = &self.shared.root;
        match action {
            Action::FailHealth => root.fail_health(),
            Action::Drain { deadline } => {
                let Some((reason, minimum)) = self.shared.lock().drain() else {
                    return;
                };
                let time = deadline.saturating_duration_since(Instant::now().into_std());
                let start = DrainStart::new(reason.into())
                    .with_drain_time(time)
                    .with_minimum(minimum);
                *drain = Some(Box::pin(root.start_drain_sequence(start)));
                // One that was on already may have had more time.
                root.bring_forward(deadline);
            }
            Action::BringForward(deadline) => root.bring_forward(deadline),
            Action::StopAccepting => {}
        }
    }

    /// When to look again at the latest, and what the number of connections matters till then.
    fn next(&self) -> (Option<Instant>, Counts) {
        let now = Instant::now();
        let machine = self.shared.lock();
        let at = machine
            .next(now.into_std())
            .map(|next| Instant::from_std(next.at));
        (at, machine.counts(now.into_std()))
    }

    fn outcome(&self, drain: Option<DrainOutcome>) -> ShutdownOutcome {
        self.shared.change(Machine::end);
        let machine = self.shared.lock();
        let now = Instant::now().into_std();
        ShutdownOutcome {
            reason: machine.reason(),
            ending: match drain {
                Some(_) => ShutdownEnding::Drained,
                None => ShutdownEnding::AtOnce,
            },
            took: machine
                .begun()
                .map_or(Duration::ZERO, |begun| now.saturating_duration_since(begun)),
            drain,
            left: self.shared.tracker.len(),
        }
    }
}

/// Paces the drain. Resolves with its outcome, or without when the first
/// connection has come or the last one has gone.
async fn drained(
    drain: &mut Option<Pin<Box<DrainSequence>>>,
    counts: Counts,
) -> Option<DrainOutcome> {
    let Some(drain) = drain else {
        return pending().await;
    };
    let was_empty = drain.is_empty();
    poll_fn(|cx| {
        if let Poll::Ready(outcome) = drain.as_mut().poll(cx) {
            return Poll::Ready(Some(outcome));
        }
        // A node's first connection, and its last, wake the sequence.
        match counts {
            Counts::Empty if was_empty != drain.is_empty() => Poll::Ready(None),
            _ => Poll::Pending,
        }
    })
    .await
}

/// Resolves when few enough are left.
async fn few(tracker: &ConnTracker, counts: Counts) {
    match counts {
        Counts::AtMost(few) => tracker.wait_at_most(few as u64).await,
        Counts::Nothing | Counts::Empty => pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => pending().await,
    }
}

/// Ends a process that serves these listeners: the whole shutdown in one call. Resolves when it may
/// exit.
///
/// # Cancel safety
///
/// As [`ShutdownRun::run`].
///
/// # Panics
///
/// As [`ShutdownRun::run`].
///
/// # Examples
///
/// ```
/// # use listener_versions::{ListenerConfig, Listeners};
/// use orion_drain_shutdown::{ShutdownSettings, shut_down};
///
/// # async fn example<C: ListenerConfig>(listeners: Listeners<C>, mut sigterm: tokio::sync::mpsc::Receiver<()>) {
/// sigterm.recv().await;
/// let outcome = shut_down(&listeners, ShutdownSettings::default()).await;
/// println!("{} connections left after {:?}", outcome.left, outcome.took);
/// # }
/// ```
pub async fn shut_down<C: ListenerConfig>(
    listeners: &Listeners<C>,
    settings: ShutdownSettings,
) -> ShutdownOutcome {
    let (shutdown, run) = Shutdown::new(listeners.root(), listeners.tracker(), settings);
    shutdown.begin(ShutdownReason::ProcessShutdown);
    run.run(|| drop(listeners.stop_listeners(DrainDirection::All)))
        .await
}

/// The same for a program that shares nothing between its runtimes, and has [`Listeners`] for each
/// of them: all begin at once, and it resolves when the last one may exit. The outcomes are in the
/// order of `listeners`.
///
/// # Cancel safety
///
/// As [`ShutdownRun::run`].
///
/// # Panics
///
/// As [`ShutdownRun::run`].
pub async fn shut_down_all<C: ListenerConfig>(
    listeners: &[Listeners<C>],
    settings: ShutdownSettings,
) -> Vec<ShutdownOutcome> {
    let each = listeners.iter();
    join_all(each.map(|listeners| shut_down(listeners, settings.clone()))).await
}
