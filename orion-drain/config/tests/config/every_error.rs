//! All that is wrong with a text, at once: lines, paths, what is written and what is expected.

use orion_drain_config::{Bootstrap, BootstrapRules, ConfigErrorKind, Listener, ListenerUpdate};

use super::http_listener;

const BOOTSTRAP: &str = r#"# A bootstrap with a mistake of each kind.
admin:
  address:
    socket_address: { address: 127.0.0.1, port_value: 70000 }
  no_such_thing: 1
overload_manager: {}
static_resources:
  listeners:
  - name: first
    address:
      socket_address:
        address: localhost
        portValue: 10000
    perConnectionBufferLimitBytes: much
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: first
          codec_type: HTTP9
          drain_timeout: soon
          require_tls: ALL
          route_config:
            virtual_hosts:
            - name: all
              domains: "*"
              routes:
              - match: { prefix: / }
                route: { cluster: nowhere, timeout: later }
  - name: second
    address:
      socket_address: { address: 127.0.0.1, port_value: 10001 }
    use_original_dst: true
    filter_chains:
    - filters:
      - name: lua
        typed_config:
          "@type": type.googleapis.com/a.Lua
      - name: tcp
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          cluster: upstream
  clusters:
  - name: upstream
    type: STATIC
    connect_timeout: [1s]
    load_assignment:
      cluster_name: upstream
      endpoints:
      - lb_endpoints:
        - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: -1 } } }
        - endpoint: { address: { socket_address: { address: backend.test, port_value: 80 } } }
"#;

fn strictly(text: &str) -> Vec<String> {
    let mut rules = BootstrapRules::default();
    rules.no_foreign_fields = true;
    rules.known_clusters = true;
    let error = Bootstrap::from_yaml_by(text, rules).expect_err("it is refused");
    assert_eq!(error.kind(), ConfigErrorKind::Shape);
    error
        .fields()
        .iter()
        .map(|field| field.in_full().to_string())
        .collect()
}

