//! Each way to choose a request, in Envoy's fields, and where redirects and routes lead.

use crate::support::{Edge, H1, Http, cluster, discovery};

const ALL: &str = "{ match: { prefix: / }, route: { cluster: http, timeout: 0s } }";
pub(crate) const FLAGS: &str = "--drain-time-s 20";

/// A listener with these routes in place of the one that forwards everything.
pub(crate) fn routed(name: &'static str, fields: &'static str, routes: &[String]) -> String {
    let listener = Http::new(name, 1).with_http(fields).yaml();
    assert!(listener.contains(ALL), "{listener}");
    listener.replace(ALL, &routes.join(",\n        "))
}

pub(crate) async fn start(routes: &[String]) -> (Edge, H1) {
    let edge = Edge::start(FLAGS, &discovery("1", &[routed("http", "", routes)])).await;
    let client = H1::connect(edge.address("http").await).await;
    (edge, client)
}

/// A route that answers what these fields of `match` take.
fn answers(matches: &str) -> String {
    format!(
        "{{ match: {{ {matches} }}, direct_response: {{ status: 200, body: {{ inline_string: taken }} }} }}"
    )
}

/// Asks with these lines; whether a route has taken it.
async fn is_taken(client: &mut H1, path: &str, lines: &[&str]) -> bool {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n{lines}\r\n");
    client.send(&request).await;
    match client.response().await.status {
        200 => true,
        404 => false,
        status => panic!("{request}: {status}"),
    }
}

#[tokio::test]
async fn a_header_chooses_a_route_by_each_kind_of_pattern() {
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("string_match: { exact: a }", &["a"], &["A", "ab", ""]),
        ("exact_match: a", &["a"], &["A", "ab"]),
        (
            "string_match: { exact: a, ignore_case: true }",
            &["a", "A"],
            &["b"],
        ),
        ("string_match: { prefix: ab }", &["abc"], &["cab"]),
        ("prefix_match: ab", &["abc"], &["cab"]),
        ("string_match: { suffix: ab }", &["cab"], &["abc"]),
        ("suffix_match: ab", &["cab"], &["abc"]),
        ("string_match: { contains: ab }", &["cabc"], &["acb"]),
        ("contains_match: ab", &["cabc"], &["acb"]),
        (
            "string_match: { safe_regex: { regex: 'a+' } }",
            &["aa"],
            &["aab"],
        ),
        ("safe_regex_match: { regex: 'a+' }", &["aa"], &["aab"]),
        // What another library would read otherwise than RE2.
        (
            r"safe_regex_match: { regex: '\d[&&a][+--]' }",
            &["3&-", "3a,"],
            &["٣a,", "3x,", "3a/"],
        ),
        (
            "range_match: { start: 1, end: 3 }",
            &["1", "2"],
            &["0", "3", "x"],
        ),
        (
            "string_match: { exact: a }, invert_match: true",
            &["b"],
            &["a"],
        ),
    ];
    // Of a header that is not there.
    let absent = [
        ("present_match: true", false),
        ("present_match: false", true),
        ("string_match: { exact: a }", false),
        (
            "string_match: { exact: a }, invert_match: true, treat_missing_header_as_empty: true",
            true,
        ),
    ];
    let route = |at: usize, pattern: &str| {
        answers(&format!("path: /{at}, headers: {{ name: x, {pattern} }}"))
    };
    let patterns = cases.iter().map(|(pattern, ..)| *pattern);
    let patterns = patterns.chain(absent.iter().map(|(pattern, _)| *pattern));
    let mut routes: Vec<_> = patterns
        .enumerate()
        .map(|(at, pattern)| route(at, pattern))
        .collect();
    routes.push(answers("path: /named, headers: { name: x }"));
    let (_edge, mut client) = start(&routes).await;
    for (at, (pattern, taken, left)) in cases.iter().enumerate() {
        let path = format!("/{at}");
        for (values, expected) in [(taken, true), (left, false)] {
            for value in *values {
                let line = format!("x: {value}");
                let is_taken = is_taken(&mut client, &path, &[&line]).await;
                assert_eq!(is_taken, expected, "{pattern}: {value:?}");
            }
        }
    }
    for (at, (pattern, expected)) in absent.iter().enumerate() {
        let path = format!("/{}", cases.len() + at);
        let is_taken = is_taken(&mut client, &path, &[]).await;
        assert_eq!(is_taken, *expected, "{pattern}");
    }
    assert!(is_taken(&mut client, "/named", &["x: "]).await);
    assert!(!is_taken(&mut client, "/named", &[]).await);
}

