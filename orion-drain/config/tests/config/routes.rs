//! Which route a request takes, what its response gets, and the timeouts with Envoy's defaults.

use std::time::Duration;

use http::HeaderMap;
use orion_drain_config::{Action, RouteConfiguration};

use super::{http_listener, manager, read};

fn table(yaml: &str) -> RouteConfiguration {
    yaml_serde::from_str(yaml).expect("routes")
}

fn body<'a>(table: &'a RouteConfiguration, host: &str, path: &str) -> Option<&'a str> {
    match &table.choose(host, path)?.route.action {
        Action::DirectResponse(response) => response
            .body
            .as_ref()
            .map(|body| body.inline_string.as_str()),
        _ => None,
    }
}

fn host(name: &str, domains: &str) -> String {
    format!(
        "\n- {{ name: {name}, domains: {domains}, routes: [{{ match: {{ prefix: / }}, \
         direct_response: {{ status: 200, body: {{ inline_string: {name} }} }} }}] }}"
    )
}

#[test]
fn the_most_specific_domain_wins() {
    let table = table(&format!(
        "virtual_hosts:{}{}{}{}{}",
        host("any", "['*']"),
        host("suffix", "['*.example']"),
        host("longer", "['*.b.example']"),
        host("prefix", "['a.*']"),
        host("exact", "['A.b.example', 'c.example:81']"),
    ));
    for (name, expected) in [
        ("a.b.example", "exact"),
        ("A.B.example:8080", "exact"),
        ("c.example:81", "exact"),
        ("c.example:82", "suffix"),
        ("x.b.example", "longer"),
        ("a.c.example", "suffix"),
        ("a.org", "prefix"),
        (".example", "any"),
        ("", "any"),
        ("[::1]:80", "any"),
    ] {
        assert_eq!(body(&table, name, "/"), Some(expected), "{name}");
    }
}

#[test]
fn the_first_route_that_matches_is_taken_and_the_query_does_not_count() {
    let table = table(
        r#"
virtual_hosts:
- name: all
  domains: ["*"]
  routes:
  - { match: { path: /a }, direct_response: { status: 200, body: { inline_string: path } } }
  - { match: { prefix: /a }, direct_response: { status: 200, body: { inline_string: prefix } } }
"#,
    );
    assert_eq!(body(&table, "h", "/a?b=c"), Some("path"));
    assert_eq!(body(&table, "h", "/ab"), Some("prefix"));
    assert_eq!(body(&table, "h", "/b"), None);
    assert!(table.choose("h", "/b").is_none());
}

#[test]
fn response_headers_are_added_as_their_action_says() {
    let table = table(
        r#"
virtual_hosts:
- name: all
  domains: ["*"]
  routes:
  - match: { prefix: / }
    direct_response: { status: 200 }
    response_headers_to_add:
    - { header: { key: x-twice, value: b } }
    - { header: { key: x-over, value: b }, append_action: OVERWRITE_IF_EXISTS_OR_ADD }
    - { header: { key: x-old, value: b }, append: false }
    - { header: { key: x-absent, value: b }, append_action: ADD_IF_ABSENT }
    - { header: { key: x-only, value: b }, append_action: OVERWRITE_IF_EXISTS }
response_headers_to_add:
- { header: { key: x-absent, value: c }, append_action: ADD_IF_ABSENT }
"#,
    );
    let mut headers = HeaderMap::new();
    for name in ["x-twice", "x-over", "x-old"] {
        headers.insert(name, "a".parse().expect("a value"));
    }
    table
        .choose("h", "/")
        .expect("a route")
        .add_response_headers(&mut headers);
    let all = |name: &str| {
        headers
            .get_all(name)
            .iter()
            .map(|value| value.to_str().expect("text"))
            .collect::<Vec<_>>()
    };
    assert_eq!(all("x-twice"), ["a", "b"]);
    assert_eq!(all("x-over"), ["b"]);
    assert_eq!(all("x-old"), ["b"]);
    assert_eq!(all("x-absent"), ["b"]);
    assert_eq!(all("x-only"), Vec::<&str>::new());
}

#[test]
fn timeouts_have_envoys_defaults() {
    let listener = read(&http_listener(""));
    let timeouts = manager(&listener).timeouts();
    assert_eq!(timeouts.drain, Duration::from_secs(5));
    assert_eq!(timeouts.delayed_close, Duration::from_secs(1));
    assert_eq!(timeouts.idle, Some(Duration::from_secs(3600)));
    assert_eq!(
        (timeouts.request, timeouts.max_connection_duration),
        (None, None)
    );
}

#[test]
fn zero_switches_a_limit_off_but_is_a_drain_timeout() {
    let listener = read(&http_listener(
        "drain_timeout: 0s\ndelayed_close_timeout: 0s\nrequest_timeout: 0s\ncommon_http_protocol_options: { idle_timeout: 0s }",
    ));
    let timeouts = manager(&listener).timeouts();
    assert_eq!(
        (timeouts.drain, timeouts.delayed_close),
        (Duration::ZERO, Duration::ZERO)
    );
    assert_eq!((timeouts.request, timeouts.idle), (None, None));
}

#[test]
fn upgrades_are_let_through_by_name() {
    let listener = read(&http_listener(
        "upgrade_configs: [{ upgrade_type: websocket }, { upgrade_type: x, enabled: false }]",
    ));
    assert!(manager(&listener).allows_upgrade("WebSocket"));
    assert!(!manager(&listener).allows_upgrade("x"));
    assert!(!manager(&listener).allows_upgrade("y"));
}
