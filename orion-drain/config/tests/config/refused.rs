//! What is refused, and which field is named.

use orion_drain_config::{Bootstrap, ConfigErrorKind, Listener};

use super::http_listener;

fn refused(yaml: &str) -> (ConfigErrorKind, String) {
    let error = Listener::from_yaml(yaml).expect_err(yaml);
    (error.kind(), error.to_string())
}

const FILTER: &str = "filter_chains[0].filters[0].typed_config";

#[test]
fn a_wrong_value_names_its_field_and_what_is_allowed() {
    for (extra, field, message) in [
        (
            "drain_timeout: soon",
            "drain_timeout",
            "`soon` is not a duration such as `600s`, `0.25s` or `10m`",
        ),
        (
            "drain_timeout: 5",
            "drain_timeout",
            "invalid type: integer `5`, expected a duration such as `600s`, `0.25s` or `10m`",
        ),
        (
            "codec_type: HTTP9",
            "codec_type",
            "unknown value `HTTP9`, expected one of `AUTO`, `HTTP1`, `HTTP2`",
        ),
        (
            "common_http_protocol_options: { idle_timeout: [] }",
            "common_http_protocol_options.idle_timeout",
            "invalid type: sequence, expected a duration such as `600s`, `0.25s` or `10m`",
        ),
        (
            "http_filters: [{ name: lua, typed_config: { '@type': type.googleapis.com/a.Lua } }]",
            "http_filters[0].typed_config.@type",
            "unknown extension type `type.googleapis.com/a.Lua`, expected one of \
             `envoy.extensions.filters.http.router.v3.Router`, \
             `envoy.extensions.filters.http.health_check.v3.HealthCheck`",
        ),
    ] {
        let (kind, error) = refused(&http_listener(extra));
        assert_eq!(kind, ConfigErrorKind::Shape, "{error}");
        assert_eq!(error, format!("{FILTER}.{field}: {message}"));
    }
}

#[test]
fn wrong_values_of_the_listener_itself_are_named() {
    let listener = http_listener("");
    for (from, to, expected) in [
        (
            "name: ingress",
            "drain_type: NEVER",
            "drain_type: unknown value `NEVER`, expected one of `DEFAULT`, `MODIFY_ONLY`",
        ),
        (
            "name: ingress",
            "traffic_direction: IN",
            "traffic_direction: unknown value `IN`, expected one of `UNSPECIFIED`, `INBOUND`, `OUTBOUND`",
        ),
        (
            "10000",
            "70000",
            "address.socket_address.port_value: invalid value: integer `70000`, expected a number from 0 to 65535",
        ),
        (
            "127.0.0.1",
            "localhost",
            "address.socket_address.address: invalid IP address syntax",
        ),
        (
            "socket_address:",
            "envoy_internal_address:",
            "address: expected one of `socket_address`, `pipe`",
        ),
        (
            "{ prefix:",
            "{ connect_matcher:",
            "filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].match: expected one of `prefix`, `path`, `safe_regex`, `path_separated_prefix`",
        ),
    ] {
        let (_, error) = refused(&listener.replace(from, to));
        assert_eq!(error, expected);
    }
}

#[test]
fn a_number_may_stand_in_quotes_as_in_protobufs_json() {
    let port = |text: &str| {
        super::read(&http_listener("").replace("10000", text))
            .address
            .to_string()
    };
    assert_eq!(port("'81'"), "127.0.0.1:81");
    assert_eq!(port("82.0"), "127.0.0.1:82");
    // As Envoy's YAML has it.
    assert_eq!(port("0120"), "127.0.0.1:80");
    for text in ["82.5", "-1", "'a'", "[]", "080"] {
        let (_, error) = refused(&http_listener("").replace("10000", text));
        assert!(
            error.ends_with("expected a number from 0 to 65535"),
            "{error}"
        );
    }
}

