//! Fields that say how connections arrive and where they go on: sockets, TLS, jitter, upstream
//! protocols.

use std::time::Duration;

use listener_versions::{ListenAddress, SocketOptions};
use orion_drain_config::{Bootstrap, ConfigErrorKind, Listener};

use super::{http_listener, manager, read};

/// The address of the listeners here.
fn at() -> ListenAddress {
    "127.0.0.1:10000".parse().expect("an address")
}

fn refused(yaml: &str) -> String {
    Listener::from_yaml(yaml).expect_err(yaml).to_string()
}

#[test]
fn a_listener_opens_one_shared_socket_unless_it_says_otherwise() {
    assert_eq!(
        read(&http_listener("")).socket_options(&at()),
        SocketOptions::default()
    );
    for (value, mode) in [("true", true), ("false", false)] {
        let yaml = format!(
            "{}enable_reuse_port: {value}\ntcp_backlog_size: 7\n",
            http_listener("")
        );
        let expected = SocketOptions::default()
            .with_reuse_port(mode)
            .with_backlog(7);
        assert_eq!(read(&yaml).socket_options(&at()), expected);
    }
    let yaml = http_listener("").replace("127.0.0.1,", "'::', ipv4_compat: true,");
    let expected = SocketOptions::default().with_dual_stack(true);
    assert_eq!(read(&yaml).socket_options(&at()), expected);
}

#[test]
fn a_change_of_socket_options_is_a_change() {
    let listener = read(&http_listener(""));
    for field in ["enable_reuse_port: true", "tcp_backlog_size: 7"] {
        let other = read(&format!("{}{field}\n", http_listener("")));
        assert!(
            !listener.same_content(&other) && !listener.differs_only_in_chains(&other),
            "{field}"
        );
    }
}

/// The address of a listener, as a Unix socket with these fields.
fn pipe(fields: &str) -> String {
    let address = "socket_address: { address: 127.0.0.1, port_value: 10000 }";
    http_listener("").replace(address, &format!("pipe: {{ {fields} }}"))
}

#[test]
fn the_mode_of_a_pipe_is_that_of_its_socket_and_0_is_none() {
    let owner_alone = SocketOptions::default().with_mode(0o600);
    for mode in ["384", "'384'", "384.0", "0600", "0o600", "0x180"] {
        let listener = read(&pipe(&format!("path: /run/a, mode: {mode}")));
        assert_eq!(listener.socket_options(&at()), owner_alone, "{mode}");
    }
    let none = read(&pipe("path: /run/a"));
    assert_eq!(none.socket_options(&at()), SocketOptions::default());
    for mode in ["0", "'0'", "000"] {
        let listener = read(&pipe(&format!("path: /run/a, mode: {mode}")));
        assert_eq!(listener, none, "{mode}");
    }
    let other = read(&pipe("path: /run/a, mode: 511"));
    assert_eq!(
        other.socket_options(&at()),
        SocketOptions::default().with_mode(0o777)
    );
    assert!(!none.same_content(&other) && !none.differs_only_in_chains(&other));
}

#[test]
fn a_pipe_that_cannot_be_is_refused_with_its_field() {
    for (fields, expected) in [
        ("path: ''", "path: must not be empty"),
        (
            "path: /run/a, mode: 512",
            "mode: 512 is over 511 (octal 777)",
        ),
        ("path: '@a', mode: 384", "mode: an abstract socket has none"),
    ] {
        let error = Listener::from_yaml(&pipe(fields)).expect_err(fields);
        assert_eq!(error.kind(), ConfigErrorKind::Invalid);
        assert_eq!(error.to_string(), format!("address.pipe.{expected}"));
        let address = format!("address: {{ pipe: {{ {fields} }} }}");
        for (bootstrap, at) in [
            (format!("admin: {{ {address} }}"), "admin".to_owned()),
            (
                cluster(&format!(
                    "load_assignment: {{ cluster_name: a, endpoints: [{{}}, {{ lb_endpoints: [{{ endpoint: {{ {address} }} }}] }}] }}"
                )),
                "static_resources.clusters[0].load_assignment.endpoints[1].lb_endpoints[0].endpoint"
                    .to_owned(),
            ),
        ] {
            let error = Bootstrap::from_yaml(&bootstrap).expect_err(fields);
            assert_eq!(error.to_string(), format!("{at}.address.pipe.{expected}"));
        }
    }
    for fields in ["path: /run/a, mode: -1", "path: /run/a, mode: 0800"] {
        let error = refused(&pipe(fields));
        assert!(
            error.starts_with("address.pipe.mode: ") && error.contains("expected a number"),
            "{error}"
        );
    }
    for fields in [
        "path: '@a'",
        "path: '@a', mode: 0",
        "path: './@a', mode: 384",
    ] {
        read(&pipe(fields));
    }
}

