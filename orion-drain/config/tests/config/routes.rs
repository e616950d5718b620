//! Which route a request takes, what its response gets, and the timeouts with Envoy's defaults.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use orion_drain_config::{Action, ChosenRoute, RequestHead, RouteConfiguration};

use super::{http_listener, manager, read};

fn table(yaml: &str) -> RouteConfiguration {
    yaml_serde::from_str(yaml).expect("routes")
}

fn choose<'a>(table: &'a RouteConfiguration, host: &str, path: &str) -> Option<ChosenRoute<'a>> {
    chosen(table, &RequestHead::new(host, path, &HeaderMap::new()))
}

fn chosen<'a>(table: &'a RouteConfiguration, request: &RequestHead<'_>) -> Option<ChosenRoute<'a>> {
    table.choose(&table.domains(), request)
}

fn body<'a>(table: &'a RouteConfiguration, host: &str, path: &str) -> Option<&'a str> {
    body_of(choose(table, host, path)?)
}

fn body_of(chosen: ChosenRoute<'_>) -> Option<&str> {
    match &chosen.route.action {
        Action::DirectResponse(response) => response.body.as_ref()?.inline_string.as_deref(),
        _ => None,
    }
}

fn host(name: &str, domains: &str) -> String {
    format!(
        "\n- {{ name: {name}, domains: {domains}, routes: [{{ match: {{ prefix: / }}, \
         direct_response: {{ status: 200, body: {{ inline_string: {name} }} }} }}] }}"
    )
}

/// A look at each domain allocated that domain, in small letters.
#[test]
fn a_request_does_not_look_at_each_of_many_domains() {
    let hosts = (0..1_000).map(|at| host(&format!("h{at}"), &format!("['h{at}', '*.h{at}']")));
    let table = table(&format!("virtual_hosts:{}", hosts.collect::<String>()));
    let (domains, headers) = (table.domains(), HeaderMap::new());
    for (name, expected) in [("h7", "h7"), ("a.h999", "h999")] {
        let head = RequestHead::new(name, "/", &headers);
        let mut chosen = None;
        let counted = allocation_counter::measure(|| chosen = table.choose(&domains, &head));
        assert_eq!(chosen.and_then(body_of), Some(expected));
        assert_eq!(counted.count_total, 0, "{counted:?}");
    }
}

/// How closely a domain names this host: kind of pattern, then its length.
fn specificity(domain: &str, host: &str) -> Option<(u8, usize)> {
    let domain = domain.to_ascii_lowercase();
    if domain == host {
        Some((3, 0))
    } else if domain == "*" {
        Some((0, 0))
    } else if let Some(suffix) = domain.strip_prefix('*') {
        (host.len() > suffix.len() && host.ends_with(suffix)).then_some((2, suffix.len()))
    } else {
        let prefix = domain.strip_suffix('*')?;
        (host.len() > prefix.len() && host.starts_with(prefix)).then_some((1, prefix.len()))
    }
}

