//! Times of a shutdown that can each be taken and that contradict each other: reported at load, not
//! refused.

use std::time::Duration;

use drain_tree::DrainSettings;
use listener_versions::FieldError;

use super::plan::usable;
use super::{ShutdownHealth, ShutdownPlan, ShutdownReason, ShutdownSettings};

impl ShutdownSettings {
    /// What contradicts itself, in a process that drains by `drains`, with paths as in
    /// `shutdown.lead_time`. Empty: nothing. Nothing of it is an error: what does not fit is cut.
    pub fn audit(&self, drains: &DrainSettings) -> Vec<FieldError> {
        let plan = ShutdownPlan::new(self, drains, ShutdownReason::ProcessShutdown);
        let mut found = vec![];
        let mut tell = |field: &str, message: String| {
            found.push(FieldError::new(format!("shutdown.{field}"), message));
        };
        let time = |duration: Duration| format!("{duration:?}");
        if let Some(deadline) = self.deadline {
            let usable = usable(deadline, drains);
            if deadline.is_zero() {
                tell("deadline", "0 closes every connection at once".to_owned());
            }
            if let Some(lead) = self.lead_time.filter(|lead| *lead > plan.lead_time) {
                let message = format!(
                    "{} is cut to {}, half of what a deadline of {} leaves: the drain needs the other half",
                    time(lead),
                    time(plan.lead_time),
                    time(deadline)
                );
                tell("lead_time", message);
            }
            if let Some(drain) = self.drain_time.filter(|drain| *drain > plan.drain_time) {
                let message = format!(
                    "{} after a lead time of {} does not fit into a deadline of {}, of which {} are kept for the end: it is cut \
                     to {}",
                    time(drain),
                    time(plan.lead_time),
                    time(deadline),
                    time(deadline.saturating_sub(usable)),
                    time(plan.drain_time)
                );
                tell("drain_time", message);
            }
        }
        if let Some(minimum) = self.minimum.filter(|minimum| *minimum > plan.drain_time) {
            let message = format!(
                "{} is longer than the drain time of {}, which ends the process",
                time(minimum),
                time(plan.drain_time)
            );
            tell("minimum", message);
        }
        if plan.accepting > plan.drain_time - plan.drain_time / 4 {
            let message = format!(
                "who is accepted after {} of a drain time of {} has hardly the time to finish",
                time(plan.accepting),
                time(plan.drain_time)
            );
            tell("accepting", message);
        }
        if self.health == ShutdownHealth::Unchanged && self.health_delay > Duration::ZERO {
            tell(
                "health_delay",
                "health does not change, so nothing waits for it".to_owned(),
            );
        }
        if self.health != ShutdownHealth::Unchanged
            && self.health_delay >= plan.total()
            && !plan.total().is_zero()
        {
            let message = format!(
                "{} is never reached: the drain is over after {}",
                time(self.health_delay),
                time(plan.total())
            );
            tell("health_delay", message);
        }
        found
    }
}
