//! How many connections may be open: the overload manager's `global_downstream_max_connections`.

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::support::edge::run;
use crate::support::yaml::bootstrap;
use crate::support::{Edge, H1, Http, discovery, tcp, within};

fn limit(connections: &str) -> String {
    format!(
        "overload_manager:\n  resource_monitors:\n  - name: envoy.resource_monitors.global_downstream_max_connections\n    \
         typed_config:\n      \"@type\": type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig\n      \
         max_active_downstream_connections: {connections}\n"
    )
}

#[tokio::test]
async fn one_connection_more_than_the_process_may_have_is_closed_at_once_until_one_has_ended() {
    let listeners = [Http::new("http", 1).yaml(), tcp("tcp", 1)];
    let edge = Edge::start_with("", &discovery("1", &listeners), &limit("2")).await;
    let (http, tcp) = (edge.address("http").await, edge.address("tcp").await);
    let mut first = H1::connect(http).await;
    assert_eq!(first.get("/version").await.ok(), "v1");
    let _second = TcpStream::connect(tcp).await.expect("it listens");
    edge.until_connections(|connections| connections.len() == 2)
        .await;
    // Over all listeners together.
    for address in [http, tcp] {
        let mut more = TcpStream::connect(address).await.expect("it listens");
        let read = within("the end", more.read(&mut [0; 64])).await;
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }
    // Both are configured at port 0, so that they share their counters.
    let overflow = "listener.127.0.0.1_0.downstream_global_cx_overflow";
    assert_eq!(edge.stat(overflow).await, 2);
    assert_eq!(first.get("/version").await.ok(), "v1");
    drop(first);
    edge.until_connections(|connections| connections.len() == 1)
        .await;
    assert_eq!(H1::connect(http).await.get("/version").await.ok(), "v1");
}

#[tokio::test]
async fn a_limit_that_cannot_be_kept_is_refused_by_its_field() {
    let edge = Edge::start("", &discovery("1", &[])).await;
    let file = bootstrap("/nowhere".as_ref(), &edge.upstream, "");
    let at = "overload_manager.resource_monitors[0].typed_config.max_active_downstream_connections";
    for wrong in ["0", "-1", "many"] {
        let (ok, said) = run(&(file.clone() + &limit(wrong))).await;
        assert!(!ok && said.contains(at), "{wrong}: {said}");
    }
}

/// Limits as Envoy's guide to edge proxies sets them.
fn runtime(values: &str) -> String {
    format!("layered_runtime: {{ layers: [ {{ name: static, static_layer: {values} }} ] }}\n")
}

#[tokio::test]
async fn one_connection_more_than_a_version_of_a_listener_may_have_is_closed_at_once() {
    let listeners = |version| [Http::new("http", version).yaml(), tcp("tcp", 1)];
    let limits = runtime(
        "{ envoy: { resource_limits: { listener: { http: { connection_limit: 1 } } } }, \
         overload.global_downstream_max_connections: '4' }",
    );
    let mut edge = Edge::start_with("", &discovery("1", &listeners(1)), &limits).await;
    assert_eq!(edge.stat("server.static_unknown_fields").await, 0);
    let (http, tcp) = (edge.address("http").await, edge.address("tcp").await);
    let closed = async |address| {
        let mut more = TcpStream::connect(address).await.expect("it listens");
        let read = within("the end", more.read(&mut [0; 64])).await;
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    };
    let mut first = H1::connect(http).await;
    assert_eq!(first.get("/version").await.ok(), "v1");
    closed(http).await;
    let overflow = "listener.127.0.0.1_0.downstream_cx_overflow";
    assert_eq!(edge.stat(overflow).await, 1);
    assert_eq!(first.get("/version").await.ok(), "v1");
    // Another version has its own.
    edge.update("2", &listeners(2)).await;
    let mut second = H1::connect(http).await;
    assert_eq!(second.get("/version").await.ok(), "v2");
    closed(http).await;
    let _others = [
        TcpStream::connect(tcp).await.expect("it listens"),
        TcpStream::connect(tcp).await.expect("it listens"),
    ];
    edge.until_connections(|connections| connections.len() == 4)
        .await;
    closed(tcp).await;
    let overflow = "listener.127.0.0.1_0.downstream_global_cx_overflow";
    assert_eq!(edge.stat(overflow).await, 1);
}

#[tokio::test]
async fn a_runtime_value_that_would_change_what_is_served_is_refused() {
    let edge = Edge::start("", &discovery("1", &[])).await;
    let route = "{ match: { prefix: /, runtime_fraction: { default_value: { numerator: 100 }, runtime_key: canary } }, \
                 direct_response: { status: 200 } }";
    let listener = Http::new("http", 1).yaml().replace(
        "{ match: { prefix: / }, route: { cluster: http, timeout: 0s } }",
        route,
    );
    let listener = listener.replace('\n', "\n  ");
    let file = bootstrap("/nowhere".as_ref(), &edge.upstream, "");
    let file = format!("{file}  listeners:\n  {listener}\n");
    for (values, wrong) in [
        (
            "{ canaryShare: 0 }",
            ".runtime_fraction.runtime_key: not supported: `canaryShare` is set in `layered_runtime`",
        ),
        (
            "{ canary: 0 }",
            ".runtime_fraction.runtime_key: not supported: `canary` is set in `layered_runtime`",
        ),
        (
            "{ canary: { numerator: 0 } }",
            ".runtime_fraction.runtime_key: not supported: `canary`",
        ),
        (
            "{ canary: { denominator: MILLION } }",
            ".runtime_fraction.runtime_key: not supported: `canary`",
        ),
        (
            "{ canary: {} }",
            ".runtime_fraction.runtime_key: not supported: `canary`",
        ),
        (
            "{ envoy.resource_limits.listener.http.connection_limit: some }",
            "layered_runtime: `envoy.resource_limits.listener.http.connection_limit`: expected a number",
        ),
    ] {
        let key = if values.contains("canaryShare") {
            "canaryShare"
        } else {
            "canary"
        };
        let file = file.replace("runtime_key: canary", &format!("runtime_key: {key}"));
        let (ok, said) = run(&(file + &runtime(values))).await;
        assert!(!ok && said.contains(wrong), "{values}: {said}");
    }
    let (_, said) = run(&(file + &runtime("{ other: 0 }"))).await;
    assert!(!said.contains("runtime_key: not supported"), "{said}");
}

#[tokio::test]
async fn an_update_that_asks_for_a_runtime_value_that_is_set_is_refused_and_the_old_version_serves()
{
    let first = discovery("1", &[Http::new("http", 1).yaml()]);
    let mut edge = Edge::start_with("", &first, &runtime("{ canary: 0 }")).await;
    let asking = |key: &str| {
        let fraction = format!(
            "{{ match: {{ prefix: /, runtime_fraction: {{ default_value: {{ numerator: 100 }}, runtime_key: {key} }} }},"
        );
        let listener = Http::new("http", 2).yaml();
        listener.replace("{ match: { prefix: / },", &fraction)
    };
    let mut client = H1::connect(edge.address("http").await).await;
    let said = edge.update("2", &[asking("canary")]).await.join("\n");
    let wrong = "runtime_fraction.runtime_key: not supported: `canary` is set in `layered_runtime`";
    assert!(said.contains(wrong), "{said}");
    assert_eq!(client.get("/version").await.ok(), "v1");
    edge.update("3", &[asking("other")]).await;
    let mut client = H1::connect(edge.address("http").await).await;
    assert_eq!(client.get("/version").await.ok(), "v2");
}
