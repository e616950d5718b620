//! The transition table: how far the goodbye of a connection has come, as seen on its wire.

use std::fmt;

/// How far the goodbye of one HTTP/2 connection has come.
///
/// Envoy's HTTP connection manager has the same three steps (`NotDraining`, `Draining`, `Closing`;
/// see
/// [conn_manager_impl.cc](https://github.com/envoyproxy/envoy/blob/main/source/common/http/conn_manager_impl.cc));
/// here they are read off the frames that are written, so they are what the peer gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum H2Phase {
    /// No GOAWAY has been written.
    Serving = 0,
    /// GOAWAY(2^31-1) has been written: the peer should open no more streams, those that it does
    /// open are served.
    Noticed = 1,
    /// The final GOAWAY has been written: later streams are not served, earlier ones run to their
    /// end.
    GoingAway = 2,
    /// The connection has ended, or its transport was dropped.
    Closed = 3,
}

/// What changes an [`H2Phase`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum H2Event {
    /// A GOAWAY with the highest possible stream id and no error was written.
    NoticeWritten,
    /// A GOAWAY with a lower stream id, or with an error, was written.
    FinalWritten,
    /// The transport was shut down or dropped.
    TransportEnded,
}

/// The event cannot happen in this phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event} cannot happen in phase {phase}")]
#[non_exhaustive]
pub struct InvalidTransition {
    /// Where the connection was.
    pub phase: H2Phase,
    /// The event.
    pub event: H2Event,
}

impl H2Phase {
    /// All phases in their order.
    pub const ALL: [Self; 4] = [Self::Serving, Self::Noticed, Self::GoingAway, Self::Closed];

    /// The phase after an event.
    ///
    /// # Errors
    ///
    /// A notice is written once and before the final GOAWAY; nothing follows the end of the
    /// transport. A GOAWAY may follow a final one, as long as its id is not higher ([RFC 9113
    /// section 6.8](https://www.rfc-editor.org/rfc/rfc9113#section-6.8)).
    ///
    /// # Examples
    ///
    /// ```
    /// use proto_drain_h2::{H2Event, H2Phase};
    ///
    /// assert_eq!(H2Phase::Serving.on(H2Event::NoticeWritten), Ok(H2Phase::Noticed));
    /// assert!(H2Phase::GoingAway.on(H2Event::NoticeWritten).is_err());
    /// ```
    pub const fn on(self, event: H2Event) -> Result<Self, InvalidTransition> {
        match (self, event) {
            (Self::Serving, H2Event::NoticeWritten) => Ok(Self::Noticed),
            (Self::Serving | Self::Noticed | Self::GoingAway, H2Event::FinalWritten) => {
                Ok(Self::GoingAway)
            }
            (Self::Serving | Self::Noticed | Self::GoingAway, H2Event::TransportEnded) => {
                Ok(Self::Closed)
            }
            (phase, event) => Err(InvalidTransition { phase, event }),
        }
    }

    pub(crate) const fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Serving,
            1 => Self::Noticed,
            2 => Self::GoingAway,
            _ => Self::Closed,
        }
    }
}

impl H2Event {
    /// All events.
    pub const ALL: [Self; 3] = [
        Self::NoticeWritten,
        Self::FinalWritten,
        Self::TransportEnded,
    ];
}

impl fmt::Display for H2Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Serving => "serving",
            Self::Noticed => "noticed",
            Self::GoingAway => "going away",
            Self::Closed => "closed",
        })
    }
}

impl fmt::Display for H2Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NoticeWritten => "notice written",
            Self::FinalWritten => "final GOAWAY written",
            Self::TransportEnded => "transport ended",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    #[test]
    fn the_whole_table() {
        let mut table = String::new();
        for phase in H2Phase::ALL {
            for event in H2Event::ALL {
                match phase.on(event) {
                    Ok(next) => writeln!(table, "{phase:<10} + {event:<20} -> {next}").unwrap(),
                    Err(error) => {
                        writeln!(table, "{phase:<10} + {event:<20} -> error: {error}").unwrap()
                    }
                }
            }
        }
        insta::assert_snapshot!(table);
    }
}
