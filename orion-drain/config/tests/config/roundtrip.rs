//! What was read is written as it was read.

use orion_drain_config::{Bootstrap, Listener};
use serde_json::{Value, json};

fn listener_without_drain_fields() -> Value {
    json!({
        "name": "in",
        "address": { "socket_address": { "address": "::1", "port_value": 10000 } },
        "filter_chains": [{
            "filter_chain_match": {
                "source_prefix_ranges": [{ "address_prefix": "10.0.0.0", "prefix_len": 8 }],
                "destination_port": 80
            },
            "filters": [{
                "name": "http",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                    "stat_prefix": "ing",
                    "codec_type": "HTTP2",
                    "route_config": {
                        "name": "r",
                        "virtual_hosts": [{
                            "name": "all",
                            "domains": ["*"],
                            "routes": [
                                { "match": { "path": "/a" }, "direct_response": { "status": 204 } },
                                {
                                    "match": { "prefix": "/" },
                                    "route": { "cluster": "up", "timeout": "0.25s" },
                                    "response_headers_to_add": [{
                                        "header": { "key": "x-version", "value": "1" },
                                        "append_action": "ADD_IF_ABSENT"
                                    }]
                                }
                            ]
                        }]
                    },
                    "http_filters": [{
                        "name": "router",
                        "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" }
                    }],
                    "upgrade_configs": [{ "upgrade_type": "websocket" }]
                }
            }]
        }],
        "default_filter_chain": {
            "name": "tcp",
            "filters": [{
                "name": "tcp",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                    "stat_prefix": "tcp",
                    "cluster": "up"
                }
            }]
        },
        "per_connection_buffer_limit_bytes": 32768
    })
}

fn rewritten(json: &Value) -> Value {
    let loaded = Listener::from_json(&json.to_string()).expect("a listener");
    assert_eq!(loaded.unknown_fields, Vec::<String>::new());
    serde_json::to_value(loaded.value).expect("JSON")
}

#[test]
fn a_listener_without_any_drain_field_is_written_unchanged() {
    let listener = listener_without_drain_fields();
    assert_eq!(rewritten(&listener), listener);
}

#[test]
fn drain_fields_that_were_written_are_written_again() {
    let mut listener = listener_without_drain_fields();
    listener["drain_type"] = json!("MODIFY_ONLY");
    listener["traffic_direction"] = json!("OUTBOUND");
    let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
    manager["drain_timeout"] = json!("5s");
    manager["delayed_close_timeout"] = json!("0.25s");
    manager["common_http_protocol_options"] =
        json!({ "idle_timeout": "0s", "max_connection_duration": "0.000000001s" });
    listener["default_filter_chain"]["filters"][0]["typed_config"]["check_drain_close"] =
        json!(true);
    assert_eq!(rewritten(&listener), listener);
}

#[test]
fn a_bootstrap_is_written_unchanged() {
    let bootstrap = json!({
        "node": { "id": "a", "cluster": "b" },
        "admin": { "address": { "socket_address": { "address": "127.0.0.1", "port_value": 9901 } } },
        "dynamic_resources": { "lds_config": { "path_config_source": { "path": "/etc/lds.yaml" } } },
        "static_resources": {
            "listeners": [listener_without_drain_fields()],
            "clusters": [{
                "name": "up",
                "connect_timeout": "1s",
                "load_assignment": {
                    "cluster_name": "up",
                    "endpoints": [{ "lb_endpoints": [
                        { "endpoint": { "address": { "socket_address": { "address": "127.0.0.1", "port_value": 1 } } } },
                        { "endpoint": { "address": { "pipe": { "path": "/run/up" } } } }
                    ] }]
                }
            }]
        }
    });
    let loaded = Bootstrap::from_json(&bootstrap.to_string()).expect("a bootstrap");
    let value = loaded.value;
    assert_eq!(
        value.admin_address().map(ToString::to_string).as_deref(),
        Some("127.0.0.1:9901")
    );
    assert_eq!(value.lds_path(), Some("/etc/lds.yaml".as_ref()));
    assert_eq!(value.lds_watched_directory(), None);
    let addresses: Vec<_> = value.clusters()[0]
        .addresses()
        .map(ToString::to_string)
        .collect();
    assert_eq!(addresses, ["127.0.0.1:1", "/run/up"]);
    assert!(value.check_clusters().is_empty());
    assert_eq!(serde_json::to_value(value).expect("JSON"), bootstrap);
}

#[test]
fn clusters_whose_endpoints_come_from_a_control_plane_are_refused() {
    let error = Bootstrap::from_yaml("static_resources: { clusters: [{ name: a, type: EDS }] }");
    assert_eq!(
        error.expect_err("EDS").to_string(),
        "static_resources.clusters[0].type: unknown value `EDS`, expected one of `STATIC`, `STRICT_DNS`, \
         `LOGICAL_DNS`"
    );
}

#[test]
fn a_message_whose_type_does_not_come_first_is_read_by_plain_serde_as_well() {
    let json = r#"{ "name": "t", "typed_config": { "stat_prefix": "t", "cluster": "c",
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "check_drain_close": true } }"#;
    let filter: orion_drain_config::Filter = serde_json::from_str(json).expect("a filter");
    let orion_drain_config::NetworkFilter::TcpProxy(tcp) = filter.typed_config else {
        panic!("{filter:?}")
    };
    assert!(tcp.check_drain_close);
}
