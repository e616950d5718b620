//! The filter `health_check`: load balancers ask the listener itself whether to send more.

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use orion_drain::config::{HealthCheck, HttpConnectionManager, RequestHead};
use orion_drain::drain_tree::DrainManager;
use orion_drain::lifecycle::{Shutdown, ShutdownReason};

use crate::answers::{Body, empty};

const CLUSTER: HeaderName = HeaderName::from_static("x-envoy-upstream-healthchecked-cluster");
const FAILS: HeaderName = HeaderName::from_static("x-envoy-immediate-health-check-fail");

const TRUE: HeaderValue = HeaderValue::from_static("true");

/// Whether this process is to get requests, and what it is called.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    pub(crate) root: DrainManager,
    pub(crate) shutdown: Shutdown,
    /// `node.cluster`
    pub(crate) cluster: HeaderValue,
}

impl Health {
    /// As `/ready` says, except beside the process that replaces this one: it is as healthy as the
    /// listener is, and a balancer may ask either of them.
    fn fails(&self) -> bool {
        let leaves = || {
            let progress = self.shutdown.progress();
            progress.reason == Some(ShutdownReason::ProcessShutdown) && !progress.is_ready
        };
        self.root.health_failed() || leaves()
    }
}

/// The filters of one connection manager.
#[derive(Debug)]
pub(crate) struct HealthChecks {
    checks: Vec<HealthCheck>,
    health: Health,
}

impl HealthChecks {
    /// `None`: the manager has no such filter.
    pub(crate) fn new(manager: &HttpConnectionManager, health: &Health) -> Option<Self> {
        let checks: Vec<_> = manager.health_checks().cloned().collect();
        (!checks.is_empty()).then(|| Self {
            checks,
            health: health.clone(),
        })
    }

    /// The answer to a health check; `None`: it is another request, or goes on to its route.
    pub(crate) fn answer(&self, request: &RequestHead<'_>) -> Option<Response<Body>> {
        let mut checks = self.checks.iter();
        let check = checks.find(|check| check.is_meant_by(request))?;
        let fails = self.health.fails();
        if check.pass_through_mode == Some(true) && !fails {
            return None;
        }
        let mut response = Response::new(empty());
        if fails {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        let cluster = self.health.cluster.clone();
        response.headers_mut().insert(CLUSTER, cluster);
        if fails {
            response.headers_mut().insert(FAILS, TRUE);
        }
        Some(response)
    }

    /// While the health check is failed, every response says so to an Envoy in front.
    pub(crate) fn mark(&self, headers: &mut HeaderMap) {
        if self.health.root.health_failed() {
            headers.insert(FAILS, TRUE);
        }
    }
}
