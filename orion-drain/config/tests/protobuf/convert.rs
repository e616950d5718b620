//! The same listener is the same, whether it comes as YAML or as a message.

use envoy_types::pb::envoy::config::accesslog::v3::{AccessLog, access_log};
use envoy_types::pb::envoy::config::core::v3::{
    Address, SocketAddress, TrafficDirection, address, socket_address,
};
use envoy_types::pb::envoy::config::listener::v3::{
    Filter, FilterChain, Listener as Message, filter,
};
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};
use envoy_types::pb::envoy::service::discovery::v3::Resource;
use envoy_types::pb::google::protobuf::{Any, Duration, UInt32Value};
use orion_drain_config::{ConfigErrorKind, Listener, ListenerUpdate};
use proptest::prelude::*;
use prost::Message as _;
use serde_json::{Value, json};

use crate::messages;

const TYPES: &str = "type.googleapis.com/envoy.extensions";

/// The listener of such an update, and the fields of it that are unknown.
fn taken(update: ListenerUpdate) -> (Listener, Vec<String>) {
    assert_eq!(update.rejected, []);
    let mut listeners = update.listeners;
    (listeners.pop().expect("a listener"), update.unknown_fields)
}

/// Reads a listener both ways.
fn both(listener: &Value) -> (ListenerUpdate, ListenerUpdate) {
    let mut in_file = listener.clone();
    in_file["@type"] = messages::LISTENER.into();
    let file = json!({ "version_info": "7", "resources": [in_file] }).to_string();
    let message = messages::resource(listener.clone());
    (
        ListenerUpdate::from_json(&file).expect("a discovery response"),
        ListenerUpdate::from_resources("7", [&message]),
    )
}

/// All of an update but where in a text its errors stand.
fn words(update: &ListenerUpdate) -> (ListenerUpdate, Vec<String>) {
    let mut rest = update.clone();
    let rejected = rest.rejected.drain(..);
    let rejected = rejected.map(|it| format!("{:?} {} {}", it.name, it.index, it.error));
    let rejected = rejected.collect();
    (rest, rejected)
}

fn tcp(more: Value) -> Value {
    let mut listener = json!({
        "name": "in",
        "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } },
        "filter_chains": [{ "filters": [{ "name": "tcp", "typed_config": {
            "@type": format!("{TYPES}.filters.network.tcp_proxy.v3.TcpProxy"),
            "stat_prefix": "tcp", "cluster": "upstream"
        } }] }]
    });
    for (key, value) in more.as_object().expect("fields") {
        listener[key] = value.clone();
    }
    listener
}

#[test]
fn a_message_of_envoy_types_is_read_field_by_field() {
    let proxy = TcpProxy {
        stat_prefix: "tcp".into(),
        idle_timeout: Some(Duration {
            seconds: 1,
            nanos: 500_000_000,
        }),
        cluster_specifier: Some(tcp_proxy::ClusterSpecifier::Cluster("upstream".into())),
        ..TcpProxy::default()
    };
    let chain = FilterChain {
        filters: vec![Filter {
            name: "tcp".into(),
            config_type: Some(filter::ConfigType::TypedConfig(Any {
                type_url: format!("{TYPES}.filters.network.tcp_proxy.v3.TcpProxy"),
                value: proxy.encode_to_vec(),
            })),
        }],
        ..FilterChain::default()
    };
    let message = Message {
        name: "in".into(),
        address: Some(Address {
            address: Some(address::Address::SocketAddress(SocketAddress {
                address: "::1".into(),
                port_specifier: Some(socket_address::PortSpecifier::PortValue(8080)),
                ..SocketAddress::default()
            })),
        }),
        filter_chains: vec![chain],
        per_connection_buffer_limit_bytes: Some(UInt32Value { value: 4096 }),
        traffic_direction: TrafficDirection::Inbound.into(),
        drain_type: 1,
        ..Message::default()
    };
    let read = Listener::from_protobuf(&message).expect("a good listener");
    assert_eq!(read.unknown_fields, [""; 0]);
    let yaml = "
        name: in
        address: { socket_address: { address: '::1', port_value: 8080 } }
        per_connection_buffer_limit_bytes: 4096
        traffic_direction: INBOUND
        drain_type: MODIFY_ONLY
        filter_chains:
        - filters:
          - name: tcp
            typed_config:
              '@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
              stat_prefix: tcp
              cluster: upstream
              idle_timeout: 1.5s";
    assert_eq!(
        read.value,
        Listener::from_yaml(yaml).expect("a good listener").value
    );
}