#[test]
fn everything_that_is_wrong_with_a_file_is_found_at_once_with_its_line() {
    let found = strictly(BOOTSTRAP);
    let first = "static_resources.listeners[0]";
    let second = "static_resources.listeners[1]";
    let manager = format!("{first}.filter_chains[0].filters[0].typed_config");
    let upstream = "static_resources.clusters[0]";
    let endpoints = format!("{upstream}.load_assignment.endpoints[0].lb_endpoints");
    let expected = [
        (
            4,
            "admin.address.socket_address.port_value".to_owned(),
            "integer `70000`",
        ),
        (
            5,
            "admin.no_such_thing".to_owned(),
            "no such field (written: 1)",
        ),
        (
            12,
            format!("{first}.address.socket_address.address"),
            "(written: \"localhost\")",
        ),
        (
            14,
            format!("{first}.per_connection_buffer_limit_bytes"),
            "much",
        ),
        (
            21,
            format!("{manager}.codec_type"),
            "`HTTP9`, expected one of `AUTO`",
        ),
        (
            22,
            format!("{manager}.drain_timeout"),
            "`soon` is not a duration",
        ),
        (23, format!("{manager}.require_tls"), "no such field"),
        (
            30,
            format!("{manager}.route_config.virtual_hosts[0].routes[0].route.timeout"),
            "`later` is not a duration",
        ),
        (34, format!("{second}.use_original_dst"), "not supported"),
        (
            39,
            format!("{second}.filter_chains[0].filters[0].typed_config.@type"),
            "a.Lua",
        ),
        (
            41,
            format!("{second}.filter_chains[0].filters[1].typed_config.stat_prefix"),
            "must not be empty",
        ),
        (47, format!("{upstream}.connect_timeout"), "sequence"),
        (
            52,
            format!("{endpoints}[0].endpoint.address.socket_address.port_value"),
            "-1",
        ),
        (
            53,
            format!("{endpoints}[1].endpoint.address.socket_address.address"),
            "is not an IP address",
        ),
    ];
    for (index, (line, path, says)) in expected.iter().enumerate() {
        let found = found.get(index).map_or("nothing", String::as_str);
        let begins = format!("line {line}: {path}: ");
        assert!(
            found.starts_with(&begins) && found.contains(says),
            "{begins}{says}: {found}"
        );
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn each_mistake_alone_is_one_error() {
    let good = http_listener("");
    Listener::from_yaml(&good).expect("a good listener");
    for (from, to) in [
        ("name: ingress", "name: [ingress]"),
        ("address: 127.0.0.1", "address: {}"),
        ("address: 127.0.0.1, ", ""),
        ("10000", "70000"),
        ("stat_prefix: ing", "stat_prefix: {}"),
        ("prefix: \"/\"", "safe_regex: { regex: '(' }"),
        ("domains: [\"*\"]", "domains: {}"),
        ("status: 200", "status: fine"),
        ("HttpConnectionManager", "Other"),
        ("- name: http", "- name: 5"),
        ("virtual_hosts:", "virtual_hosts: 5\n        other:"),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good, "{from}");
        let error = Listener::from_yaml(&bad).expect_err(to);
        assert_eq!(error.fields().len(), 1, "{to}: {error}");
        assert!(error.fields()[0].line.is_some(), "{to}: {error}");
    }
}

#[test]
fn each_listener_of_an_update_has_all_of_its_errors_with_lines() {
    let listener = |name: &str, more: &str| {
        let listener = http_listener(more).replace("name: ingress", &format!("name: {name}"));
        let kind = "'@type': type.googleapis.com/envoy.config.listener.v3.Listener";
        let lines = format!("{kind}{listener}").replace('\n', "\n  ");
        format!("- {lines}\n")
    };
    let bad = listener("bad", "codec_type: HTTP9\ndrain_timeout: soon");
    let text = format!("resources:\n{}{bad}", listener("good", ""));
    let update = ListenerUpdate::from_yaml(&text).expect("an update");
    assert_eq!(update.listeners.len(), 1);
    let lines = text.lines().enumerate();
    let expected: Vec<_> = lines
        .filter(|(_, line)| line.contains("HTTP9") || line.contains("soon"))
        .map(|(index, _)| Some(index + 1))
        .collect();
    let fields = update.rejected[0].error.fields();
    let found: Vec<_> = fields.iter().map(|field| field.line).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_file_full_of_mistakes_is_read_to_the_fiftieth() {
    let routes = "- { match: { prefix: 5 }, redirect: {} }\n          ".repeat(60);
    let listener = http_listener("");
    let at = listener.find("- match").expect("a route");
    let many = format!("{}{routes}", &listener[..at]);
    let error = Listener::from_yaml(&many).expect_err("it is refused");
    assert_eq!(error.fields().len(), 50, "{error}");
}

#[test]
fn errors_of_json_have_lines_too() {
    let text = "{\n\"name\": \"a\",\n\"drain_type\": 7,\n\"tcp_backlog_size\": \"x\"}";
    let error = Listener::from_json(text).expect_err("it is refused");
    let lines: Vec<_> = error.fields().iter().map(|field| field.line).collect();
    assert_eq!(lines, [Some(1), Some(1), Some(3), Some(4)], "{error}");
}

#[test]
fn a_discovery_response_says_all_that_is_wrong_with_itself_and_with_its_listeners() {
    let text = r#"version_info: [1]
resources:
- "@type": type.googleapis.com/envoy.config.listener.v3.Listener
  name: first
  address: { socket_address: { address: 127.0.0.1, port_value: 70000 } }
  filter_chains: [{}]
  tcp_backlog_size: many
- "@type": type.googleapis.com/envoy.config.listener.v3.Listener
  name: second
  address: { socket_address: { address: 127.0.0.1, port_value: 1 } }
  filter_chains: [{}]
  use_original_dst: true
"#;
    let error = ListenerUpdate::from_yaml(text).expect_err("it is wrong");
    let found: Vec<_> = error
        .fields()
        .iter()
        .map(|field| (field.line, field.path.as_str()))
        .collect();
    let expected = [
        (Some(1), "version_info"),
        (Some(5), "resources[0].address.socket_address.port_value"),
        (Some(7), "resources[0].tcp_backlog_size"),
        (Some(12), "resources[1].use_original_dst"),
    ];
    assert_eq!(found, expected, "{error}");
    let both = "{ version_info: {}, resources: 7 }";
    let error = ListenerUpdate::from_yaml(both).expect_err("it is wrong");
    let paths: Vec<_> = error.fields().iter().map(|field| &*field.path).collect();
    assert!(paths.contains(&"version_info"), "{error}");
    assert!(
        paths.iter().any(|path| path.starts_with("resources")),
        "{error}"
    );
}

#[cfg(feature = "yaml")]
#[test]
fn a_byte_order_mark_is_no_document_and_costs_no_line() {
    let good = Bootstrap::from_yaml("\u{feff}admin: {}\n").expect("a good bootstrap");
    assert!(good.value.admin.is_some());
    let errors = |text: &str| {
        let error = Bootstrap::from_yaml(text).expect_err("mistakes");
        let fields = error.fields().iter();
        let fields = fields.map(|field| field.in_full().to_string());
        fields.collect::<Vec<_>>()
    };
    let without = errors(BOOTSTRAP);
    assert!(without[0].starts_with("line 4: "), "{without:?}");
    assert_eq!(errors(&format!("\u{feff}{BOOTSTRAP}")), without);
}

#[cfg(feature = "yaml")]
#[test]
fn a_number_that_is_not_finite_is_not_read_as_nothing() {
    for number in [".nan", ".inf", "-.inf"] {
        let text = format!("node:\n  metadata: {{ share: {number} }}\n");
        let error = Bootstrap::from_yaml(&text).expect_err(number).to_string();
        assert!(error.contains("node.metadata"), "{error}");
        assert!(error.contains("is not a finite number"), "{error}");
    }
}
