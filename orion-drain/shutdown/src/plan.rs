//! From what an operator said to every time of a shutdown: pure.

use std::time::Duration;

use drain_tree::DrainSettings;

use super::{ShutdownHealth, ShutdownReason, ShutdownSettings};

/// Every time of a shutdown, as it will be.
///
/// With a deadline D: a margin of D/10 (0.5 s at least, 5 s at most, and twice the close steps'
/// `drop_after`) is kept before the kill; the lead time is D/6 (15 s at most) if none was set, and
/// never more than half of what the margin leaves; the drain time is the rest, or less if less was
/// set.
///
/// | D | lead time | drain time | margin |
/// | --- | --- | --- | --- |
/// | 10 s | 1.667 s | 7.333 s | 1 s |
/// | 30 s | 5 s | 22 s | 3 s |
/// | 60 s | 10 s | 45 s | 5 s |
/// | 300 s | 15 s | 280 s | 5 s |
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShutdownPlan {
    /// From the beginning to the drain.
    pub lead_time: Duration,
    /// What health says.
    pub health: ShutdownHealth,
    /// When it says so, from the beginning.
    pub health_delay: Duration,
    /// From the drain's begin to its deadline.
    pub drain_time: Duration,
    /// How long the drain lasts at least.
    pub minimum: Duration,
    /// How long it goes on accepting.
    pub accepting: Duration,
    /// With how many connections it is over.
    pub exit_at_connections: usize,
    /// From the beginning to the deadline of the drain, however late that began: the deadline
    /// without its margin.
    pub limit: Option<Duration>,
}

/// What of a deadline is left for lead time and drain: the last steps of the drain, and the exit,
/// come after them.
pub(super) fn usable(deadline: Duration, drains: &DrainSettings) -> Duration {
    let margin = (deadline / 10).clamp(Duration::from_millis(500), Duration::from_secs(5));
    deadline.saturating_sub(margin.max(drains.close_steps.drop_after * 2))
}

impl ShutdownPlan {
    /// The plan of a process that drains by `drains` and ends for `reason`.
    ///
    /// [`ShutdownReason::HotRestart`] has a plan of its own: another process has the sockets, so
    /// there is nothing to wait for and no client to notify. It accepts no more and drains for the
    /// tree's drain time.
    pub fn new(
        settings: &ShutdownSettings,
        drains: &DrainSettings,
        reason: ShutdownReason,
    ) -> Self {
        if reason == ShutdownReason::HotRestart {
            return Self {
                lead_time: Duration::ZERO,
                health: ShutdownHealth::Unchanged,
                health_delay: Duration::ZERO,
                drain_time: drains.drain_time,
                minimum: Duration::ZERO,
                accepting: Duration::ZERO,
                exit_at_connections: 0,
                limit: None,
            };
        }
        let limit = settings.deadline.map(|deadline| usable(deadline, drains));
        let derived = settings.deadline.map_or(Duration::ZERO, |deadline| {
            (deadline / 6).min(Duration::from_secs(15))
        });
        let lead_time = settings.lead_time.unwrap_or(derived);
        let lead_time = limit.map_or(lead_time, |limit| lead_time.min(limit / 2));
        let drain_time = settings.drain_time.unwrap_or(drains.drain_time);
        let drain_time = limit.map_or(drain_time, |limit| drain_time.min(limit - lead_time));
        let minimum = settings
            .minimum
            .unwrap_or(drains.shutdown_minimum)
            .min(drain_time);
        let accepting = settings.accepting.unwrap_or(minimum.min(drain_time / 4));
        Self {
            lead_time,
            health: settings.health,
            health_delay: settings.health_delay,
            drain_time,
            minimum,
            accepting: accepting.min(drain_time),
            exit_at_connections: settings.exit_at_connections,
            limit,
        }
    }

    /// From the beginning to the drain's deadline.
    pub fn total(&self) -> Duration {
        self.lead_time.saturating_add(self.drain_time)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn plan(settings: &ShutdownSettings) -> ShutdownPlan {
        ShutdownPlan::new(
            settings,
            &DrainSettings::default(),
            ShutdownReason::ProcessShutdown,
        )
    }

    #[test]
    fn thirty_seconds_of_grace_are_five_of_lead_time_and_twenty_two_of_drain() {
        let plan = plan(&ShutdownSettings::default().with_deadline(seconds(30)));
        assert_eq!((plan.lead_time, plan.drain_time), (seconds(5), seconds(22)));
        assert_eq!(
            (plan.minimum, plan.accepting),
            (seconds(10), seconds(22) / 4)
        );
    }

    #[test]
    fn without_a_deadline_the_drain_begins_at_once_and_has_the_trees_time() {
        let plan = plan(&ShutdownSettings::default());
        assert_eq!(
            (plan.lead_time, plan.drain_time),
            (Duration::ZERO, seconds(600))
        );
        assert_eq!((plan.minimum, plan.accepting), (seconds(10), seconds(10)));
    }

    #[test]
    fn another_process_that_has_the_sockets_leaves_nothing_to_wait_for() {
        let settings = ShutdownSettings::default().with_deadline(seconds(30));
        let plan = ShutdownPlan::new(
            &settings,
            &DrainSettings::default(),
            ShutdownReason::HotRestart,
        );
        assert_eq!((plan.total(), plan.minimum), (seconds(600), Duration::ZERO));
        assert_eq!(plan.accepting, Duration::ZERO);
    }

    fn some() -> impl Strategy<Value = Option<Duration>> {
        proptest::option::of((0_u64..200_000).prop_map(Duration::from_millis))
    }

    proptest! {
        #[test]
        fn whatever_is_set_it_is_over_before_the_deadline(
            deadline in (0_u64..200_000).prop_map(Duration::from_millis),
            (lead, drain, minimum, accepting) in (some(), some(), some(), some()),
        ) {
            let settings = ShutdownSettings {
                deadline: Some(deadline), lead_time: lead, drain_time: drain, minimum, accepting, ..Default::default()
            };
            let plan = plan(&settings);
            prop_assert!(plan.total() <= usable(deadline, &DrainSettings::default()));
            prop_assert!(plan.minimum <= plan.drain_time && plan.accepting <= plan.drain_time);
            // A lead time that takes everything would leave connections no time to leave.
            prop_assert!(plan.lead_time <= usable(deadline, &DrainSettings::default()) / 2);
        }
    }
}