#[test]
fn drain_timeout_jitter_is_a_percentage_of_the_drain_timeout() {
    let listener = read(&http_listener(
        "drain_timeout: 8s\ndrain_timeout_jitter: { value: 25 }",
    ));
    let timeouts = manager(&listener).timeouts();
    assert_eq!(
        (timeouts.drain, timeouts.drain_jitter),
        (Duration::from_secs(8), Duration::from_secs(2))
    );
    assert_eq!(
        manager(&read(&http_listener(""))).timeouts().drain_jitter,
        Duration::ZERO
    );
    let path = "filter_chains[0].filters[0].typed_config.drain_timeout_jitter.value: ";
    for wrong in ["101", "-1"] {
        let error = refused(&http_listener(&format!(
            "drain_timeout_jitter: {{ value: {wrong} }}"
        )));
        assert!(error.starts_with(path), "{error}");
    }
}

#[test]
fn limits_of_age_that_envoy_refuses_are_refused_with_their_field() {
    let path = "filter_chains[0].filters[0].typed_config.";
    let http = |options: &str| {
        refused(&http_listener(&format!(
            "common_http_protocol_options: {{ {options} }}"
        )))
    };
    let tcp = |option: &str| {
        refused(&format!(
            "name: a\naddress: {{ socket_address: {{ address: 127.0.0.1, port_value: 80 }} }}\nfilter_chains: [{{ filters: [{{ \
             name: t, typed_config: {{ '@type': \
             type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: c, \
             {option} }} }}] }}]"
        ))
    };
    for (error, field) in [
        (
            http("max_connection_duration_jitter: { value: 101 }"),
            "common_http_protocol_options.max_connection_duration_jitter.value: ",
        ),
        (
            http("max_requests_per_connection: -1"),
            "common_http_protocol_options.max_requests_per_connection: ",
        ),
        (
            tcp("max_downstream_connection_duration: 0s"),
            "max_downstream_connection_duration: ",
        ),
        (
            tcp("max_downstream_connection_duration_jitter_percentage: { value: -1 }"),
            "max_downstream_connection_duration_jitter_percentage.value: ",
        ),
    ] {
        assert!(error.starts_with(&format!("{path}{field}")), "{error}");
    }
}

/// A listener with TLS; `{context}` stands in its context.
fn tls(context: &str) -> String {
    let socket = format!(
        "- transport_socket: {{ name: tls, typed_config: {{ \"@type\": \
         type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, {context} }} }}\n  filters:"
    );
    http_listener("").replace("- filters:", &socket)
}

const CERTIFICATE: &str =
    "{ certificate_chain: { filename: a.pem }, private_key: { inline_string: b } }";

#[cfg(feature = "tls")]
#[test]
fn a_tls_context_is_read_and_written_as_it_was() {
    let yaml = tls(&format!(
        "common_tls_context: {{ tls_certificates: [{CERTIFICATE}], alpn_protocols: [h2, http/1.1] }}"
    ));
    let listener = read(&yaml);
    let json = serde_json::to_string(&listener).expect("JSON");
    assert_eq!(
        Listener::from_json(&json).expect("the same").value,
        listener
    );
    let error = listener.tls(&[]).expect_err("there is no such file");
    let context = "filter_chains[0].transport_socket.typed_config.common_tls_context";
    assert_eq!(
        error.path,
        format!("{context}.tls_certificates[0].certificate_chain.filename")
    );
    let clear = read(&http_listener("")).tls(&[]).expect("nothing to read");
    assert!(clear.len() == 1 && clear[0].is_none());
}

