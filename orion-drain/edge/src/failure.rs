//! Why an endpoint has given no answer, in Envoy's words.

use std::error::Error;
use std::io;
use std::iter::successors;

use http::StatusCode;

/// What a request failed of before its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// The endpoint takes no connection.
    #[error("remote connection failure")]
    Connect,
    /// It has not taken it within `connect_timeout`.
    #[error("connection timeout")]
    ConnectTimeout,
    /// Its connection or its stream ended before the head of a response.
    #[error("connection termination")]
    Ended,
    /// What it says is no response.
    #[error("protocol error")]
    Protocol,
}

impl Failure {
    /// The status of the answer that the client gets, as in Envoy.
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::Protocol => StatusCode::BAD_GATEWAY,
            Self::Connect | Self::ConnectTimeout | Self::Ended => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// No connection could be made.
    pub(crate) fn connecting(error: &(dyn Error + 'static)) -> Self {
        let timed_out = causes(error)
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .any(|cause| cause.kind() == io::ErrorKind::TimedOut);
        match timed_out {
            true => Self::ConnectTimeout,
            false => Self::Connect,
        }
    }

    /// A connection that was there has given no response.
    pub(crate) fn responding(error: &(dyn Error + 'static)) -> Self {
        let is_unreadable = causes(error)
            .filter_map(|cause| cause.downcast_ref::<hyper::Error>())
            .any(hyper::Error::is_parse);
        match is_unreadable {
            true => Self::Protocol,
            false => Self::Ended,
        }
    }
}

fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    successors(Some(error), |error: &&'e (dyn Error + 'static)| {
        (*error).source()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_takes_too_long_is_told_apart_from_one_that_is_refused() {
        for (kind, failure) in [
            (io::ErrorKind::TimedOut, Failure::ConnectTimeout),
            (io::ErrorKind::ConnectionRefused, Failure::Connect),
        ] {
            assert_eq!(Failure::connecting(&io::Error::from(kind)), failure);
        }
    }
}
