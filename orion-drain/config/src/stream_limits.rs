//! How long streams may take, as they take effect.

use std::time::Duration;

use super::{HttpConnectionManager, RouteAction};

/// The times that a stream may take, defaults filled in; `None` is "no limit".
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamLimits {
    /// From the end of the request to the end of the response: the route's `timeout`.
    pub response: Option<Duration>,
    /// Without a byte either way: `stream_idle_timeout`, or the route's `idle_timeout`.
    pub idle: Option<Duration>,
    /// From the head of the request to the end of the response: `max_stream_duration`.
    pub duration: Option<Duration>,
}

fn limit(time: Option<Duration>) -> Option<Duration> {
    time.filter(|time| !time.is_zero())
}

impl HttpConnectionManager {
    /// The limits of streams that no route changes.
    pub fn stream_limits(&self) -> StreamLimits {
        let options = self.common_http_protocol_options.as_ref();
        let idle = self.stream_idle_timeout;
        StreamLimits {
            response: None,
            idle: limit(Some(idle.unwrap_or(Duration::from_secs(300)))),
            duration: limit(options.and_then(|options| options.max_stream_duration)),
        }
    }

    /// How long the head of a request may take to arrive, from its first byte on: until then its
    /// stream has moved no further.
    pub fn head_limit(&self) -> Option<Duration> {
        let streams = self.stream_limits();
        let limits = [limit(self.request_timeout), streams.idle, streams.duration];
        limits.into_iter().flatten().min()
    }
}

impl RouteAction {
    /// The limits of streams on this route of `manager`.
    pub fn stream_limits(&self, manager: &HttpConnectionManager) -> StreamLimits {
        let of_all = manager.stream_limits();
        let duration = self.max_stream_duration;
        let response = match duration {
            Some(_) => None,
            None => Some(self.timeout.unwrap_or(Duration::from_secs(15))),
        };
        let own = |own: Option<Duration>, of_all| own.map_or(of_all, |own| limit(Some(own)));
        StreamLimits {
            response: limit(response),
            idle: own(self.idle_timeout, of_all.idle),
            duration: own(
                duration.and_then(|it| it.max_stream_duration),
                of_all.duration,
            ),
        }
    }
}