#[test]
fn of_a_key_that_cannot_be_read_no_error_says_what_it_is() {
    for (wrong, field) in [
        ("'KEY, expected no more'", "private_key"),
        ("[KEY]", "private_key"),
        ("{ inline_string: [KEY] }", "private_key.inline_string"),
        ("{ inline_string: 834719 }", "private_key.inline_string"),
        ("{ inline_bytes: KEY }", "private_key"),
        ("{ KEY: b }", "private_key"),
        ("{ filename: a, inline_string: KEY }", "private_key"),
    ] {
        let certificate = CERTIFICATE.replace("{ inline_string: b }", wrong);
        let context = format!("common_tls_context: {{ tls_certificates: [{certificate}] }}");
        let error = Listener::from_yaml(&tls(&context)).expect_err(wrong);
        let error = error.to_string();
        let at = format!("tls_certificates[0].{field}: invalid value, expected ");
        assert!(error.contains(&at), "{error}");
        assert!(
            !error.contains("KEY") && !error.contains("834719"),
            "{error}"
        );
    }
}

#[test]
fn tls_that_is_not_served_is_refused_with_its_path() {
    let socket = "filter_chains[0].transport_socket.typed_config";
    let common = format!("{socket}.common_tls_context");
    let certificates = format!("tls_certificates: [{CERTIFICATE}]");
    for (context, path) in [
        (
            format!("require_client_certificate: true, common_tls_context: {{ {certificates} }}"),
            format!("{socket}.require_client_certificate"),
        ),
        (
            format!("require_sni: true, common_tls_context: {{ {certificates} }}"),
            format!("{socket}.require_sni"),
        ),
        (
            format!(
                "common_tls_context: {{ {certificates}, tls_params: {{ tls_maximum_protocol_version: TLSv1_1 }} }}"
            ),
            format!("{common}.tls_params.tls_maximum_protocol_version"),
        ),
        (
            "common_tls_context: {}".to_owned(),
            format!("{common}.tls_certificates"),
        ),
        (
            "common_tls_context: { tls_certificate_sds_secret_configs: [{ name: a, sds_config: { ads: {} } }] }"
                .to_owned(),
            format!("{common}.tls_certificate_sds_secret_configs[0].sds_config"),
        ),
        (
            format!(
                "common_tls_context: {{ {certificates}, validation_context: {{ verify_certificate_hash: [a] }} }}"
            ),
            format!("{common}.validation_context.verify_certificate_hash"),
        ),
    ] {
        let error = refused(&tls(&context));
        assert!(error.contains(&format!("{path}: ")), "{error}");
    }
    let other = tls("").replace(
        "tls.v3.DownstreamTlsContext",
        "quic.v3.QuicDownstreamTransport",
    );
    let error = refused(&other);
    assert!(
        error.starts_with(&format!("{socket}.@type: unknown extension type")),
        "{error}"
    );
    assert!(error.contains("tls.v3.DownstreamTlsContext`"), "{error}");
}

fn cluster(more: &str) -> String {
    format!("static_resources: {{ clusters: [{{ name: a, {more} }}] }}")
}

const HTTP: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

fn options(content: &str) -> String {
    cluster(&format!(
        "typed_extension_protocol_options: {{ {HTTP}: {{ \"@type\": type.googleapis.com/{HTTP}, {content} }} }}"
    ))
}

#[test]
fn a_cluster_speaks_http2_if_it_says_so() {
    for (yaml, http2) in [
        (
            options("explicit_http_config: { http2_protocol_options: {} }"),
            true,
        ),
        (
            options("explicit_http_config: { http_protocol_options: {} }"),
            false,
        ),
        (cluster("http2_protocol_options: {}"), true),
        (cluster("lb_policy: ROUND_ROBIN"), false),
    ] {
        let bootstrap = Bootstrap::from_yaml(&yaml).expect(&yaml).value;
        assert_eq!(bootstrap.clusters()[0].speaks_http2(), http2, "{yaml}");
        let json = serde_json::to_string(&bootstrap).expect("JSON");
        assert_eq!(
            Bootstrap::from_json(&json).expect("the same").value,
            bootstrap
        );
    }
}

#[test]
fn upstream_options_that_are_not_served_are_refused() {
    let at = "static_resources.clusters[0]";
    let http = format!("{at}.typed_extension_protocol_options.{HTTP}");
    for (yaml, path) in [
        (
            options("auto_config: { http3_protocol_options: {} }, http_filters: [{ name: a }]"),
            format!("{http}.http_filters"),
        ),
        (
            cluster("lb_policy: CLUSTER_PROVIDED"),
            format!(
                "{at}.lb_policy: unknown value `CLUSTER_PROVIDED`, expected one of `ROUND_ROBIN`, `LEAST_REQUEST`, \
                 `RING_HASH`, `RANDOM`, `MAGLEV`"
            ),
        ),
        (
            cluster("transport_socket: { name: tls }"),
            format!("{at}.transport_socket"),
        ),
        (
            cluster(
                "load_assignment: { cluster_name: a, endpoints: [{ lb_endpoints: [{ endpoint: { address: { \
                 socket_address: { address: shop.example, port_value: 80 } } } }] }] }",
            ),
            format!(
                "{at}.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address: \
                 `shop.example` is not an IP address"
            ),
        ),
        (
            cluster("type: LOGICAL_DNS"),
            format!("{at}.load_assignment: a `LOGICAL_DNS` cluster has exactly one endpoint"),
        ),
    ] {
        let error = Bootstrap::from_yaml(&yaml).expect_err(&yaml).to_string();
        assert!(error.starts_with(&path), "{error}");
    }
}