/// Played against Envoy 1.40.0: such a key is where an anchor stands, and no field.
#[test]
fn a_key_that_is_marked_ignore_stands_for_nothing() {
    let listener = http_listener("use_remote_address: *yes\nnormalize_path: !mine true");
    let listener = format!("!ignore shared: [ &yes true, {{ any: thing }} ]\n{listener}");
    let loaded = Listener::from_yaml(&listener).expect("a listener");
    assert_eq!(loaded.unknown_fields, [""; 0]);
    let listener = listener.replace("!ignore shared", "!other shared");
    let loaded = Listener::from_yaml(&listener).expect("a listener");
    assert_eq!(loaded.foreign_fields, ["shared"]);
}

/// Played against Envoy 1.40.0.
#[test]
fn two_listeners_at_one_address_are_refused_unless_the_system_chooses_the_port() {
    let bootstrap = |second: &str, more: &str| {
        let listener = |name: &str, address: &str, more: &str| {
            let listener = http_listener("").replace("ingress", name) + more;
            let listener = listener.replace("127.0.0.1, port_value: 10000", address);
            format!("\n  - {}", listener.trim().replace('\n', "\n    "))
        };
        let first = listener("a", "127.0.0.1, port_value: 81", "");
        let third = listener("c", "127.0.0.1, port_value: 0", "");
        let fourth = listener("d", "127.0.0.1, port_value: 0", "");
        let second = listener("b", second, more);
        let all = [first, second, third, fourth].concat();
        Bootstrap::from_yaml(&format!("static_resources:\n  listeners:{all}\n"))
    };
    let taken = bootstrap("127.0.0.1, port_value: 82", "");
    assert!(taken.is_ok(), "{taken:?}");
    let additional = "additional_addresses: { address: { socket_address: { address: 127.0.0.1, port_value: 81 } } }";
    for (second, more, field) in [
        ("127.0.0.1, port_value: 81", "", "address"),
        (
            "127.0.0.1, port_value: 82",
            additional,
            "additional_addresses[0].address",
        ),
    ] {
        let error = bootstrap(second, more).expect_err(field).to_string();
        let wrong = format!("listeners[1].{field}: duplicate, listeners[0] has it already");
        assert!(error.contains(&wrong), "{error}");
    }
}

#[test]
fn a_redirect_to_two_schemes_is_refused() {
    let redirect = "redirect: { https_redirect: true, scheme_redirect: ftp }";
    let listener = http_listener("").replace(
        "direct_response: { status: 200, body: { inline_string: \"v1\" } }",
        redirect,
    );
    let error = Listener::from_yaml(&listener).expect_err("two schemes");
    let wrong = "redirect: expected one of `https_redirect`, `scheme_redirect`";
    assert!(error.to_string().contains(wrong), "{error}");
}

#[test]
fn a_header_that_says_how_long_a_message_is_cannot_be_added() {
    for key in ["Content-Length", "transfer-encoding"] {
        for list in ["request_headers_to_add", "response_headers_to_add"] {
            let more = format!(
                "{list}: {{ header: {{ key: {key}, value: '5' }} }}\n        virtual_hosts:"
            );
            let listener = http_listener("").replace("virtual_hosts:", &more);
            let error = Listener::from_yaml(&listener).expect_err(key).to_string();
            let wrong = format!("{list}[0].header: `{key}` says how long a message is");
            assert!(error.contains(&wrong), "{error}");
        }
    }
}

/// In Envoy, too, `<<` is a field that no message has.
#[test]
fn a_key_that_no_field_can_have_hides_nothing_in_a_typed_config() {
    for key in ["<<", "0", "@note", "//"] {
        let field = format!("{key:?}: {{ use_remote_address: true }}");
        let (kind, error) = refused(&http_listener(&field));
        assert_eq!(kind, ConfigErrorKind::Shape);
        assert_eq!(error, format!("{FILTER}: `{key}`: no such field"));
    }
}

#[test]
fn a_key_that_stands_twice_once_in_camel_case_is_refused_with_its_path() {
    let twice = http_listener("use_remote_address: true\nuseRemoteAddress: false");
    let error = Listener::from_yaml(&twice).expect_err("one of them would be lost");
    let [field] = error.fields() else {
        panic!("{error}")
    };
    assert_eq!(
        (&*field.path, &*field.message),
        (
            &*format!("{FILTER}.use_remote_address"),
            "duplicate key, once in camel case"
        )
    );
    assert!(field.line.is_some(), "{field:?}");
    // Keys of metadata are no fields.
    let metadata = "metadata: { filter_metadata: { a: { a_b: 1, aB: 2 } } }\nname:";
    let listener = http_listener("").replacen("name:", metadata, 1);
    Listener::from_yaml(&listener).expect("all of it is kept");
}

