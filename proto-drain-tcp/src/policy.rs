//! What a TCP connection does at each point of a drain, as pure functions: no clock, no socket.

use std::time::Duration;

/// When a TCP connection of a draining listener is closed.
///
/// TCP has no in-band goodbye: the only words are FIN and RST. So the question is when a close does
/// least harm, and only the operator knows which protocol runs inside. Whatever the policy, the
/// deadline closes what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum TcpDrainPolicy {
    /// Leave the connection alone until the deadline (default; Envoy's `tcp_proxy` default).
    ///
    /// Shortly before the deadline, when the driver calls
    /// [`finish`](drain_signal::GracefulClose::finish), a copy that is quiet closes at a moment
    /// when every byte taken has been delivered, instead of being cut with all others at the
    /// deadline ([envoy#44419](https://github.com/envoyproxy/envoy/issues/44419)).
    #[default]
    UntilDeadline,
    /// After each chunk, in either direction, ask the
    /// [`DrainDecision`](drain_signal::DrainDecision) whether to leave (Envoy's
    /// `check_drain_close`, [envoy#44567](https://github.com/envoyproxy/envoy/pull/44567)).
    ///
    /// Envoy loses a request chunk that triggers the close; here it is delivered first. A silent
    /// connection is never asked: it stays until the deadline, as under
    /// [`UntilDeadline`](Self::UntilDeadline).
    CheckOnData,
    /// From its slot on, close as soon as nothing has moved in either direction for this long.
    ///
    /// Counted from the slot at the earliest. A connection of which one side has ended its half is
    /// not quiet: that side waits for the rest of an answer. Nor is one whose upstream has not
    /// answered the last bytes; a client that only sends stays until the deadline.
    WhenQuiet(Duration),
    /// Close at the connection's slot: deliver what was taken, then FIN.
    AtSlot,
}

/// How far a drain has come for one connection. A connection goes through these in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum DrainPoint {
    /// No drain, or this connection's slot has not come.
    #[default]
    Open,
    /// The slot has come.
    Signaled,
    /// The deadline is near.
    Finishing,
    /// The deadline.
    Deadline,
}

/// What a policy asks of a connection from one [`DrainPoint`] on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// Go on copying.
    Stay,
    /// Close once the connection has been still for this long.
    WhenStill(Duration),
    /// Close now: take no more, deliver what was taken.
    Close,
}

/// What a connection is doing when a [`Rule`] is applied to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Flow {
    /// Bytes were taken and not yet delivered, the upstream has not answered the last ones, or one
    /// side has ended its half and waits for the other.
    Owing,
    /// Everything taken is delivered and answered, both halves are open, and nothing has moved for
    /// this long.
    Still(Duration),
}

/// The answer of a [`Rule`] for a connection in a [`Flow`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Go on copying; look again when something moves.
    Stay,
    /// Go on copying; look again when something moves, or after this long.
    LookAgain(Duration),
    /// Close now.
    Close,
}

impl TcpDrainPolicy {
    /// The rule of this policy from `point` on. `finish_quiet` is the quiet time that is enough
    /// near the deadline.
    ///
    /// # Examples
    ///
    /// ```
    /// use proto_drain_tcp::{DrainPoint, Rule, TcpDrainPolicy};
    /// use std::time::Duration;
    ///
    /// let quiet = Duration::from_millis(50);
    /// let policy = TcpDrainPolicy::UntilDeadline;
    /// assert_eq!(policy.rule(DrainPoint::Signaled, quiet), Rule::Stay);
    /// assert_eq!(policy.rule(DrainPoint::Finishing, quiet), Rule::WhenStill(quiet));
    /// assert_eq!(policy.rule(DrainPoint::Deadline, quiet), Rule::Close);
    /// ```
    #[must_use]
    pub fn rule(self, point: DrainPoint, finish_quiet: Duration) -> Rule {
        match (point, self) {
            (DrainPoint::Open, _) => Rule::Stay,
            (DrainPoint::Deadline, _) | (_, Self::AtSlot) => Rule::Close,
            (DrainPoint::Signaled, Self::UntilDeadline | Self::CheckOnData) => Rule::Stay,
            (DrainPoint::Signaled, Self::WhenQuiet(quiet)) => Rule::WhenStill(quiet),
            (DrainPoint::Finishing, Self::UntilDeadline | Self::CheckOnData) => {
                Rule::WhenStill(finish_quiet)
            }
            (DrainPoint::Finishing, Self::WhenQuiet(quiet)) => {
                Rule::WhenStill(quiet.min(finish_quiet))
            }
        }
    }