#[test]
fn the_listeners_of_every_example_are_the_same_as_messages() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/config/bootstraps");
    let mut seen = 0;
    for file in std::fs::read_dir(folder).expect("a folder") {
        let text = std::fs::read_to_string(file.expect("a file").path()).expect("text");
        let bootstrap: Value = yaml_serde::from_str(&text).expect("YAML");
        let listeners = bootstrap["static_resources"]["listeners"].as_array();
        for listener in listeners.expect("listeners") {
            let (file, message) = both(listener);
            let (mut file, mut message) = (taken(file), taken(message));
            assert_eq!(
                serde_json::to_value(&file.0).expect("JSON"),
                serde_json::to_value(&message.0).expect("JSON")
            );
            // An empty list is nothing in a message, and its fields are in another order.
            file.1.retain(|path| !path.ends_with(".access_log"));
            file.1.sort();
            message.1.sort();
            assert_eq!(file.1, message.1);
            seen += 1;
        }
    }
    assert!(seen >= 6, "{seen}");
}

#[test]
fn what_would_change_who_is_served_is_refused_in_the_same_words() {
    let chain = |extra: Value| {
        let mut chain = tcp(json!({}))["filter_chains"][0].clone();
        for (key, value) in extra.as_object().expect("fields") {
            chain[key] = value.clone();
        }
        tcp(json!({ "filter_chains": [chain] }))
    };
    let filter = |extra: Value| {
        let mut listener = tcp(json!({}));
        for (key, value) in extra.as_object().expect("fields") {
            listener["filter_chains"][0]["filters"][0]["typed_config"][key] = value.clone();
        }
        listener
    };
    let tls = |context: Value| {
        let mut context = context;
        context["@type"] = format!("{TYPES}.transport_sockets.tls.v3.DownstreamTlsContext").into();
        chain(json!({ "transport_socket": { "name": "tls", "typed_config": context } }))
    };
    for (listener, wrong) in [
        (
            tcp(json!({ "filter_chains": [] })),
            "resources[0].filter_chains: ",
        ),
        (
            tcp(
                json!({ "address": { "socket_address": { "address": "localhost", "port_value": 80 } } }),
            ),
            "resources[0].address.socket_address.address: ",
        ),
        (
            tcp(
                json!({ "address": { "socket_address": { "address": "127.0.0.1", "port_value": 65536 } } }),
            ),
            "resources[0].address",
        ),
        (
            chain(json!({ "filter_chain_match": { "address_suffix": "1.1" } })),
            "resources[0].filter_chains[0].filter_chain_match.address_suffix: not supported",
        ),
        (
            chain(json!({ "filter_chain_match": { "destination_port": 70000 } })),
            "resources[0].filter_chains[0].filter_chain_match.destination_port: ",
        ),
        (
            filter(json!({ "idle_timeout": "-1s" })),
            "resources[0].filter_chains[0].filters[0].typed_config.idle_timeout: `-1s` is not a duration",
        ),
        (
            tls(json!({ "require_sni": true, "common_tls_context": {} })),
            "resources[0].filter_chains[0].transport_socket",
        ),
        (
            tcp(
                json!({ "listener_filters": [{ "name": "x", "typed_config": {
                "@type": format!("{TYPES}.filters.network.tcp_proxy.v3.TcpProxy")
            } }] }),
            ),
            "resources[0].listener_filters[0]: not supported",
        ),
    ] {
        let (file, message) = both(&listener);
        assert_eq!(words(&file), words(&message));
        let told = file.rejected[0].error.to_string();
        assert!(told.starts_with(wrong), "{told}");
    }
}

#[test]
fn an_any_of_an_unknown_type_is_refused_where_its_type_matters_and_told_elsewhere() {
    let mut message =
        Message::decode(&*messages::resource(tcp(json!({}))).value).expect("a listener");
    let unknown = Any {
        type_url: "type.googleapis.com/example.Unknown".into(),
        value: vec![8, 1],
    };
    message.filter_chains[0].filters[0].config_type =
        Some(filter::ConfigType::TypedConfig(unknown.clone()));
    let error = Listener::from_protobuf(&message).expect_err("refused");
    assert!(
        error.to_string().starts_with(
            "filter_chains[0].filters[0].typed_config.@type: unknown extension type \
             `type.googleapis.com/example.Unknown`, expected one of `envoy.extensions.filters.network."
        ),
        "{error}"
    );
    // An access log is not looked into.
    let mut logged =
        Message::decode(&*messages::resource(tcp(json!({}))).value).expect("a listener");
    logged.access_log = vec![AccessLog {
        config_type: Some(access_log::ConfigType::TypedConfig(unknown.clone())),
        ..AccessLog::default()
    }];
    let read = Listener::from_protobuf(&logged).expect("a good listener");
    assert_eq!(read.unknown_fields, ["access_log"]);
    let update = ListenerUpdate::from_resources("", [&unknown]);
    assert_eq!(
        update.rejected[0].error.to_string(),
        "resources[0].@type: unknown resource type `example.Unknown`, expected one of \
         `envoy.config.listener.v3.Listener`"
    );
}