#[test]
fn times_of_0_that_would_break_every_connection_are_refused() {
    for (wrong, times) in [
        ("timeout", "interval: 1s, timeout: 0s"),
        ("interval", "interval: 0.0001s, timeout: 1s"),
        ("interval", "interval: 0s, timeout: 1s"),
    ] {
        let (_, error) = refused(&http_listener(&format!(
            "http2_protocol_options: {{ connection_keepalive: {{ {times} }} }}"
        )));
        let at = format!("http2_protocol_options.connection_keepalive.{wrong}");
        assert_eq!(error, format!("{FILTER}.{at}: must be at least 0.001s"));
    }
    let bootstrap =
        r#"{ "static_resources": { "clusters": [{ "name": "a", "connect_timeout": "0s" }] } }"#;
    let error = Bootstrap::from_json(bootstrap).expect_err("no connection would be made");
    let at = "static_resources.clusters[0].connect_timeout";
    let error = error.to_string();
    assert!(error.contains(&format!("{at}: must be above 0")), "{error}");
}

#[test]
fn an_upgrade_is_named_once() {
    let configs = "upgrade_configs: [ { upgrade_type: websocket, enabled: false }, { upgrade_type: WebSocket } ]";
    let (_, error) = refused(&http_listener(configs));
    let at = "upgrade_configs[1].upgrade_type: duplicate upgrade `WebSocket`";
    assert_eq!(error, format!("{FILTER}.{at}"));
}

#[test]
fn an_unknown_filter_is_named() {
    let (kind, error) =
        refused(&http_listener("").replace("HttpConnectionManager", "HttpDisconnectionManager"));
    assert_eq!(kind, ConfigErrorKind::Shape);
    assert!(
        error.starts_with("filter_chains[0].filters[0].typed_config.@type: unknown extension type"),
        "{error}"
    );
}

#[test]
fn every_broken_rule_is_found_at_once() {
    let yaml = http_listener("")
        .replace("- name: all", "- name: ''")
        .replace("stat_prefix: ing", "stat_prefix: ''");
    let (kind, error) = refused(&yaml);
    assert_eq!(kind, ConfigErrorKind::Invalid);
    assert_eq!(
        error,
        format!(
            "{FILTER}.stat_prefix: must not be empty; {FILTER}.route_config.virtual_hosts[0].name: must not be empty"
        )
    );
}