    /// Whether each chunk is followed by a question to the
    /// [`DrainDecision`](drain_signal::DrainDecision).
    #[must_use]
    pub const fn asks_on_data(self) -> bool {
        matches!(self, Self::CheckOnData)
    }
}

impl Rule {
    /// What to do now.
    ///
    /// # Examples
    ///
    /// ```
    /// use proto_drain_tcp::{Flow, Rule, Step};
    /// use std::time::Duration;
    ///
    /// let rule = Rule::WhenStill(Duration::from_secs(5));
    /// assert_eq!(rule.step(Flow::Owing), Step::Stay);
    /// assert_eq!(rule.step(Flow::Still(Duration::from_secs(3))), Step::LookAgain(Duration::from_secs(2)));
    /// assert_eq!(rule.step(Flow::Still(Duration::from_secs(5))), Step::Close);
    /// ```
    #[must_use]
    pub fn step(self, flow: Flow) -> Step {
        match (self, flow) {
            (Self::Close, _) => Step::Close,
            (Self::Stay, _) | (Self::WhenStill(_), Flow::Owing) => Step::Stay,
            (Self::WhenStill(quiet), Flow::Still(still)) => match quiet.checked_sub(still) {
                None | Some(Duration::ZERO) => Step::Close,
                Some(left) => Step::LookAgain(left),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FINISH: Duration = Duration::from_millis(50);

    fn policies() -> impl Strategy<Value = TcpDrainPolicy> {
        prop_oneof![
            Just(TcpDrainPolicy::UntilDeadline),
            Just(TcpDrainPolicy::CheckOnData),
            any::<u32>()
                .prop_map(|ms| TcpDrainPolicy::WhenQuiet(Duration::from_millis(u64::from(ms)))),
            Just(TcpDrainPolicy::AtSlot),
        ]
    }

    fn severity(rule: Rule) -> (u8, Duration) {
        match rule {
            Rule::Stay => (0, Duration::ZERO),
            Rule::WhenStill(quiet) => (1, Duration::MAX - quiet),
            Rule::Close => (2, Duration::ZERO),
        }
    }

    proptest! {
        #[test]
        fn no_policy_touches_a_connection_before_its_slot_or_spares_it_at_the_deadline(policy in policies()) {
            prop_assert_eq!(policy.rule(DrainPoint::Open, FINISH), Rule::Stay);
            prop_assert_eq!(policy.rule(DrainPoint::Deadline, FINISH), Rule::Close);
        }

        #[test]
        fn a_rule_only_gets_stricter_as_the_drain_goes_on(policy in policies()) {
            let points = [DrainPoint::Open, DrainPoint::Signaled, DrainPoint::Finishing, DrainPoint::Deadline];
            for pair in points.windows(2) {
                prop_assert!(severity(policy.rule(pair[0], FINISH)) <= severity(policy.rule(pair[1], FINISH)));
            }
        }

        #[test]
        fn looking_again_after_the_time_named_closes(quiet in 0u64..10_000, still in 0u64..10_000) {
            let rule = Rule::WhenStill(Duration::from_millis(quiet));
            let still = Duration::from_millis(still);
            match rule.step(Flow::Still(still)) {
                Step::LookAgain(left) => prop_assert_eq!(rule.step(Flow::Still(still + left)), Step::Close),
                step => prop_assert_eq!(step, Step::Close),
            }
        }
    }

    #[test]
    fn bytes_owed_are_never_cut_before_the_deadline_unless_the_policy_closes_at_the_slot() {
        for policy in [
            TcpDrainPolicy::UntilDeadline,
            TcpDrainPolicy::CheckOnData,
            TcpDrainPolicy::WhenQuiet(FINISH),
        ] {
            for point in [
                DrainPoint::Open,
                DrainPoint::Signaled,
                DrainPoint::Finishing,
            ] {
                assert_eq!(
                    policy.rule(point, FINISH).step(Flow::Owing),
                    Step::Stay,
                    "{policy:?} {point:?}"
                );
            }
        }
        assert_eq!(
            TcpDrainPolicy::AtSlot.rule(DrainPoint::Signaled, FINISH),
            Rule::Close
        );
    }

    #[test]
    fn the_default_is_envoys() {
        assert_eq!(TcpDrainPolicy::default(), TcpDrainPolicy::UntilDeadline);
    }
}