#[test]
fn additional_addresses_have_options_of_their_own_and_rules() {
    let more = |fields: &str| format!("{}additional_addresses: [{fields}]\n", http_listener(""));
    let six =
        "{ address: { socket_address: { address: '::1', port_value: 0, ipv4_compat: true } } }";
    let pipe = "{ address: { pipe: { path: /run/b, mode: 384 } } }";
    let listener = read(&more(&format!("{six}, {pipe}")));
    assert_eq!(listener.additional_addresses.len(), 2);
    assert_eq!(listener.socket_options(&at()), SocketOptions::default());
    let dual = SocketOptions::default().with_dual_stack(true);
    // The second socket of a worker is asked for by the port that the kernel chose for the first.
    for address in ["[::1]:0", "[::1]:4711"] {
        let address = address.parse().expect("an address");
        assert_eq!(listener.socket_options(&address), dual);
    }
    let path = "unix:/run/b".parse().expect("an address");
    let owner_alone = SocketOptions::default().with_mode(0o600);
    assert_eq!(listener.socket_options(&path), owner_alone);

    let without = read(&http_listener(""));
    assert!(!without.same_content(&listener) && !without.differs_only_in_chains(&listener));
    for (fields, error) in [
        (
            "{ address: { pipe: { path: /run/b, mode: 512 } } }",
            "additional_addresses[0].address.pipe.mode: 512 is over 511",
        ),
        (
            "{ address: { pipe: { path: '' } } }",
            "additional_addresses[0].address.pipe.path: must not be empty",
        ),
        (
            "{ address: { socket_address: { address: '::1', port_value: 1 } }, socket_options: { socket_options: [{ level: 0, name: 15, int_value: 1 }] } }",
            "additional_addresses[0].socket_options.socket_options[0]: not supported",
        ),
    ] {
        let said = refused(&more(fields));
        assert!(said.contains(error), "{said}");
    }
    let tunes = "{ address: { socket_address: { address: '::1', port_value: 1 } }, tcp_keepalive: { keepalive_time: 7 }, socket_options: { socket_options: [{ level: 6, name: 4, int_value: 60 }] } }";
    read(&more(tunes));
}

#[test]
fn of_a_header_to_add_no_error_says_its_value() {
    for header in [
        "{ key: authorization, value: [SECRET] }",
        "{ key: authorization, value: 834719 }",
        "{ key: authorization, raw_value: SECRET }",
        "{ key: authorization, value: \"SECRET\\n\" }",
        "SECRET",
    ] {
        let more =
            format!("request_headers_to_add: {{ header: {header} }}\n        virtual_hosts:");
        let listener = http_listener("").replace("virtual_hosts:", &more);
        let error = Listener::from_yaml(&listener).expect_err(header);
        let error = error.fields()[0].in_full().to_string();
        assert!(
            error.contains("request_headers_to_add[0].header"),
            "{error}"
        );
        let is_said = error.contains("SECRET") || error.contains("834719");
        assert!(!is_said, "{error}");
    }
}

#[test]
fn another_way_to_choose_endpoints_is_told_and_orions_clusters_need_no_second_name() {
    let yaml = "runtime: {}\nenvoy_bootstrap:\n  static_resources:\n    clusters:\n    - name: a\n      \
                lb_policy: RING_HASH\n      load_assignment: { endpoints: [] }\n";
    let loaded = Bootstrap::from_yaml(yaml).expect("a good bootstrap");
    assert_eq!(
        loaded.unknown_fields,
        ["static_resources.clusters[0].lb_policy"]
    );
    assert_eq!(loaded.foreign_fields, Vec::<String>::new());
    loaded
        .refuse_unsupported_fields()
        .expect_err("it is not carried out");
}
