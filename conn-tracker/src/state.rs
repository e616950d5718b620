//! How far a connection has come on its way out, and which changes are legal.

use std::fmt;

/// How far one connection has come on its way out.
///
/// It only goes forward; steps may be skipped. [`ConnState::may_become`] is the whole table:
///
/// | from \ to | active | draining | closing | closed |
/// | --- | --- | --- | --- | --- |
/// | **active** | same | yes | yes | yes |
/// | **draining** | | same | yes | yes |
/// | **closing** | | | same | yes |
/// | **closed** | | | | same |
///
/// "Same" is accepted and counts nothing, so that the same call twice is no error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the four states are the contract; a match over them should be complete"
)]
pub enum ConnState {
    /// Serving; not asked to leave.
    #[default]
    Active = 0,
    /// Asked to leave (`connection: close`, GOAWAY, ..) and still serving what is open.
    Draining = 1,
    /// No longer serving: flushing, half-closed, or being cut at its deadline.
    Closing = 2,
    /// The socket is gone; the entry lives only until the last guard is dropped.
    Closed = 3,
}

impl ConnState {
    /// Every state, in order.
    pub const ALL: [Self; 4] = [Self::Active, Self::Draining, Self::Closing, Self::Closed];

    /// Whether a connection in this state may be put into `to`.
    ///
    /// ```
    /// use conn_tracker::ConnState::{Active, Closing, Draining};
    /// assert!(Active.may_become(Closing));
    /// assert!(!Closing.may_become(Draining));
    /// ```
    #[must_use]
    pub const fn may_become(self, to: Self) -> bool {
        use ConnState::{Active, Closed, Closing, Draining};
        matches!(
            (self, to),
            (Active, Active | Draining | Closing | Closed)
                | (Draining, Draining | Closing | Closed)
                | (Closing, Closing | Closed)
                | (Closed, Closed)
        )
    }

    /// The state in lower case, as metrics and the admin view print it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Closing => "closing",
            Self::Closed => "closed",
        }
    }

    pub(crate) const fn from_u8(byte: u8) -> Self {
        match byte {
            0 => Self::Active,
            1 => Self::Draining,
            2 => Self::Closing,
            _ => Self::Closed,
        }
    }
}

impl fmt::Display for ConnState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A connection was asked to go back to a state that it has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a connection that is {from} cannot become {to}")]
#[non_exhaustive]
pub struct InvalidTransition {
    /// The state that the connection is in, and stays in.
    pub from: ConnState,
    /// The state that was asked for.
    pub to: ConnState,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    #[test]
    fn the_transition_table() {
        let mut table = String::from("from \\ to  ");
        for to in ConnState::ALL {
            write!(table, "{to:<9}").unwrap();
        }
        for from in ConnState::ALL {
            write!(table, "\n{from:<11}").unwrap();
            for to in ConnState::ALL {
                let cell = match (from == to, from.may_become(to)) {
                    (true, true) => "same",
                    (false, true) => "yes",
                    _ => "-",
                };
                write!(table, "{cell:<9}").unwrap();
            }
        }
        let table = table
            .lines()
            .map(str::trim_end)
            .collect::<Vec<_>>()
            .join("\n");
        insta::assert_snapshot!(table, @r"
        from \ to  active   draining closing  closed
        active     same     yes      yes      yes
        draining   -        same     yes      yes
        closing    -        -        same     yes
        closed     -        -        -        same
        ");
    }

    #[test]
    fn an_illegal_move_names_both_states() {
        let error = InvalidTransition {
            from: ConnState::Closing,
            to: ConnState::Active,
        };
        assert_eq!(
            error.to_string(),
            "a connection that is closing cannot become active"
        );
    }

    #[test]
    fn a_state_survives_its_byte() {
        for state in ConnState::ALL {
            assert_eq!(ConnState::from_u8(state as u8), state);
        }
    }
}
