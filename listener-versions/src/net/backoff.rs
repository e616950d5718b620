//! What to do after an error of `accept`: go on, or give the system time to recover. Never give up.

use std::io;
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_secs(1);

/// How many errors that concern one connection alone are skipped in a row before they are waited
/// for as well.
const SKIPPED_IN_A_ROW: u32 = 64;

/// What to do before the next `accept`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The error was one connection's: the next one can be taken at once.
    Retry,
    /// The system lacks something (file descriptors, memory): wait so long.
    Pause(Duration),
}

/// Doubles the pause with every error in a row, from 5 ms to 1 s.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    skipped: u32,
    pauses: u32,
}

impl Backoff {
    pub(crate) fn after(&mut self, error: &io::Error) -> Next {
        if concerns_one_connection(error) && self.skipped < SKIPPED_IN_A_ROW {
            self.skipped += 1;
            return Next::Retry;
        }
        let pause = FIRST.saturating_mul(1 << self.pauses.min(16)).min(LONGEST);
        self.pauses += 1;
        Next::Pause(pause)
    }

    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}

/// Errors that Linux passes on from a connection that died in the queue: see `accept(2)`.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::ConnectionRefused
            | Kind::Interrupted
            | Kind::TimedOut
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown
            | Kind::PermissionDenied
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aborted_connection_does_not_delay_the_next_one() {
        let mut backoff = Backoff::default();
        let aborted = io::Error::from(io::ErrorKind::ConnectionAborted);
        assert_eq!(backoff.after(&aborted), Next::Retry);
        for _ in 0..SKIPPED_IN_A_ROW {
            backoff.after(&aborted);
        }
        assert!(
            matches!(backoff.after(&aborted), Next::Pause(_)),
            "but it must not spin for ever"
        );
    }

    #[test]
    fn a_lack_of_descriptors_is_waited_out_with_doubled_pauses_up_to_a_second() {
        let mut backoff = Backoff::default();
        let error = io::Error::other("too many open files");
        let pauses: Vec<Next> = (0..10).map(|_| backoff.after(&error)).collect();
        assert_eq!(pauses[..2], [Next::Pause(FIRST), Next::Pause(FIRST * 2)]);
        assert_eq!(pauses[9], Next::Pause(LONGEST));
        backoff.reset();
        assert_eq!(backoff.after(&error), Next::Pause(FIRST));
    }
}
