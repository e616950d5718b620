//! The shutdown as a pure machine: time, connections and requests come in, actions come out.
//!
//! ```text
//!  begin ── lead_time ──► Drain ── accepting ──► StopAccepting ── last connection, after the minimum ──► over
//!    └─ health_delay ──► not ready, FailHealth       └─ no more left than exit_at_connections ─► BringForward(now)
//! ```
//!
//! [`Machine::action`] says what is to be done now; `run.rs` does it, and waits until the next time
//! or change. A second request ([`Machine::end`]) ends it in every state.

use std::time::{Duration, Instant};

use drain_tree::DrainSettings;

use super::{
    NextShutdownStep, ShutdownHealth, ShutdownPlan, ShutdownProgress, ShutdownReason,
    ShutdownSettings, ShutdownState, ShutdownStep,
};

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Health checks fail from now on.
    FailHealth,
    /// The drain begins, for the time to this deadline.
    Drain { deadline: Instant },
    /// The sockets close.
    StopAccepting,
    /// The drain's deadline is now or comes nearer.
    BringForward(Instant),
}

#[derive(Debug)]
pub(super) struct Machine {
    settings: ShutdownSettings,
    drains: DrainSettings,
    state: ShutdownState,
    since: Option<Instant>,
    run: Option<Run>,
}

/// A shutdown that has begun.
#[derive(Debug)]
struct Run {
    reason: ShutdownReason,
    plan: ShutdownPlan,
    begun: Instant,
    is_ready: bool,
    is_health_told: bool,
    /// When the drain began.
    drain: Option<Instant>,
    is_accepting: bool,
    /// No more are left than [`exit_at_connections`](ShutdownSettings::exit_at_connections), at the
    /// last look.
    is_few: bool,
    /// The drain's deadline, once it is to be another than the plan's.
    nearer: Option<Instant>,
    /// Whether the drain has got it.
    is_nearer_told: bool,
}

impl Run {
    fn new(reason: ShutdownReason, plan: ShutdownPlan, now: Instant) -> Self {
        Self {
            reason,
            plan,
            begun: now,
            is_ready: true,
            is_health_told: false,
            drain: None,
            is_accepting: true,
            is_few: false,
            nearer: None,
            is_nearer_told: true,
        }
    }

    fn drain_at(&self) -> Instant {
        self.drain
            .unwrap_or_else(|| later(self.begun, self.plan.lead_time))
    }

    fn deadline(&self) -> Instant {
        let planned = later(self.drain_at(), self.plan.drain_time);
        let limit = self
            .plan
            .limit
            .map_or(planned, |limit| later(self.begun, limit));
        planned.min(limit).min(self.nearer.unwrap_or(planned))
    }

    fn hurry(&mut self, deadline: Instant) {
        if deadline < self.deadline() {
            self.nearer = Some(deadline);
            self.is_nearer_told = false;
        }
    }

    /// Every step to come that has a time.
    fn steps(&self) -> impl Iterator<Item = NextShutdownStep> {
        use ShutdownStep::{Deadline, Drain, Health, Minimum, StopAccepting};
        let at = self.drain_at();
        let health = !self.is_health_told && self.plan.health != ShutdownHealth::Unchanged;
        [
            (health, Health, later(self.begun, self.plan.health_delay)),
            (self.drain.is_none(), Drain, at),
            (
                self.is_accepting,
                StopAccepting,
                later(at, self.plan.accepting),
            ),
            (true, Minimum, later(at, self.plan.minimum)),
            (true, Deadline, self.deadline()),
        ]
        .into_iter()
        .filter_map(|(is_to_come, step, at)| is_to_come.then_some(NextShutdownStep { step, at }))
    }
}

impl Machine {
    pub(super) fn new(settings: ShutdownSettings, drains: DrainSettings) -> Self {
        Self {
            settings,
            drains,
            state: ShutdownState::Serving,
            since: None,
            run: None,
        }
    }

    pub(super) fn state(&self) -> ShutdownState {
        self.state
    }

    pub(super) fn reason(&self) -> Option<ShutdownReason> {
        self.run.as_ref().map(|run| run.reason)
    }

    pub(super) fn begun(&self) -> Option<Instant> {
        self.run.as_ref().map(|run| run.begun)
    }

    /// Why, and with which minimum, the drain begins.
    pub(super) fn drain(&self) -> Option<(ShutdownReason, Duration)> {
        self.run.as_ref().map(|run| (run.reason, run.plan.minimum))
    }

    pub(super) fn plan(&self, reason: ShutdownReason) -> ShutdownPlan {
        ShutdownPlan::new(&self.settings, &self.drains, reason)
    }

    fn reach(&mut self, state: ShutdownState, now: Instant) {
        if self.state != state && self.state != ShutdownState::Done {
            self.state = state;
            self.since = Some(now);
        }
    }