#[tokio::test]
async fn a_path_a_query_grpc_and_chance_choose_a_route() {
    let share = |path: &str, numerator: u32, denominator: &str| {
        answers(&format!(
            "path: {path}, runtime_fraction: {{ default_value: {{ numerator: {numerator}, denominator: {denominator} }} }}"
        ))
    };
    let (edge, mut client) = start(&[
        answers("safe_regex: { regex: '/r/[0-9]+' }"),
        answers("path: /exact"),
        answers("path_separated_prefix: /part"),
        answers("path: /q, query_parameters: { name: k, string_match: { exact: v } }"),
        answers("path: /k, query_parameters: { name: k, present_match: true }"),
        answers("path: /call, grpc: {}"),
        share("/never", 0, "HUNDRED"),
        share("/hundred", 100, "HUNDRED"),
        share("/some", 100, "TEN_THOUSAND"),
        share("/ten", 10_000, "TEN_THOUSAND"),
        share("/few", 10_000, "MILLION"),
        share("/million", 1_000_000, "MILLION"),
    ])
    .await;
    for (path, expected) in [
        ("/r/12", true),
        ("/r/12/", false),
        ("/exact?q", true),
        ("/exact/", false),
        ("/part", true),
        ("/part/of", true),
        ("/party", false),
        ("/q?k=v", true),
        ("/q?k=w", false),
        ("/k?j&k=1", true),
        ("/k?j", false),
        ("/call", false),
    ] {
        let is_taken = is_taken(&mut client, path, &[]).await;
        assert_eq!(is_taken, expected, "{path}");
    }
    for (kind, expected) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc-web", false),
    ] {
        let line = format!("content-type: {kind}");
        // Of gRPC the answer is 200 also if it is an error.
        client
            .send(&format!("GET /call HTTP/1.1\r\nhost: a\r\n{line}\r\n\r\n"))
            .await;
        let body = client.response().await.text();
        assert_eq!(body == "taken", expected, "{kind}");
    }
    // Of a hundredth, fifty requests in a row never come.
    for (path, all, none) in [
        ("/never", false, true),
        ("/hundred", true, false),
        ("/some", false, false),
        ("/ten", true, false),
        ("/few", false, false),
        ("/million", true, false),
    ] {
        let mut taken = 0;
        for _ in 0..50 {
            taken += u32::from(is_taken(&mut client, path, &[]).await);
        }
        assert_eq!(taken == 50, all, "{path}: {taken}");
        assert!(!none || taken == 0, "{path}: {taken}");
    }
    drop(edge);
}

