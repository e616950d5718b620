//! Each way to change a request and its response, in Envoy's fields: which headers, host and path the
//! upstream and the client see.

use crate::route_fields::{FLAGS, routed, start};
use crate::support::h1::header;
use crate::support::{Edge, H1, discovery};

/// The values of a header in a head, in their order.
fn values<'h>(head: &'h str, name: &str) -> Vec<&'h str> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let named = lines.filter(|(key, _)| *key == name);
    named.map(|(_, value)| value.trim()).collect()
}

#[tokio::test]
async fn a_header_that_is_there_is_kept_doubled_or_replaced_as_it_is_said() {
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("", &["1", "2"], &["2"]),
        (
            ", append_action: APPEND_IF_EXISTS_OR_ADD",
            &["1", "2"],
            &["2"],
        ),
        (", append_action: ADD_IF_ABSENT", &["1"], &["2"]),
        (
            ", append_action: OVERWRITE_IF_EXISTS_OR_ADD",
            &["2"],
            &["2"],
        ),
        (", append_action: OVERWRITE_IF_EXISTS", &["2"], &[]),
        (", append: false", &["2"], &["2"]),
    ];
    let mut routes: Vec<_> = cases
        .iter()
        .enumerate()
        .map(|(at, (fields, ..))| {
            format!(
                "{{ match: {{ path: /{at} }}, request_headers_to_add: {{ header: {{ key: x, value: '2' }}{fields} }}, \
                 route: {{ cluster: http }} }}"
            )
        })
        .collect();
    // A request has no such header, so that its value is empty.
    let empty = |path: &str, fields: &str| {
        format!(
            "{{ match: {{ path: {path} }}, request_headers_to_add: {{ header: {{ key: x, value: '%REQ(y)%' }}{fields} }}, \
             route: {{ cluster: http }} }}"
        )
    };
    routes.push(empty("/dropped", ""));
    routes.push(empty("/kept", ", keep_empty_value: true"));
    let (mut edge, mut client) = start(&routes).await;
    for (at, (fields, there, absent)) in cases.iter().enumerate() {
        for (line, expected) in [("x: 1\r\n", there), ("", absent)] {
            client
                .send(&format!("GET /{at} HTTP/1.1\r\nhost: a\r\n{line}\r\n"))
                .await;
            let held = edge.upstream.held().await;
            assert_eq!(values(&held.head, "x"), *expected, "{fields}: {line:?}");
            held.answer("done");
            client.response().await;
        }
    }
    for (path, expected) in [("/dropped", &[][..]), ("/kept", &[""])] {
        client.ask(path).await;
        let held = edge.upstream.held().await;
        assert_eq!(values(&held.head, "x"), expected, "{path}");
        held.answer("done");
        client.response().await;
    }
}

#[tokio::test]
async fn headers_are_added_and_removed_at_each_level() {
    let fields = |level: &str| {
        format!(
            "request_headers_to_add: {{ header: {{ key: to-{level}, value: '1' }} }}, \
             request_headers_to_remove: [no-{level}], \
             response_headers_to_add: {{ header: {{ key: from-{level}, value: '1' }} }}"
        )
    };
    let route = format!(
        "{{ match: {{ prefix: / }}, request_headers_to_add: {{ header: {{ key: to-route, value: '1' }} }}, \
         request_headers_to_remove: [no-route], response_headers_to_add: {{ header: {{ key: from-route, value: '1' }} }}, \
         response_headers_to_remove: [x-upstream], \
         route: {{ weighted_clusters: {{ clusters: {{ name: http, weight: 1, host_rewrite_literal: shop.test, {} }} }} }} }}",
        fields("cluster")
    );
    let listener = routed("http", "", &[route]);
    let with_levels = listener
        .replace(
            "{ name: r, ",
            &format!("{{ name: r, {}, ", fields("config")),
        )
        .replace(
            "{ name: all, ",
            &format!("{{ name: all, {}, ", fields("host")),
        );
    assert!(with_levels.contains("to-config") && with_levels.contains("to-host"));
    let mut edge = Edge::start(FLAGS, &discovery("1", &[with_levels])).await;
    let mut client = H1::connect(edge.address("http").await).await;
    let levels = ["config", "host", "route", "cluster"];
    let removed: String = levels.map(|level| format!("no-{level}: 1\r\n")).concat();
    client
        .send(&format!("GET /held HTTP/1.1\r\nhost: a\r\n{removed}\r\n"))
        .await;
    let held = edge.upstream.held().await;
    assert_eq!(header(&held.head, "host"), Some("shop.test"));
    for level in levels {
        let (added, removed) = (format!("to-{level}"), format!("no-{level}"));
        assert_eq!(values(&held.head, &added), ["1"], "{}", held.head);
        assert_eq!(values(&held.head, &removed), [""; 0], "{}", held.head);
    }
    held.answer("done");
    let response = client.response().await;
    for level in levels {
        let added = format!("from-{level}");
        assert_eq!(response.header(&added), Some("1"), "{}", response.head);
    }
    assert_eq!(response.header("x-upstream"), None);
}