#[test]
fn rules_that_envoy_has_are_kept() {
    let address = "address: { socket_address: { address: 127.0.0.1, port_value: 1 } }";
    let tcp = r#"{ name: t, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: c } }"#;
    let no_cluster = tcp.replace("cluster: c", "cluster: ''");
    for (chains, expected) in [
        (String::new(), "filter_chains: no filter chains specified"),
        (
            format!("[{{ filters: [{tcp}, {tcp}] }}]"),
            "filter_chains[0].filters[0]: a terminal filter must be the last",
        ),
        (
            format!("[{{ filters: [{tcp}] }}, {{ filters: [{tcp}] }}]"),
            "filter_chains[1].filter_chain_match: filter_chains[0]",
        ),
        (
            format!("[{{ filters: [{no_cluster}] }}]"),
            "filter_chains[0].filters[0].typed_config.cluster: must not be",
        ),
        (
            format!(
                "[{{ filters: [{tcp}], filter_chain_match: {{ source_prefix_ranges: [{{ address_prefix: 10.0.0.0, prefix_len: 33 }}] }} }}]"
            ),
            "filter_chains[0].filter_chain_match.source_prefix_ranges[0].prefix_len: 33 is over 32",
        ),
        (
            format!("[{{ filters: [{tcp}], filter_chain_match: {{ destination_port: 0 }} }}]"),
            "filter_chains[0].filter_chain_match.destination_port: must be 1 to 65535",
        ),
    ] {
        let (kind, error) = refused(&format!("name: a\n{address}\nfilter_chains: {chains}"));
        assert_eq!(kind, ConfigErrorKind::Invalid, "{error}");
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn ranges_that_differ_only_in_bits_that_do_not_count_are_the_same() {
    let tcp = r#"[{ name: t, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: c } }]"#;
    let chain = |prefix: &str| {
        format!(
            "\n- {{ filters: {tcp}, filter_chain_match: {{ source_prefix_ranges: [{{ address_prefix: {prefix}, prefix_len: 8 }}] }} }}"
        )
    };
    let head = "name: a\naddress: { pipe: { path: /run/a } }\nfilter_chains:";
    let (_, error) = refused(&format!("{head}{}{}", chain("10.1.0.0"), chain("10.2.0.0")));
    assert!(error.contains("same matching rules"), "{error}");
    Listener::from_yaml(&format!("{head}{}{}", chain("10.1.0.0"), chain("11.2.0.0")))
        .expect("two ranges");
}

#[test]
fn fields_that_cannot_be_ignored_safely_are_refused() {
    let listener = http_listener("");
    for (from, to, path) in [
        (
            "- filters:",
            "- filter_chain_match: { suffix_len: 3 }\n  filters:",
            "filter_chains[0].filter_chain_match.suffix_len",
        ),
        (
            r#"{ prefix: "/" }"#,
            r#"{ prefix: "/", dynamic_metadata: [{ filter: a }] }"#,
            "filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].match.dynamic_metadata",
        ),
    ] {
        let (_, error) = refused(&listener.replace(from, to));
        assert_eq!(
            error,
            format!("{path}: not supported, and ignoring it would change what is served")
        );
    }
}

#[test]
fn listener_filters_that_only_look_are_ignored_and_others_refused() {
    let listener = |filter: &str| {
        format!(
            "listener_filters: [{{ name: f, typed_config: {{ '@type': \
             type.googleapis.com/envoy.extensions.filters.listener.{filter} }} }}]\n{}",
            http_listener("")
        )
    };
    let loaded =
        Listener::from_yaml(&listener("tls_inspector.v3.TlsInspector")).expect("it only looks");
    assert_eq!(loaded.unknown_fields, ["listener_filters"]);
    let (_, error) = refused(&listener("proxy_protocol.v3.ProxyProtocol"));
    assert_eq!(
        error,
        "listener_filters[0]: not supported, and ignoring it would change what is served"
    );
}

#[test]
fn broken_text_says_where() {
    let (kind, error) = refused("name: [");
    assert_eq!(kind, ConfigErrorKind::Syntax);
    assert!(
        error.starts_with("not YAML: ") && error.contains("line"),
        "{error}"
    );
    let error = Listener::from_json("{\n  oops")
        .expect_err("no JSON")
        .to_string();
    assert!(
        error.starts_with("not JSON: ") && error.contains("line 2"),
        "{error}"
    );
}

#[test]
fn an_unknown_cluster_is_refused_unless_nobody_wants_that_checked() {
    let routed = http_listener("").replace(
        r#"direct_response: { status: 200, body: { inline_string: "v1" } }"#,
        "route: { cluster: there, timeout: 0s }",
    );
    let known = ["there".to_owned()].into();
    let listener = super::read(&routed);
    assert_eq!(listener.check_clusters(&known), Ok(()));
    let error = listener
        .check_clusters(&[].into())
        .expect_err("unknown")
        .to_string();
    assert_eq!(
        error,
        format!(
            "{FILTER}.route_config.virtual_hosts[0].routes[0].route.cluster: unknown cluster `there`"
        )
    );
    let unchecked = routed.replace(
        "virtual_hosts:",
        "validate_clusters: false\n        virtual_hosts:",
    );
    assert_eq!(super::read(&unchecked).check_clusters(&[].into()), Ok(()));
}

/// The same listener with fields of Envoy's that are not carried out: in place of `from` stands
/// `to`.
fn with(from: &str, to: &str) -> String {
    let listener = http_listener("");
    assert!(listener.contains(from), "{from} in {listener}");
    listener.replacen(from, to, 1)
}

#[test]
fn a_field_that_decides_who_is_served_is_refused_by_its_path_unless_it_says_what_holds_anyway() {
    let route = "match: { prefix: \"/\" }";
    for (from, fields, path) in [
        ("name: ingress", "bind_to_port: false", "bind_to_port"),
        ("name: ingress", "transparent: true", "transparent"),
        ("name: ingress", "freebind: true", "freebind"),
        (
            "name: ingress",
            "use_original_dst: true",
            "use_original_dst",
        ),
        (
            "name: ingress",
            "filter_chain_matcher: {}",
            "filter_chain_matcher",
        ),
        (
            "name: ingress",
            "udp_listener_config: {}",
            "udp_listener_config",
        ),
        (
            "name: ingress",
            "internal_listener: {}",
            "internal_listener",
        ),
        ("name: ingress", "api_listener: {}", "api_listener"),
        (
            "name: ingress",
            "socket_options: [{ level: 1, name: 25, buf_value: bG8= }]",
            "socket_options[0]",
        ),
        (
            "name: ingress",
            "listener_filters: [{ name: other }]",
            "listener_filters[0]",
        ),
    ] {
        let (kind, error) = refused(&with(from, &format!("{from}\n{fields}")));
        assert_eq!(kind, ConfigErrorKind::Invalid, "{error}");
        assert!(
            error.starts_with(&format!("{path}: not supported")),
            "{error}"
        );
    }
    for (extra, path) in [
        (
            "forward_client_cert_details: ALWAYS_FORWARD_ONLY",
            "forward_client_cert_details",
        ),
        ("scoped_routes: {}", "scoped_routes"),
        ("via: edge", "via"),
        (
            "internal_address_config: { unix_sockets: true }",
            "internal_address_config",
        ),
    ] {
        let (_, error) = refused(&http_listener(extra));
        assert!(
            error.starts_with(&format!("{FILTER}.{path}: not supported")),
            "{error}"
        );
    }
    for (to, path) in [
        (
            "match: { prefix: \"/\", cookies: [{ name: a }] }",
            "match.cookies",
        ),
        (
            "match: { prefix: \"/\", tls_context: {} }",
            "match.tls_context",
        ),
        (
            "match: { prefix: \"/\", filter_state: [{ key: a }] }",
            "match.filter_state",
        ),
        (
            "typed_per_filter_config: { a: {} }\n            match: { prefix: \"/\" }",
            "typed_per_filter_config",
        ),
    ] {
        let (_, error) = refused(&with(route, to));
        assert!(
            error.contains(&format!("routes[0].{path}: not supported")),
            "{error}"
        );
    }
    // What Envoy does anyway.
    for yaml in [
        with(
            "name: ingress",
            "name: ingress\nbind_to_port: true\ntransparent: false\nadditional_addresses: []",
        ),
        with(
            "name: ingress",
            "name: ingress\nsocket_options: [{ level: 6, name: 4, int_value: 60 }]",
        ),
        with(
            route,
            "match: { prefix: \"/\", case_sensitive: true, headers: [] }",
        ),
        http_listener("normalize_path: false\nforward_client_cert_details: SANITIZE"),
        http_listener("server_name: shop\naccess_log: []\nxff_num_trusted_hops: 1"),
    ] {
        Listener::from_yaml(&yaml).expect(&yaml);
    }
}

#[test]
fn names_of_enumerations_are_read_in_any_case() {
    for extra in ["codec_type: http2", "codec_type: Http2"] {
        let loaded = Listener::from_yaml(&http_listener(extra)).expect(extra);
        let text = serde_json::to_string(&loaded.value).expect("JSON");
        assert!(text.contains("\"codec_type\":\"HTTP2\""), "{text}");
    }
}

/// Envoy carries each of them out.
#[test]
fn where_an_endpoint_is_reached_and_who_it_has_to_be_is_not_left_out() {
    let bootstrap = |more: &str, cluster: &str| {
        let cluster = format!("{{ name: a, connect_timeout: 1s, {cluster} }}");
        let text = format!("{more}\nstatic_resources: {{ clusters: [ {cluster} ] }}\n");
        Bootstrap::from_yaml(&text)
    };
    let http = |options: &str| {
        let kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        format!(
            "typed_extension_protocol_options: {{ {kind}: {{ '@type': type.googleapis.com/{kind}, \
             explicit_http_config: {{ http_protocol_options: {{}} }}, {options} }} }}"
        )
    };
    let names = "upstreamHttpProtocolOptions: { autoSni: true, autoSanValidation: true }";
    let not_names = "upstream_http_protocol_options: { auto_sni: false }";
    let dns = "typed_dns_resolver_config: { name: cares, typed_config: { '@type': \
               type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig";
    let server = "resolvers: [ { socket_address: { address: 10.0.0.1, port_value: 53 } } ]";
    let tls = "transport_socket: { name: tls, typed_config: { '@type': \
               type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, \
               common_tls_context: { validation_context: { trusted_ca: { filename: ca.pem }";
    let at = "static_resources.clusters[0]";
    for (more, cluster, path) in [
        ("", &*http(names), "upstream_http_protocol_options.auto_sni"),
        (
            "",
            names,
            "upstream_http_protocol_options.auto_san_validation",
        ),
        (
            "",
            "connection_pool_per_downstream_connection: true",
            "connection_pool_per_downstream_connection",
        ),
        ("", &format!("dns_{server}"), "dns_resolvers"),
        (
            "",
            &format!("dns_resolution_config: {{ {server} }}"),
            "dns_resolution_config.resolvers",
        ),
        (
            "",
            &format!("{dns}, {server} }} }}"),
            "typed_dns_resolver_config.typed_config.resolvers",
        ),
        (
            &format!("{dns}, {server} }} }}"),
            "",
            "typed_dns_resolver_config.typed_config.resolvers",
        ),
        (
            "cluster_manager: { upstream_bind_config: { source_address: { address: 127.0.0.2, port_value: 0 } } }",
            "",
            "cluster_manager.upstream_bind_config",
        ),
        (
            "",
            &format!("{tls}, max_verify_depth: 0 }} }} }} }}"),
            "validation_context.max_verify_depth",
        ),
    ] {
        let error = bootstrap(more, cluster).expect_err(path).to_string();
        let wrong = format!("{path}: not supported, and ignoring it would change what is served");
        assert!(error.contains(&wrong), "{path}: {error}");
        assert_eq!(error.contains(at), more.is_empty(), "{error}");
    }
    for (more, cluster) in [
        ("", &*http(not_names)),
        ("", not_names),
        (&*format!("{dns}, udp_max_queries: 100 }} }}"), ""),
        ("cluster_manager: { local_cluster_name: a }", ""),
        ("", &format!("{tls}, max_verify_depth: 100 }} }} }} }}")),
    ] {
        if cluster.starts_with("transport_socket") && !cfg!(feature = "tls") {
            continue;
        }
        let loaded = bootstrap(more, cluster).unwrap_or_else(|error| panic!("{cluster}: {error}"));
        assert_eq!(
            loaded.unknown_fields.len(),
            1,
            "{:?}",
            loaded.unknown_fields
        );
    }
}

/// Played against Envoy 1.40.0: connections of such a listener are beyond every limit there.
#[test]
fn a_listener_that_is_not_counted_is_refused_beside_a_limit_of_connections() {
    let kind = "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig";
    let manager = format!(
        "overload_manager: {{ resource_monitors: {{ name: a, typed_config: {{ '@type': {kind}, max_active_downstream_connections: 1 }} }} }}"
    );
    let runtime = "layered_runtime: { layers: [ { name: a, static_layer: { overload.global_downstream_max_connections: 1 } } ] }";
    for field in ["bypass_overload_manager", "ignore_global_conn_limit"] {
        let listener = format!("{}{field}: true\n", http_listener(""));
        let listener = listener.trim().replace('\n', "\n    ");
        let listeners = format!("static_resources:\n  listeners:\n  - {listener}\n");
        Bootstrap::from_yaml(&listeners).expect("there is no limit");
        for limit in [&manager, runtime] {
            let error = Bootstrap::from_yaml(&format!("{limit}\n{listeners}")).expect_err(field);
            let wrong = format!(
                "static_resources.listeners[0].{field}: not supported beside a limit of connections"
            );
            assert!(error.to_string().contains(&wrong), "{error}");
        }
    }
}