#[tokio::test]
async fn a_redirect_leads_where_each_of_its_fields_says() {
    let cases = [
        ("scheme_redirect: wss", 301, "wss://a.test:81/"),
        ("https_redirect: true", 301, "https://a.test:81/"),
        ("host_redirect: b.test", 301, "http://b.test/"),
        ("port_redirect: 82", 301, "http://a.test:82/"),
        (
            "path_redirect: /there, response_code: FOUND",
            302,
            "http://a.test:81/there?q",
        ),
        (
            "path_redirect: '/there?r', response_code: SEE_OTHER",
            303,
            "http://a.test:81/there?r",
        ),
        (
            "prefix_rewrite: /new, response_code: TEMPORARY_REDIRECT",
            307,
            "http://a.test:81/new?q",
        ),
        (
            "path_redirect: /there, strip_query: true, response_code: PERMANENT_REDIRECT",
            308,
            "http://a.test:81/there",
        ),
        (
            "regex_rewrite: { pattern: { regex: '^/([0-9])$' }, substitution: '/n/\\1' }, \
             response_code: MOVED_PERMANENTLY",
            301,
            "http://a.test:81/n/8?q",
        ),
    ];
    let routes: Vec<_> = cases
        .iter()
        .enumerate()
        .map(|(at, (fields, ..))| {
            format!("{{ match: {{ path: /{at} }}, redirect: {{ {fields} }} }}")
        })
        .collect();
    let (_edge, mut client) = start(&routes).await;
    for (at, (fields, status, location)) in cases.iter().enumerate() {
        client
            .send(&format!("GET /{at}?q HTTP/1.1\r\nhost: a.test:81\r\n\r\n"))
            .await;
        let response = client.response().await;
        let expected = match location.ends_with('/') {
            true => format!("{location}{at}?q"),
            false => (*location).to_owned(),
        };
        assert_eq!(response.status, *status, "{fields}");
        assert_eq!(
            response.header("location"),
            Some(expected.as_str()),
            "{fields}"
        );
    }
}

#[tokio::test]
async fn hosts_have_routes_of_their_own() {
    let listener = Http::new("http", 1).yaml();
    let hosts: String = [
        ("'a.test'", "exact"),
        ("'*.b.test'", "suffix"),
        ("'c.*'", "prefix"),
    ]
    .iter()
    .map(|(domains, body)| {
        format!(
            "{{ name: {body}, domains: {domains}, routes: {{ match: {{ prefix: / }}, \
             direct_response: {{ status: 200, body: {{ inline_string: {body} }} }} }} }}, "
        )
    })
    .collect();
    let listener = listener.replace("virtual_hosts: [ ", &format!("virtual_hosts: [ {hosts}"));
    let edge = Edge::start(FLAGS, &discovery("1", &[listener])).await;
    let mut client = H1::connect(edge.address("http").await).await;
    for (host, body) in [
        ("a.test", "exact"),
        ("x.b.test", "suffix"),
        ("c.example", "prefix"),
        ("d.test", "v1"),
    ] {
        client
            .send(&format!("GET /version HTTP/1.1\r\nhost: {host}\r\n\r\n"))
            .await;
        assert_eq!(client.response().await.ok(), body, "{host}");
    }
}

#[tokio::test]
async fn the_port_of_a_host_counts_unless_it_is_ignored() {
    let host = "virtual_hosts: [ { name: named, domains: a.test, routes: { match: { prefix: / }, \
                direct_response: { status: 200, body: { inline_string: named } } } }, ";
    for (field, body) in [
        ("", "v1"),
        ("ignore_port_in_host_matching: true, ", "named"),
    ] {
        let listener = Http::new("http", 1).yaml();
        let listener = listener.replace("virtual_hosts: [ ", &format!("{field}{host}"));
        let edge = Edge::start(FLAGS, &discovery("1", &[listener])).await;
        let mut client = H1::connect(edge.address("http").await).await;
        for (host, body) in [("a.test", "named"), ("a.test:8080", body)] {
            let request = format!("GET /version HTTP/1.1\r\nhost: {host}\r\n\r\n");
            client.send(&request).await;
            assert_eq!(client.response().await.ok(), body, "{field}{host}");
        }
    }
}