#[test]
fn fields_that_nobody_knows_are_told_and_compared() {
    let with = |bytes: &[u8]| {
        let mut message = messages::resource(tcp(json!({})));
        message.value.extend(bytes);
        taken(ListenerUpdate::from_resources("", [&message]))
    };
    // Field 2000, a varint: 1, then 2.
    let (one, fields) = with(&[0x80, 0x7d, 1]);
    assert_eq!(fields, ["resources[0].unknown_2000"]);
    let (two, _) = with(&[0x80, 0x7d, 2]);
    assert!(!one.same_content(&two));
    assert!(one.same_content(&with(&[0x80, 0x7d, 1]).0));
}

#[test]
fn a_mode_of_0_is_none_in_a_file_as_in_a_message() {
    let listener = |pipe: Value| tcp(json!({ "address": { "pipe": pipe } }));
    let (file, message) = both(&listener(json!({ "path": "/run/a", "mode": 0 })));
    assert_eq!(words(&file), words(&message));
    let (without, _) = both(&listener(json!({ "path": "/run/a" })));
    assert_eq!(file, without);
}

#[test]
fn bytes_that_are_no_listener_are_refused_and_hold_up_nobody() {
    let good = messages::resource(tcp(json!({})));
    let mut bad = good.clone();
    bad.value.truncate(bad.value.len() - 1);
    let update = ListenerUpdate::from_resources("3", [&bad, &good]);
    assert_eq!(update.listeners.len(), 1);
    let rejected = &update.rejected[0];
    assert_eq!(
        (rejected.index, rejected.error.kind()),
        (0, ConfigErrorKind::Shape)
    );
    let told = rejected.error.to_string();
    assert!(
        told.starts_with("resources[0]: not a `envoy.config.listener.v3.Listener`: "),
        "{told}"
    );
}

#[test]
fn bytes_that_are_no_message_hide_no_other_mistake() {
    let listener = tcp(json!({ "use_original_dst": true }));
    let mut message =
        Message::decode(&*messages::resource(listener.clone()).value).expect("a listener");
    let mut chain = message.filter_chains[0].clone();
    chain.name = "other".into();
    message.filter_chains.push(chain);
    for chain in &mut message.filter_chains {
        let Some(filter::ConfigType::TypedConfig(config)) = &mut chain.filters[0].config_type
        else {
            panic!("{chain:?}")
        };
        config.value = vec![0xff];
    }
    let nested = Any {
        value: message.encode_to_vec(),
        ..messages::resource(listener.clone())
    };
    let mut garbage = nested.clone();
    garbage.value = vec![0xff];
    let update =
        ListenerUpdate::from_resources("3", [&garbage, &nested, &messages::resource(listener)]);
    let fields = update.rejected.iter().flat_map(|one| one.error.fields());
    let proxy = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
    let expected = [
        (
            "resources[0]",
            "not a `envoy.config.listener.v3.Listener`: ".to_owned(),
        ),
        (
            "resources[1].filter_chains[0].filters[0].typed_config",
            format!("not a `{proxy}`: "),
        ),
        (
            "resources[1].filter_chains[1].filter_chain_match",
            "filter_chains[0] has the same".to_owned(),
        ),
        (
            "resources[1].filter_chains[1].filters[0].typed_config",
            format!("not a `{proxy}`: "),
        ),
        ("resources[1].use_original_dst", "not supported".to_owned()),
        (
            "resources[2].name",
            "duplicate, resources[1] has it already".to_owned(),
        ),
        ("resources[2].use_original_dst", "not supported".to_owned()),
    ];
    let found: Vec<_> = fields.collect();
    let paths: Vec<_> = found.iter().map(|field| &*field.path).collect();
    let mut sorted = paths.clone();
    sorted.sort_unstable();
    assert_eq!(
        sorted,
        expected.each_ref().map(|(path, _)| *path),
        "{found:#?}"
    );
    for (path, message) in &expected {
        let field = found
            .iter()
            .find(|field| field.path == *path)
            .expect("it is there");
        assert!(field.message.starts_with(message), "{field}");
    }
    assert_eq!(update.rejected[1].name.as_deref(), Some("in"));
    let error = Listener::from_protobuf(&message).expect_err("it is wrong");
    assert_eq!(error.fields().len(), 4, "{error}");
}

#[test]
fn a_wrapped_listener_is_read_and_wrappers_have_a_bottom() {
    let wrap = |inner: Any| Any {
        type_url: "type.googleapis.com/envoy.service.discovery.v3.Resource".into(),
        value: Resource {
            resource: Some(inner),
            ..Resource::default()
        }
        .encode_to_vec(),
    };
    let mut wrapped = wrap(messages::resource(tcp(json!({}))));
    assert_eq!(
        taken(ListenerUpdate::from_resources("", [&wrapped])).0.name,
        "in"
    );
    for _ in 0..1000 {
        wrapped = wrap(wrapped);
    }
    let update = ListenerUpdate::from_resources("", [&wrapped]);
    assert!(update.rejected[0].error.to_string().ends_with(": too deep"));
}