/// Out of a few characters, so that patterns overlap.
#[test]
fn domains_made_ready_say_what_a_look_at_each_of_them_says() {
    use proptest::prelude::*;
    let domain = "[*]?[a.Aé]{0,4}[*]?".prop_filter("empty", |domain| !domain.is_empty());
    let hosts = prop::collection::vec(prop::collection::vec(domain, 1..4), 0..6);
    proptest!(|(hosts in hosts, asked in "[a.A*é]{0,5}(:8)?", ignore_port in any::<bool>())| {
        let hosts = hosts.iter().enumerate();
        let hosts = hosts.map(|(at, domains)| host(&at.to_string(), &format!("{domains:?}")));
        let table = table(&format!(
            "ignore_port_in_host_matching: {ignore_port}\nvirtual_hosts: {}",
            Some(hosts.collect::<String>()).filter(|hosts| !hosts.is_empty()).unwrap_or("[]".into()),
        ));
        let host = asked.to_ascii_lowercase();
        let compared = match ignore_port {
            true => host.strip_suffix(":8").unwrap_or(&host),
            false => &host,
        };
        let each = table.virtual_hosts.iter().flat_map(|host| host.domains.iter().zip(std::iter::repeat(host)));
        let fitting = each.filter_map(|(domain, host)| Some((specificity(domain, compared)?, host)));
        // The first of equals, as they stand in the file.
        let best = fitting.reduce(|best, next| if next.0 > best.0 { next } else { best });
        prop_assert_eq!(body(&table, &asked, "/"), best.map(|(_, host)| &*host.name));
    });
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
        ("A.B.example", "exact"),
        ("A.B.example:8080", "prefix"),
        ("c.example:81", "exact"),
        ("c.example:82", "any"),
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
fn a_port_counts_in_a_host_unless_it_is_ignored() {
    let hosts = format!(
        "virtual_hosts:{}{}{}",
        host("named", "['a.example', '[::1]']"),
        host("with_port", "['a.example:81']"),
        host("any", "['*']"),
    );
    let ignoring = table(&format!("ignore_port_in_host_matching: true\n{hosts}"));
    let table = table(&hosts);
    for (name, expected, ignored) in [
        ("a.example", "named", "named"),
        ("a.example:80", "any", "named"),
        ("a.example:81", "with_port", "named"),
        ("[::1]:80", "any", "named"),
    ] {
        assert_eq!(body(&table, name, "/"), Some(expected), "{name}");
        assert_eq!(body(&ignoring, name, "/"), Some(ignored), "{name}");
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
    assert!(choose(&table, "h", "/b").is_none());
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
    let request = HeaderMap::new();
    let request = RequestHead::new("h", "/", &request);
    let chosen = chosen(&table, &request).expect("a route");
    chosen.response_edits(&request, None).apply(&mut headers);
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

/// Routes of one host that answer with their place.
fn numbered(matches: &[&str]) -> RouteConfiguration {
    let routes: String = matches
        .iter()
        .enumerate()
        .map(|(number, fields)| {
            format!(
                "\n  - {{ match: {{ {fields} }}, direct_response: {{ status: 200, body: {{ \
                 inline_string: '{number}' }} }} }}"
            )
        })
        .collect();
    table(&format!(
        "virtual_hosts:\n- name: all\n  domains: ['*']\n  routes:{routes}"
    ))
}

#[test]
fn a_path_matches_by_its_kind() {
    let table = numbered(&[
        "safe_regex: { regex: '/item/[0-9]+' }",
        "path_separated_prefix: /sep",
        "prefix: /UP, case_sensitive: false",
        "path: /Exact, case_sensitive: false",
    ]);
    for (path, expected) in [
        ("/item/7?a", Some("0")),
        ("/item/7/x", None),
        ("/sep", Some("1")),
        ("/sep/x", Some("1")),
        ("/separate", None),
        ("/upper", Some("2")),
        ("/eXACT", Some("3")),
        ("/exact/", None),
    ] {
        assert_eq!(body(&table, "h", path), expected, "{path}");
    }
}

#[test]
fn a_header_matches_by_its_pattern() {
    for (matcher, value, matches) in [
        ("exact_match: a", Some("a"), true),
        ("exact_match: a", Some("ab"), false),
        ("prefix_match: a", Some("ab"), true),
        ("suffix_match: b", Some("ab"), true),
        ("contains_match: b", Some("abc"), true),
        ("safe_regex_match: { regex: 'a.c' }", Some("abc"), true),
        ("safe_regex_match: { regex: 'a.c' }", Some("abcd"), false),
        (
            "string_match: { exact: A, ignore_case: true }",
            Some("a"),
            true,
        ),
        (
            "string_match: { contains: B, ignore_case: true }",
            Some("abc"),
            true,
        ),
        ("range_match: { start: 1, end: 3 }", Some("2"), true),
        ("range_match: { start: 1, end: 3 }", Some("3"), false),
        ("range_match: { start: -5, end: '3' }", Some("-4"), true),
        ("present_match: true", Some(""), true),
        ("present_match: true", None, false),
        ("present_match: false", None, true),
        ("present_match: true, invert_match: true", None, true),
        ("exact_match: a, invert_match: true", Some("b"), true),
        ("exact_match: a, invert_match: true", None, false),
        (
            "exact_match: '', treat_missing_header_as_empty: true",
            None,
            true,
        ),
    ] {
        let table = numbered(&[&format!(
            "prefix: /, headers: [{{ name: X-Test, {matcher} }}]"
        )]);
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.insert("x-test", value.parse().expect("a value"));
        }
        let chosen = chosen(&table, &RequestHead::new("h", "/", &headers));
        assert_eq!(chosen.is_some(), matches, "{matcher} {value:?}");
    }
}

/// As seen of Envoy 1.40.0.
#[test]
fn an_expression_is_read_as_re2_reads_it() {
    for (regex, fits, fits_not) in [
        (r"\d+", "3", "٣"),
        (r"\D+", "٣", "3"),
        (r"\w+", "a_9", "ä"),
        (r"\W+", "ä", "a"),
        (r"[\w-]+", "a-b", "ä"),
        (r"[^\d]+", "٣", "3"),
        (r"[\D]+", "٣", "3"),
        (r"[\d-z]+", "3-z", "y"),
        (r"a\sb", "a b", "a\u{a0}b"),
        (r"[a\s]+", "a a", "a\u{a0}a"),
        (r".*\bb", "äb", "ab"),
        (r"\<a\>", "<a>", "a"),
        (r"[a&&b]+", "a&b", "c"),
        (r"[&&]", "&", "a"),
        (r"[ab~~b]+", "a~b", "c"),
        (r"[+--]", ",", "/"),
        (r"[a-c--e]+", "b-d", "f"),
        (r"[--/]", ".", "0"),
        (r"[[a]]", "[]", "a"),
        (r"[[-]+", "[-", "a"),
        (r"[]a]+", "]a", "b"),
        (r"[^]a]", "b", "]"),
        (r"[[:alpha:]_]+", "a_", "ä"),
        (r"[a\]b]+", "]", "c"),
        (r"[\[\]]+", "[]", "a"),
        (r"\[a-c\]", "[a-c]", "b"),
        (r"[a-]+", "a-", "b"),
        (r"[\x41-\x43]", "B", "-"),
        (r"(?i)k", "K", "j"),
        (r"\\d", r"\d", "3"),
    ] {
        let matcher = format!("safe_regex_match: {{ regex: '{regex}' }}");
        for (value, is_it) in [(fits, true), (fits_not, false)] {
            let table = numbered(&[&format!(
                "prefix: /, headers: [{{ name: X-Test, {matcher} }}]"
            )]);
            let mut headers = HeaderMap::new();
            let bytes = value.as_bytes();
            headers.insert("x-test", HeaderValue::from_bytes(bytes).expect("a value"));
            let chosen = chosen(&table, &RequestHead::new("h", "/", &headers));
            assert_eq!(chosen.is_some(), is_it, "{regex} {value:?}");
        }
    }
}

#[test]
fn headers_of_one_name_are_one_value_and_the_start_line_has_headers_too() {
    let table = numbered(&[
        "prefix: /, headers: [{ name: x, exact_match: 'a,b' }]",
        "prefix: /, headers: [{ name: ':method', exact_match: POST }, { name: ':path', prefix_match: /p }]",
        "prefix: /, headers: [{ name: ':authority', exact_match: shop }]",
        "prefix: /, query_parameters: [{ name: q, string_match: { prefix: '1' } }]",
        "prefix: /, grpc: {}",
    ]);
    let mut headers = HeaderMap::new();
    headers.append("x", "a".parse().expect("a value"));
    headers.append("x", "b".parse().expect("a value"));
    let none = HeaderMap::new();
    let mut grpc = HeaderMap::new();
    grpc.insert(
        "content-type",
        "application/grpc+proto".parse().expect("a value"),
    );
    let mut post = RequestHead::new("h", "/p?q=2", &none);
    post.method = &http::Method::POST;
    for (request, expected) in [
        (RequestHead::new("h", "/", &headers), Some("0")),
        (post, Some("1")),
        (RequestHead::new("shop", "/", &none), Some("2")),
        (RequestHead::new("h", "/?a&q=12&q=2", &none), Some("3")),
        (RequestHead::new("h", "/", &grpc), Some("4")),
        (RequestHead::new("h", "/?q=21", &none), None),
    ] {
        assert_eq!(
            chosen(&table, &request).and_then(body_of),
            expected,
            "{request:?}"
        );
    }
}

#[test]
fn weights_and_shares_of_chance_are_kept() {
    let table = table(
        "virtual_hosts: [{ name: all, domains: ['*'], routes: [{ match: { prefix: /, runtime_fraction: { \
         default_value: { numerator: 25 } } }, route: { weighted_clusters: { clusters: [{ name: a, weight: 1 }, \
         { name: none, weight: 0 }, { name: b, weight: 3 }] } } }] }]",
    );
    let headers = HeaderMap::new();
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    for sample in 0..100 {
        let mut request = RequestHead::new("h", "/", &headers);
        request.sample = sample;
        let Some(chosen) = chosen(&table, &request) else {
            *seen.entry("no route".to_owned()).or_default() += 1;
            continue;
        };
        let Action::Route(route) = &chosen.route.action else {
            panic!("{chosen:?}");
        };
        let cluster = route.choose_cluster(&request).name.into_owned();
        *seen.entry(cluster).or_default() += 1;
    }
    let seen: Vec<_> = seen
        .iter()
        .map(|(name, count)| (name.as_str(), *count))
        .collect();
    assert_eq!(seen, [("a", 7), ("b", 18), ("no route", 75)]);
}

#[test]
fn a_path_is_rewritten_and_a_redirect_leads_where_it_says() {
    for (matches, action, path, expected) in [
        ("prefix: /api", "prefix_rewrite: /", "/api/a?b", "//a?b"),
        ("prefix: /api/", "prefix_rewrite: /", "/api/a?b", "/a?b"),
        (
            "prefix: /api, case_sensitive: false",
            "prefix_rewrite: /v2",
            "/API/a",
            "/v2/a",
        ),
        ("path: /api", "prefix_rewrite: /v2", "/api?x", "/v2?x"),
        (
            "prefix: /",
            "regex_rewrite: { pattern: { regex: '^/([a-z]+)/([0-9]+)$' }, substitution: '/\\2/\\1' }",
            "/item/7?q",
            "/7/item?q",
        ),
    ] {
        let table = table(&format!(
            "virtual_hosts: [{{ name: all, domains: ['*'], routes: [{{ match: {{ {matches} }}, route: {{ cluster: c, {action} }} }}] }}]"
        ));
        let headers = HeaderMap::new();
        let request = RequestHead::new("h", path, &headers);
        let chosen = chosen(&table, &request).expect("a route");
        assert_eq!(chosen.path(&request), expected, "{action}");
    }
    for (action, host, path, expected) in [
        (
            "https_redirect: true",
            "shop:80",
            "/a?b",
            "https://shop/a?b",
        ),
        (
            "https_redirect: true",
            "shop:8080",
            "/a",
            "https://shop:8080/a",
        ),
        (
            "https_redirect: true, port_redirect: 8443",
            "shop:8080",
            "/a",
            "https://shop:8443/a",
        ),
        ("host_redirect: other", "shop:8080", "/a", "http://other/a"),
        ("path_redirect: /new", "shop", "/a?b", "http://shop/new?b"),
        (
            "path_redirect: '/new?c', strip_query: true",
            "shop",
            "/a?b",
            "http://shop/new?c",
        ),
        (
            "prefix_rewrite: /new, strip_query: true",
            "shop",
            "/a/x?b",
            "http://shop/new/x",
        ),
        ("scheme_redirect: ftp", "[::1]:80", "/a", "ftp://[::1]:80/a"),
    ] {
        let table = table(&format!(
            "virtual_hosts: [{{ name: all, domains: ['*'], routes: [{{ match: {{ prefix: /a }}, redirect: {{ {action}, response_code: found }} }}] }}]"
        ));
        let headers = HeaderMap::new();
        let request = RequestHead::new(host, path, &headers);
        let chosen = chosen(&table, &request).expect("a route");
        assert_eq!(
            chosen.redirect(&request),
            Some((302, expected.to_owned())),
            "{action}"
        );
    }
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