#[tokio::test]
async fn each_level_takes_headers_out_of_a_response() {
    // Each answer of the upstream has this header.
    let remove = "response_headers_to_remove: [x-upstream]";
    let plain = "{ match: { prefix: / }, route: { cluster: http } }";
    let weighted = format!(
        "{{ match: {{ prefix: / }}, route: {{ weighted_clusters: {{ clusters: {{ name: http, weight: 1, {remove} }} }} }} }}"
    );
    let names = ["none", "config", "host", "cluster"];
    let listeners = names.map(|name| match name {
        "config" => routed(name, "", &[plain.to_owned()])
            .replace("{ name: r, ", &format!("{{ name: r, {remove}, ")),
        "host" => routed(name, "", &[plain.to_owned()])
            .replace("{ name: all, ", &format!("{{ name: all, {remove}, ")),
        "cluster" => routed(name, "", std::slice::from_ref(&weighted)),
        _ => routed(name, "", &[plain.to_owned()]),
    });
    let mut edge = Edge::start(FLAGS, &discovery("1", &listeners)).await;
    for name in names {
        let mut client = H1::connect(edge.address(name).await).await;
        client.ask("/held").await;
        edge.upstream.held().await.answer("done");
        let response = client.response().await;
        let is_there = response.header("x-upstream").is_some();
        assert_eq!(is_there, name == "none", "{name}: {}", response.head);
    }
}

#[tokio::test]
async fn hosts_slashes_underscores_and_x_forwarded_for_become_what_each_option_says() {
    let plain = || vec!["{ match: { prefix: / }, route: { cluster: http } }".to_owned()];
    let cases = [
        ("plain", ""),
        ("matching", "strip_matching_host_port: true"),
        ("dot", "strip_trailing_host_dot: true"),
        ("any", "strip_any_host_port: true"),
        (
            "default",
            "path_with_escaped_slashes_action: IMPLEMENTATION_SPECIFIC_DEFAULT",
        ),
        ("keep", "path_with_escaped_slashes_action: KEEP_UNCHANGED"),
        ("reject", "path_with_escaped_slashes_action: REJECT_REQUEST"),
        (
            "forward",
            "path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD",
        ),
        (
            "allowed",
            "common_http_protocol_options: { headers_with_underscores_action: ALLOW }",
        ),
        (
            "refused",
            "common_http_protocol_options: { headers_with_underscores_action: REJECT_REQUEST }",
        ),
        ("added", "use_remote_address: true"),
        ("skipped", "use_remote_address: true, skip_xff_append: true"),
    ];
    let listeners = cases.map(|(name, fields)| routed(name, fields, &plain()));
    let mut edge = Edge::start(FLAGS, &discovery("1", &listeners)).await;
    let own = edge.address("matching").await.port();
    let own_host = format!("a.test:{own}");
    // The listener; the host and the path that are asked for; what the upstream sees, or 400.
    let asked = [
        (
            "plain",
            own_host.as_str(),
            "/a%2Fb",
            Some((own_host.as_str(), "/a%2fb")),
        ),
        ("matching", &own_host, "/", Some(("a.test", "/"))),
        ("matching", "a.test:1", "/", Some(("a.test:1", "/"))),
        ("any", "a.test:1", "/", Some(("a.test", "/"))),
        ("dot", "a.test.", "/", Some(("a.test", "/"))),
        ("dot", "a.test.:81", "/", Some(("a.test:81", "/"))),
        ("plain", "a.test.", "/", Some(("a.test.", "/"))),
        ("default", "a", "/a%2Fb", Some(("a", "/a%2fb"))),
        ("keep", "a", "/a%2Fb%5Cc", Some(("a", "/a%2fb%5cc"))),
        ("reject", "a", "/a%2Fb", None),
        ("reject", "a", "/ab", Some(("a", "/ab"))),
        ("forward", "a", "/a%2Fb", Some(("a", "/a/b"))),
        ("allowed", "a\r\nx_y: 1", "/", Some(("a", "/"))),
        ("refused", "a\r\nx_y: 1", "/", None),
        ("refused", "a", "/", Some(("a", "/"))),
    ];
    for (name, host, path, expected) in asked {
        let mut client = H1::connect(edge.address(name).await).await;
        client
            .send(&format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n"))
            .await;
        let Some((host, path)) = expected else {
            assert_eq!(client.response().await.status, 400, "{name}: {path}");
            continue;
        };
        let held = edge.upstream.held().await;
        let first = format!("get {path} http/1.1\r\n");
        assert!(held.head.starts_with(&first), "{name}: {}", held.head);
        assert_eq!(header(&held.head, "host"), Some(host), "{name}");
        let underscored = (name == "allowed").then_some("1");
        assert_eq!(header(&held.head, "x_y"), underscored, "{name}");
        held.answer("done");
        client.response().await;
    }
    for (name, expected) in [
        ("plain", "1.2.3.4"),
        ("added", "1.2.3.4,127.0.0.1"),
        ("skipped", "1.2.3.4"),
    ] {
        let mut client = H1::connect(edge.address(name).await).await;
        client
            .send("GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 1.2.3.4\r\n\r\n")
            .await;
        let held = edge.upstream.held().await;
        assert_eq!(
            header(&held.head, "x-forwarded-for"),
            Some(expected),
            "{name}"
        );
        held.answer("done");
        client.response().await;
    }
}