fn duration() -> impl Strategy<Value = String> {
    (
        0_u64..4000,
        prop::sample::select(vec!["s", ".5s", ".000000001s"]),
    )
        .prop_map(|(seconds, rest)| format!("{seconds}{rest}"))
}

fn address() -> impl Strategy<Value = Value> {
    prop_oneof![
        (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| {
            let ip = std::net::Ipv4Addr::from(ip).to_string();
            json!({ "socket_address": { "address": ip, "port_value": port } })
        }),
        (any::<u128>(), any::<u16>(), any::<bool>()).prop_map(|(ip, port, compat)| {
            let ip = std::net::Ipv6Addr::from(ip).to_string();
            json!({ "socket_address": { "address": ip, "port_value": port, "ipv4_compat": compat } })
        }),
        ("[a-z]{1,8}", prop::option::of(0_u32..0o1000)).prop_map(|(path, mode)| match mode {
            Some(mode) => json!({ "pipe": { "path": path, "mode": mode } }),
            None => json!({ "pipe": { "path": path } }),
        }),
    ]
}

fn http() -> impl Strategy<Value = Value> {
    let codec = prop::sample::select(vec!["AUTO", "HTTP1", "HTTP2"]);
    let header = prop::sample::select(vec![
        "ADD_IF_ABSENT",
        "OVERWRITE_IF_EXISTS",
        "APPEND_IF_EXISTS_OR_ADD",
    ]);
    let times = prop::collection::vec(duration(), 5);
    (codec, header, times, 0_u8..101, 200_u32..600, "[ -~]{0,20}", any::<bool>()).prop_map(
        |(codec, header, times, jitter, status, body, enabled)| {
            json!({
                "@type": format!("{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
                "stat_prefix": "http", "codec_type": codec,
                "drain_timeout": times[0], "delayed_close_timeout": times[1], "request_timeout": times[2],
                "drain_timeout_jitter": { "value": jitter },
                "common_http_protocol_options": { "idle_timeout": times[3] },
                "upgrade_configs": [{ "upgrade_type": "websocket", "enabled": enabled }],
                "http_filters": [{ "name": "router", "typed_config": {
                    "@type": format!("{TYPES}.filters.http.router.v3.Router")
                } }],
                "route_config": { "validate_clusters": enabled, "virtual_hosts": [{
                    "name": "all", "domains": ["*"],
                    "response_headers_to_add": [{
                        "header": { "key": "x-version", "value": body.trim() }, "append_action": header
                    }],
                    "routes": [
                        { "match": { "path": "/v" }, "direct_response": { "status": status, "body": { "inline_string": body } } },
                        { "match": { "prefix": "" }, "route": { "cluster": "c", "timeout": times[4] } },
                    ],
                }] },
            })
        },
    )
}

prop_compose! {
    fn listener()(
        name in "[a-z]{1,9}",
        address in address(),
        manager in http(),
        port in prop::option::of(1_u32..65536),
        ranges in prop::collection::vec((any::<[u8; 4]>(), 0_u32..33), 0..3),
        limit in prop::option::of(any::<u32>()),
        modify_only: bool,
        direction in prop::sample::select(vec!["UNSPECIFIED", "INBOUND", "OUTBOUND"]),
    ) -> Value {
        let mut listener = json!({
            "name": name, "address": address,
            "drain_type": if modify_only { "MODIFY_ONLY" } else { "DEFAULT" },
            "traffic_direction": direction,
            "enable_reuse_port": modify_only,
            "filter_chains": [{
                "name": "http",
                "filter_chain_match": { "source_prefix_ranges": [] },
                "filters": [{ "name": "hcm", "typed_config": manager }],
            }],
            "default_filter_chain": tcp(json!({}))["filter_chains"][0],
        });
        let criteria = &mut listener["filter_chains"][0]["filter_chain_match"];
        for (ip, bits) in ranges {
            let range = json!({ "address_prefix": std::net::Ipv4Addr::from(ip).to_string(), "prefix_len": bits });
            criteria["source_prefix_ranges"].as_array_mut().expect("a list").push(range);
        }
        if let Some(port) = port {
            criteria["destination_port"] = port.into();
        }
        if let Some(limit) = limit {
            listener["per_connection_buffer_limit_bytes"] = limit.into();
        }
        listener
    }
}

proptest! {
    #[test]
    fn a_listener_is_the_same_from_a_file_and_from_a_message(listener in listener()) {
        let (file, message) = both(&listener);
        prop_assert_eq!(words(&file), words(&message));
    }
}