    /// Begins the shutdown. Begun again for the same reason, it goes on unchanged: a preStop hook
    /// and SIGTERM may both ask.
    ///
    /// A process that another one has replaced drains for that reason; the first request for
    /// another reason gives its drain the deadline that it would have had.
    pub(super) fn begin(&mut self, reason: ShutdownReason, now: Instant) {
        let plan = self.plan(reason);
        match &mut self.run {
            None if self.state == ShutdownState::Serving => {
                self.run = Some(Run::new(reason, plan, now));
                self.reach(ShutdownState::LeadTime, now);
            }
            Some(run)
                if run.reason == ShutdownReason::HotRestart
                    && reason != ShutdownReason::HotRestart =>
            {
                run.reason = reason;
                run.hurry(later(now, plan.drain_time));
            }
            // Its sockets have gone to another process: whatever it was doing, it drains now.
            Some(run)
                if reason == ShutdownReason::HotRestart
                    && run.reason != ShutdownReason::HotRestart =>
            {
                run.plan.lead_time = run
                    .plan
                    .lead_time
                    .min(now.saturating_duration_since(run.begun));
                (run.plan.accepting, run.plan.minimum) = (plan.accepting, plan.minimum);
            }
            None | Some(_) => {}
        }
    }

    /// It is over now.
    pub(super) fn end(&mut self, now: Instant) {
        self.reach(ShutdownState::Done, now);
    }

    /// Who is left, once the drain has begun.
    pub(super) fn count(&mut self, left: Left, now: Instant) {
        let Some(run) = &mut self.run else { return };
        let Some(drain) = run.drain else { return };
        let is_minimum_over = now >= later(drain, run.plan.minimum);
        // With no connection left at all there is nothing to hurry: the drain is over by itself.
        run.is_few = left.held <= run.plan.exit_at_connections;
        if is_minimum_over && run.is_few && left.total > 0 {
            run.hurry(now);
        }
        match left.is_empty {
            true if is_minimum_over => {}
            true => self.reach(ShutdownState::Minimum, now),
            false => self.reach(ShutdownState::Draining, now),
        }
    }

    /// What has to be known of connections now.
    pub(super) fn counts(&self, now: Instant) -> Counts {
        let drain = self.run.as_ref().and_then(|run| Some((run, run.drain?)));
        match drain {
            // Few enough, and it goes on: this has been seen to, or no connection is there.
            Some((run, drain)) if run.is_few || now < later(drain, run.plan.minimum) => {
                Counts::Empty
            }
            Some((run, _)) => Counts::AtMost(run.plan.exit_at_connections),
            None => Counts::Nothing,
        }
    }

    /// What is to be done at `now`; call again until there is nothing.
    pub(super) fn action(&mut self, now: Instant) -> Option<Action> {
        let run = self.run.as_mut()?;
        if self.state == ShutdownState::Done {
            return None;
        }
        if !run.is_health_told && now >= later(run.begun, run.plan.health_delay) {
            run.is_health_told = true;
            run.is_ready = run.plan.health == ShutdownHealth::Unchanged;
            if run.plan.health == ShutdownHealth::Failed {
                return Some(Action::FailHealth);
            }
        }
        if run.drain.is_none() && now >= run.drain_at() {
            run.drain = Some(now);
            let deadline = run.deadline();
            self.reach(ShutdownState::Draining, now);
            return Some(Action::Drain { deadline });
        }
        let drain = run.drain?;
        if run.is_accepting && now >= later(drain, run.plan.accepting) {
            run.is_accepting = false;
            return Some(Action::StopAccepting);
        }
        if !run.is_nearer_told {
            run.is_nearer_told = true;
            return run.nearer.map(Action::BringForward);
        }
        None
    }

    /// What happens next by time alone, after `now`.
    pub(super) fn next(&self, now: Instant) -> Option<NextShutdownStep> {
        let run = self
            .run
            .as_ref()
            .filter(|_| self.state != ShutdownState::Done)?;
        run.steps()
            .filter(|next| next.at > now)
            .min_by_key(|next| next.at)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.run.as_ref().is_none_or(|run| run.is_ready)
    }

    pub(super) fn progress(&self, now: Instant, connections: usize) -> ShutdownProgress {
        ShutdownProgress {
            state: self.state,
            since: self.since,
            reason: self.reason(),
            next: self.next(now),
            deadline: self.run.as_ref().map(Run::deadline),
            is_ready: self.is_ready(),
            connections,
        }
    }
}

/// `duration` after `instant`; a time that cannot be expressed is in 30 years.
fn later(instant: Instant, duration: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    instant
        .checked_add(duration)
        .unwrap_or_else(|| instant + duration.min(FAR))
}

/// Who is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    /// Whether no connection takes part in the drain any more.
    pub(super) is_empty: bool,
    /// The connections that are waited for.
    pub(super) held: usize,
    /// Those and the excluded ones: of the admin interface, of metrics.
    pub(super) total: usize,
}

/// What has to be known of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counts {
    Nothing,
    /// Whether there are any: of changes to and from none.
    Empty,
    /// When no more than so many are left that are waited for.
    AtMost(usize),
}

#[cfg(test)]
mod tests;
