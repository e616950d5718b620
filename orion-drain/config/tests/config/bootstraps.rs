//! Bootstraps as operators of Envoy write them, whole.

use drain_tree::DrainSettings;
use orion_drain_config::{Bootstrap, ListenerManagerConfig};

const FRONT_PROXY: &str = include_str!("bootstraps/front_proxy.yaml");
const TCP_PROXY: &str = include_str!("bootstraps/tcp_proxy.yaml");
const GRPC_GATEWAY: &str = include_str!("bootstraps/grpc_gateway.yaml");
const MIXED_LISTENERS: &str = include_str!("bootstraps/mixed_listeners.yaml");
#[cfg(feature = "tls")]
const TLS_TERMINATOR: &str = include_str!("bootstraps/tls_terminator.yaml");

/// Loads it: nothing is unknown but this, routes lead somewhere, nothing contradicts itself, and
/// what is written is read as the same.
fn loads(yaml: &str, unknown: &[&str]) -> Bootstrap {
    let loaded = Bootstrap::from_yaml(yaml).expect("a good bootstrap");
    assert_eq!(loaded.unknown_fields, unknown);
    let loaded = loaded.refuse_foreign_fields().expect("Envoy has them all");
    let bootstrap = loaded.value;
    assert_eq!(bootstrap.check_clusters(), []);
    let block = bootstrap.listener_manager.as_ref();
    let settings = block.map_or_else(
        DrainSettings::default,
        ListenerManagerConfig::drain_settings,
    );
    assert_eq!(bootstrap.audit(&settings), []);
    let json = serde_json::to_string(&bootstrap).expect("JSON");
    let again = Bootstrap::from_json(&json).expect("the same").value;
    // Unknown fields are compared, and not written.
    assert_eq!(serde_json::to_string(&again).expect("JSON"), json);
    bootstrap
}

#[test]
fn a_front_proxy_loads() {
    let bootstrap = loads(FRONT_PROXY, &[]);
    assert_eq!(bootstrap.clusters()[0].addresses().count(), 2);
}

#[cfg(feature = "tls")]
#[test]
fn a_tls_terminator_loads() {
    let bootstrap = loads(
        TLS_TERMINATOR,
        &["static_resources.listeners[0].listener_filters"],
    );
    assert!(
        bootstrap.listeners()[0].filter_chains[0]
            .transport_socket
            .is_some()
    );
}

#[test]
fn a_tcp_proxy_loads() {
    let filter = "static_resources.listeners[0].filter_chains[0].filters[0].typed_config";
    let bootstrap = loads(TCP_PROXY, &[&format!("{filter}.access_log")]);
    assert_eq!(
        bootstrap.listeners()[1].address.to_string(),
        "/run/redis-proxy.sock"
    );
}

#[test]
fn a_grpc_gateway_loads() {
    let http = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let options = format!("static_resources.clusters[0].typed_extension_protocol_options.{http}");
    let unknown = [&*format!(
        "{options}.explicit_http_config.http2_protocol_options.max_concurrent_streams"
    )];
    let bootstrap = loads(GRPC_GATEWAY, &unknown);
    assert!(
        bootstrap
            .clusters()
            .iter()
            .all(|cluster| cluster.speaks_http2())
    );
}

#[test]
fn mixed_listeners_load() {
    let bootstrap = loads(MIXED_LISTENERS, &[]);
    assert_eq!(bootstrap.listeners()[0].all_chains().count(), 3);
}

#[test]
fn a_static_listener_without_a_name_is_called_by_its_address() {
    let nameless = FRONT_PROXY.replacen("  - name: ", "  - stat_prefix: ", 1);
    assert_ne!(nameless, FRONT_PROXY);
    let bootstrap = Bootstrap::from_yaml(&nameless)
        .expect("a good bootstrap")
        .value;
    assert_eq!(bootstrap.listeners()[0].name, "0.0.0.0:8080");
}
