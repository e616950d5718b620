//! The filter `health_check`: a load balancer asks the listener itself, and learns of a drain
//! there.

use crate::support::{Edge, H1, Http, discovery};

const FLAGS: &str = "--drain-time-s 20 --shutdown-lead-time-s 10";

/// An edge whose listener answers checks at `/healthz`.
async fn edge(pass_through: bool) -> Edge {
    let router = "http_filters: [ ";
    let filter = "name: health, typed_config: { \"@type\": \
                  type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck";
    let checks = "headers: [ { name: \":path\", string_match: { exact: /healthz } } ]";
    let both = format!("{router}{{ {filter}, pass_through_mode: {pass_through}, {checks} }} }}, ");
    let listener = Http::new("http", 1).yaml();
    let checked = listener.replace(router, &both);
    assert_ne!(checked, listener);
    Edge::start(FLAGS, &discovery("1", &[checked])).await
}

/// A new connection's status for the check, and whether an Envoy in front is told not to come back.
async fn check(edge: &Edge) -> (u16, bool) {
    let mut client = H1::connect(edge.address("http").await).await;
    let response = client.get("/healthz").await;
    assert_eq!(response.body.len(), 0);
    let cluster = response.header("x-envoy-upstream-healthchecked-cluster");
    assert_eq!(cluster, Some("test"));
    let fails = response.header("x-envoy-immediate-health-check-fail");
    (response.status, fails == Some("true"))
}

#[tokio::test]
async fn a_health_check_is_answered_here_and_fails_while_the_health_is_failed() {
    let edge = edge(false).await;
    assert_eq!(check(&edge).await, (200, false));
    edge.post("/healthcheck/fail").await;
    assert_eq!(check(&edge).await, (503, true));
    // Other requests are served, and say so too.
    let mut client = H1::connect(edge.address("http").await).await;
    let other = client.get("/version").await;
    assert_eq!(other.ok(), "v1");
    let fails = other.header("x-envoy-immediate-health-check-fail");
    assert_eq!(fails, Some("true"));
    edge.post("/healthcheck/ok").await;
    assert_eq!(check(&edge).await, (200, false));
    // As in Envoy, a drain of listeners is no failed health.
    edge.post("/drain_listeners?graceful").await;
    assert_eq!(check(&edge).await, (200, false));
}

#[tokio::test]
async fn a_health_check_fails_from_sigterm_on_while_requests_are_served() {
    let mut edge = edge(false).await;
    assert_eq!(check(&edge).await, (200, false));
    edge.signal("TERM").await;
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(50));
    crate::support::within("a check that fails", async {
        while check(&edge).await != (503, true) {
            pace.tick().await;
        }
    })
    .await;
    let mut client = H1::connect(edge.address("http").await).await;
    assert_eq!(client.get("/version").await.ok(), "v1");
    assert!(edge.is_running());
}

#[tokio::test]
async fn a_health_check_that_passes_through_goes_to_its_route_unless_it_fails_here() {
    let mut edge = edge(true).await;
    let mut client = H1::connect(edge.address("http").await).await;
    client.ask("/healthz").await;
    edge.upstream.held().await.answer("of the upstream");
    assert_eq!(client.response().await.ok(), "of the upstream");
    edge.post("/healthcheck/fail").await;
    assert_eq!(check(&edge).await, (503, true));
}