#[tokio::test]
async fn an_answer_of_the_proxys_own_has_the_content_type_of_its_route_or_that_of_text() {
    let answer = |path: &str, body: &str, more: &str| {
        format!(
            "{{ match: {{ path: {path} }}, direct_response: {{ status: 200, {body} }}, {more} }}"
        )
    };
    let body = "body: { inline_string: '{}' }";
    let json =
        "response_headers_to_add: { header: { key: content-type, value: application/json } }";
    let routes = [
        answer("/text", body, ""),
        answer("/json", body, json),
        answer("/removed", body, "response_headers_to_remove: content-type"),
        answer("/empty", "", ""),
        answer("/empty-json", "", json),
        format!("{{ match: {{ path: /sent }}, redirect: {{ path_redirect: / }}, {json} }}"),
        // No HTTP comes from there: 502.
        format!("{{ match: {{ path: /failed }}, route: {{ cluster: echo }}, {json} }}"),
    ];
    let (_edge, mut client) = start(&routes).await;
    for (path, expected) in [
        ("/text", &["text/plain"][..]),
        ("/json", &["application/json"]),
        ("/removed", &["text/plain"]),
        ("/empty", &[]),
        ("/empty-json", &[]),
        ("/sent", &[]),
        ("/failed", &["application/json"]),
    ] {
        let response = client.get(path).await;
        let lines = response.head.lines();
        let types: Vec<_> = lines
            .filter_map(|line| line.strip_prefix("content-type: "))
            .collect();
        assert_eq!(types, expected, "{path}");
    }
}

#[tokio::test]
async fn a_cluster_that_is_not_there_is_answered_as_its_route_says() {
    let route =
        |path: &str, to: &str| format!("{{ match: {{ path: {path} }}, route: {{ {to} }} }}");
    let routes = [
        route("/default", "cluster_header: to"),
        route(
            "/503",
            "cluster_header: to, cluster_not_found_response_code: SERVICE_UNAVAILABLE",
        ),
        route(
            "/404",
            "cluster_header: to, cluster_not_found_response_code: NOT_FOUND",
        ),
        route(
            "/500",
            "cluster_header: to, cluster_not_found_response_code: INTERNAL_SERVER_ERROR",
        ),
    ];
    let listener = routed("http", "", &routes);
    let empty = cluster("empty", &[], "");
    let edge = Edge::start_beside(FLAGS, &discovery("1", &[listener]), &empty, "").await;
    let mut client = H1::connect(edge.address("http").await).await;
    for (path, status) in [
        ("/default", 503),
        ("/503", 503),
        ("/404", 404),
        ("/500", 500),
    ] {
        for (to, expected) in [
            ("", status),
            ("to: nowhere\r\n", status),
            ("to: empty\r\n", 503),
        ] {
            client
                .send(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n{to}\r\n"))
                .await;
            assert_eq!(client.response().await.status, expected, "{path} {to}");
        }
    }
}

#[tokio::test]
async fn a_route_to_a_cluster_that_is_not_there_is_taken_if_it_is_asked_for() {
    let route = ["{ match: { prefix: / }, route: { cluster: nowhere } }".to_owned()];
    let listener = |checks: &str| {
        routed("http", "", &route).replace("{ name: r, ", &format!("{{ name: r, {checks}"))
    };
    let mut edge = Edge::start(
        FLAGS,
        &discovery("1", &[listener("validate_clusters: false, ")]),
    )
    .await;
    let mut client = H1::connect(edge.address("http").await).await;
    assert_eq!(client.get("/").await.status, 503);
    let lines = edge.update("2", &[listener("")]).await;
    assert!(
        lines.iter().any(|line| line.contains("nowhere")),
        "{lines:?}"
    );
    assert_eq!(client.get("/version").await.ok(), "v1");
}

#[tokio::test]
async fn bytes_are_shared_by_weight() {
    let upstream = crate::support::upstream::Upstream::start().await;
    let listener = crate::support::tcp("tcp", 1).replace(
        "cluster: echo",
        "weighted_clusters: { clusters: [ { name: gone, weight: 0 }, { name: bytes, weight: 7 } ] }",
    );
    let [gone] = rig::free_ports().expect("a port");
    let clusters = [
        cluster("gone", &[gone], ""),
        cluster("bytes", &[upstream.echo], ""),
    ]
    .concat();
    let edge = Edge::start_beside(FLAGS, &discovery("1", &[listener]), &clusters, "").await;
    let address = edge.address("tcp").await;
    for _ in 0..4 {
        let mut client = H1::connect(address).await;
        client.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(client.response().await.status, 204);
    }
}
