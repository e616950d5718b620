//! What routes make of requests and responses, as upstreams and clients see it.

use crate::support::h1::header;
use crate::support::h2::{Event, H2};
use crate::support::{Edge, H1, Http, cluster, discovery, websocket};

const ALL: &str = "{ match: { prefix: / }, route: { cluster: http, timeout: 0s } }";

/// A listener with these routes in place of the one that forwards everything.
fn routed(routes: &[&str]) -> String {
    let listener = Http::new("http", 1).yaml();
    assert!(listener.contains(ALL), "{listener}");
    listener.replace(ALL, &routes.join(",\n        "))
}

async fn start(routes: &[&str]) -> Edge {
    Edge::start("--drain-time-s 20", &discovery("1", &[routed(routes)])).await
}

async fn client(edge: &Edge) -> H1 {
    H1::connect(edge.address("http").await).await
}

#[tokio::test]
async fn a_route_rewrites_path_host_and_headers() {
    let mut edge = start(&[
        "{ match: { prefix: /api/ }, request_headers_to_remove: [x-secret], request_headers_to_add: [ \
         { header: { key: x-from, value: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%' } }, \
         { header: { key: x-seen, value: '%REQ(:path)% %PROTOCOL%' } } ], \
         response_headers_to_remove: [x-upstream], \
         response_headers_to_add: { header: { key: x-asked, value: '%REQ(x-secret)%' } }, \
         route: { cluster: http, prefix_rewrite: /v2/, host_rewrite_literal: shop.test, append_x_forwarded_host: yes } }",
        "{ match: { safe_regex: { regex: '/item/.*' } }, route: { cluster: http, host_rewrite_header: x-host, \
         regex_rewrite: { pattern: { regex: '^/item/([0-9]+)$' }, substitution: '/i?n=\\1' } } }",
    ])
    .await;
    let mut client = client(&edge).await;
    client
        .send("GET /api/a?b=c HTTP/1.1\r\nhost: edge.test\r\nx-secret: s\r\n\r\n")
        .await;
    let held = edge.upstream.held().await;
    assert!(
        held.head.starts_with("get /v2/a?b=c http/1.1\r\n"),
        "{}",
        held.head
    );
    for (name, value) in [
        ("host", Some("shop.test")),
        ("x-forwarded-host", Some("edge.test")),
        ("x-secret", None),
        ("x-from", Some("127.0.0.1")),
        ("x-seen", Some("/api/a?b=c http/1.1")),
    ] {
        assert_eq!(header(&held.head, name), value, "{}", held.head);
    }
    held.answer("done");
    let response = client.response().await;
    assert_eq!(response.header("x-asked"), Some("s"));
    assert_eq!(response.header("x-upstream"), None);

    client
        .send("GET /item/7?q HTTP/1.1\r\nhost: edge.test\r\nx-host: other.test\r\n\r\n")
        .await;
    let held = edge.upstream.held().await;
    assert!(
        held.head.starts_with("get /i?n=7?q http/1.1\r\n"),
        "{}",
        held.head
    );
    assert_eq!(header(&held.head, "host"), Some("other.test"));
    held.answer("done");
    assert_eq!(client.response().await.ok(), "done");
}

#[tokio::test]
async fn a_request_takes_the_first_route_whose_path_headers_and_query_fit() {
    let answer = |fields: &str, body: &str| {
        format!(
            "{{ match: {{ {fields} }}, direct_response: {{ status: 200, body: {{ inline_string: {body} }} }} }}"
        )
    };
    let routes = [
        answer(
            "prefix: /, headers: { name: ':method', exact_match: POST }",
            "post",
        ),
        answer(
            "prefix: /, headers: [{ name: x-user, string_match: { prefix: admin } }]",
            "admin",
        ),
        answer("path: /case, case_sensitive: false", "case"),
        answer("path_separated_prefix: /part", "part"),
        answer(
            "prefix: /, query_parameters: [{ name: debug, present_match: true }]",
            "debug",
        ),
    ];
    let routes: Vec<_> = routes.iter().map(String::as_str).collect();
    let edge = start(&routes).await;
    let mut client = client(&edge).await;
    for (request, expected) in [
        (
            "POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
            Some("post"),
        ),
        (
            "GET /x HTTP/1.1\r\nhost: a\r\nX-User: admin-1\r\n\r\n",
            Some("admin"),
        ),
        ("GET /CASE HTTP/1.1\r\nhost: a\r\n\r\n", Some("case")),
        ("GET /part/x HTTP/1.1\r\nhost: a\r\n\r\n", Some("part")),
        ("GET /party HTTP/1.1\r\nhost: a\r\n\r\n", None),
        (
            "GET /x?a=b&debug HTTP/1.1\r\nhost: a\r\n\r\n",
            Some("debug"),
        ),
    ] {
        client.send(request).await;
        let response = client.response().await;
        match expected {
            Some(body) => assert_eq!(response.ok(), body, "{request}"),
            None => assert_eq!(response.status, 404, "{request}"),
        }
    }
}

#[tokio::test]
async fn a_redirect_and_an_answer_from_a_file_reach_no_upstream() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let page = folder.path().join("page.txt");
    std::fs::write(&page, "from a file").expect("a file");
    let file = format!(
        "{{ match: {{ path: /page }}, direct_response: {{ status: 200, body: {{ filename: {page:?} }} }} }}"
    );
    let edge = start(&[
        &file,
        "{ match: { prefix: /old }, redirect: { https_redirect: true, prefix_rewrite: /new, \
         response_code: PERMANENT_REDIRECT } }",
    ])
    .await;
    let mut client = client(&edge).await;
    assert_eq!(client.get("/page").await.ok(), "from a file");
    let response = client.get("/old/a?b").await;
    assert_eq!(response.status, 308);
    assert_eq!(
        response.header("location"),
        Some("https://localhost/new/a?b")
    );

    let bad = routed(&[&file.replace("page.txt", "none.txt")]);
    let mut edge = edge;
    let lines = edge.update("2", &[bad]).await;
    let path = "virtual_hosts[0].routes[1].direct_response.body.filename: cannot read";
    assert!(lines.iter().any(|line| line.contains(path)), "{lines:?}");
    assert_eq!(client.get("/page").await.ok(), "from a file");
}

#[tokio::test]
async fn an_answer_is_no_larger_than_it_may_be() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let page = folder.path().join("page.txt");
    let large = "x".repeat(4_097);
    std::fs::write(&page, &large).expect("a file");
    let answer = |body: &str| {
        format!(
            "{{ match: {{ prefix: / }}, direct_response: {{ status: 200, body: {{ {body} }} }} }}"
        )
    };
    let whole = answer(&format!("inline_string: {:?}", &large[1..]));
    let mut edge = start(&[&whole]).await;
    let mut client = client(&edge).await;
    assert_eq!(client.get("/").await.ok(), &large[1..]);
    let bodies = [
        format!("inline_string: {large:?}"),
        format!("filename: {page:?}"),
    ];
    for (version, body) in ["2", "3"].into_iter().zip(&bodies) {
        let lines = edge.update(version, &[routed(&[&answer(body)])]).await;
        let problem = "4097 bytes, and `max_direct_response_body_size_bytes` is 4096";
        let is_told = lines.iter().any(|line| line.contains(problem));
        assert!(is_told, "{lines:?}");
        assert_eq!(client.get("/").await.ok(), &large[1..]);
    }
    let listener = routed(&[&answer(&bodies[1])]).replace(
        "{ name: r, ",
        "{ name: r, max_direct_response_body_size_bytes: 4097, ",
    );
    edge.update("4", &[listener]).await;
    let address = edge.address("http").await;
    assert_eq!(H1::connect(address).await.get("/").await.ok(), large);
}

#[tokio::test]
async fn clusters_share_requests_by_weight_and_a_header_can_name_one() {
    let listener = routed(&[
        "{ match: { prefix: /weighted }, route: { weighted_clusters: { clusters: [ { name: gone, weight: 0 }, \
         { name: http, weight: 1, request_headers_to_add: [{ header: { key: x-picked, value: http } }] } ] } } }",
        "{ match: { prefix: /named }, route: { cluster_header: x-cluster } }",
    ]);
    let gone = cluster("gone", &[], "");
    let mut edge =
        Edge::start_beside("--drain-time-s 20", &discovery("1", &[listener]), &gone, "").await;
    let mut client = client(&edge).await;
    for _ in 0..4 {
        client.ask("/weighted").await;
        let held = edge.upstream.held().await;
        assert_eq!(header(&held.head, "x-picked"), Some("http"));
        held.answer("done");
        assert_eq!(client.response().await.ok(), "done");
    }
    client
        .send("GET /named HTTP/1.1\r\nhost: a\r\nx-cluster: http\r\n\r\n")
        .await;
    edge.upstream.held().await.answer("named");
    assert_eq!(client.response().await.ok(), "named");
    assert_eq!(client.get("/named").await.status, 503);
}

#[tokio::test]
async fn a_host_that_asks_for_tls_sends_clear_requests_to_https() {
    let listener = Http::new("http", 1)
        .yaml()
        .replace("{ name: all, ", "{ name: all, require_tls: ALL, ");
    let edge = Edge::start("--drain-time-s 20", &discovery("1", &[listener])).await;
    let response = client(&edge).await.get("/version").await;
    assert_eq!(response.status, 301);
    assert_eq!(
        response.header("location"),
        Some("https://localhost/version")
    );
}

#[tokio::test]
async fn a_request_without_one_host_is_answered_with_400_and_the_connection_ends() {
    let edge = start(&[ALL]).await;
    for request in [
        "GET /version HTTP/1.1\r\n\r\n",
        "GET /version HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET /version HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n",
    ] {
        let mut client = client(&edge).await;
        client.send(request).await;
        let response = client.response().await;
        assert_eq!(
            (response.status, response.says_close()),
            (400, true),
            "{request}"
        );
        client.end().await;
    }
    // HTTP/1.0 knew no host.
    let mut client = client(&edge).await;
    client.send("GET /version HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.response().await.ok(), "v1");
}

#[tokio::test]
async fn of_two_lengths_the_upstream_gets_chunks_alone_and_the_connection_ends() {
    let mut edge = start(&[ALL]).await;
    for lengths in [
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
    ] {
        let mut client = client(&edge).await;
        let smuggled = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
        client
            .send(&format!(
                "POST /held HTTP/1.1\r\nhost: a\r\n{lengths}\r\n\r\n3\r\nabc\r\n0\r\n\r\n{smuggled}"
            ))
            .await;
        let held = edge.upstream.held().await;
        assert_eq!(header(&held.head, "content-length"), None, "{}", held.head);
        assert_eq!(header(&held.head, "transfer-encoding"), Some("chunked"));
        assert_eq!(held.body, b"abc");
        held.answer("done");
        let response = client.response().await;
        assert!(response.says_close(), "{lengths}: {response:?}");
    }
}

#[tokio::test]
async fn headers_of_one_hop_end_at_it_and_all_others_pass() {
    let mut edge = start(&[ALL]).await;
    let mut client = client(&edge).await;
    client
        .send(
            "GET /held HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, x-hop\r\nx-hop: 1\r\nkeep-alive: 5\r\n\
             proxy-connection: keep-alive\r\nte: trailers\r\nupgrade: h2c\r\nx-end: 2\r\n\
             proxy-authorization: basic\r\ncookie: a=b\r\n\r\n",
        )
        .await;
    let held = edge.upstream.held().await;
    for (name, passes) in [
        ("connection", false),
        ("x-hop", false),
        ("keep-alive", false),
        ("proxy-connection", false),
        ("te", true),
        ("upgrade", false),
        ("x-end", true),
        ("proxy-authorization", true),
        ("cookie", true),
    ] {
        assert_eq!(
            header(&held.head, name).is_some(),
            passes,
            "{name}: {}",
            held.head
        );
    }
    held.answer("done");
    assert_eq!(client.response().await.ok(), "done");
}

#[tokio::test]
async fn a_request_lists_at_most_nine_options_of_its_connection() {
    let mut edge = start(&[ALL]).await;
    let mut client = client(&edge).await;
    let request = |options: &str, more: &str| {
        format!("GET /held HTTP/1.1\r\nhost: a\r\nconnection: {options}\r\n{more}x-1: a\r\n\r\n")
    };
    let nine = ",x-1, x-2,, x-3, x-4, x-5, x-6, x-7, x-8, x-9,";
    client.send(&request(nine, "")).await;
    let held = edge.upstream.held().await;
    assert_eq!(header(&held.head, "x-1"), None, "{}", held.head);
    held.answer("done");
    assert_eq!(client.response().await.ok(), "done");
    // In one header or in two, whether they are one or ten, and if one is blank.
    for (options, more) in [
        (format!("{nine} x-10"), ""),
        (nine.to_owned(), "connection: x-10\r\n"),
        (["x-1"; 10].join(","), ""),
        (nine.replace(",,", ", ,"), ""),
    ] {
        client.send(&request(&options, more)).await;
        assert_eq!(client.response().await.status, 400, "{options} {more}");
    }
}

#[tokio::test]
async fn a_route_decides_on_upgrades_before_its_connection_manager() {
    let listener = routed(&[
        "{ match: { prefix: /off }, route: { cluster: http, upgrade_configs: [{ upgrade_type: websocket, enabled: false }] } }",
        "{ match: { prefix: / }, route: { cluster: http, upgrade_configs: [{ upgrade_type: websocket }] } }",
    ]);
    let all = "upgrade_configs: [ { upgrade_type: websocket } ],";
    assert!(listener.contains(all), "{listener}");
    let flags = "--drain-time-s 20";
    for (listener, on) in [(listener.clone(), true), (listener.replace(all, ""), true)] {
        let edge = Edge::start(flags, &discovery("1", &[listener])).await;
        let address = edge.address("http").await;
        let mut tunnel = websocket::open(address).await;
        let echo = websocket::say(&mut tunnel, "hello").await;
        assert_eq!(echo.is_ok(), on);
        let mut client = H1::connect(address).await;
        client
            .send(
                "GET /off HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            )
            .await;
        assert_eq!(client.response().await.status, 403);
    }
}

#[tokio::test]
async fn paths_and_headers_are_made_plain_before_any_route_looks_at_them() {
    let options = "normalize_path: true, merge_slashes: true, path_with_escaped_slashes_action: \
                   UNESCAPE_AND_REDIRECT, strip_any_host_port: true, common_http_protocol_options: { \
                   headers_with_underscores_action: DROP_HEADER }";
    let listener = Http::new("http", 1).with_http(options).yaml().replace(
        ALL,
        "{ match: { prefix: /public }, route: { cluster: http } }",
    );
    let mut edge = Edge::start("--drain-time-s 20", &discovery("1", &[listener])).await;
    let mut client = client(&edge).await;
    client
        .send("GET /public/./a//b?c//d HTTP/1.1\r\nhost: shop.test:8080\r\nx_user: 1\r\nx-user: 2\r\n\r\n")
        .await;
    let held = edge.upstream.held().await;
    assert!(
        held.head.starts_with("get /public/a/b?c//d http/1.1\r\n"),
        "{}",
        held.head
    );
    for (name, value) in [
        ("host", Some("shop.test")),
        ("x_user", None),
        ("x-user", Some("2")),
    ] {
        assert_eq!(header(&held.head, name), value, "{}", held.head);
    }
    held.answer("done");
    assert_eq!(client.response().await.ok(), "done");
    // What is no escape becomes none: the upstream would leave the public part by it.
    client
        .send("GET /public/%2%65%2%65/private HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    let held = edge.upstream.held().await;
    assert!(
        held.head
            .starts_with("get /public/%252e%252e/private http/1.1\r\n"),
        "{}",
        held.head
    );
    held.answer("done");
    assert_eq!(client.response().await.ok(), "done");
    // Out of the public part.
    for path in [
        "/public/../private",
        "/public/%2e%2e/private",
        "/public\\..\\private",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
        let mut client = H1::connect(edge.address("http").await).await;
        client.send(&request).await;
        let status = client.response().await.status;
        assert!(status == 404 || status == 400, "{path}: {status}");
    }
    client
        .send("GET /public%2Fa HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    let response = client.response().await;
    assert_eq!(response.status, 307);
    assert_eq!(response.header("location"), Some("/public/a"));
    // Where a name ends at a NUL, this is another one.
    client
        .send("GET /public/a%00b HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    assert_eq!(client.response().await.status, 400);
}

#[tokio::test]
async fn an_upload_that_nothing_serves_gets_its_answer_and_its_connection_goes_on_or_says_close() {
    let routes = routed(&[
        "{ match: { path: /here }, direct_response: { status: 200, body: { inline_string: here } } }",
        "{ match: { prefix: /empty }, route: { cluster: none } }",
        "{ match: { prefix: /refused }, route: { cluster: refused } }",
    ]);
    let [refused] = rig::free_ports().expect("a port");
    let clusters = [cluster("none", &[], ""), cluster("refused", &[refused], "")].concat();
    let discovery = discovery("1", &[routes]);
    let edge = Edge::start_beside("--drain-time-s 20", &discovery, &clusters, "").await;
    let mut client = client(&edge).await;
    // More than the buffers on the way take.
    let body = "y".repeat(16 << 20);
    for (path, expected) in [("/nowhere", 404), ("/empty", 503), ("/refused", 503)] {
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
        client.send(&head).await;
        client.send(&body).await;
        let response = client.response().await;
        assert_eq!(response.status, expected, "{path}");
        if path == "/refused" {
            // It is not read to its end, and the client reads that the connection ends.
            assert!(response.says_close(), "{path}");
            break;
        }
        assert!(!response.says_close(), "{path}");
        assert_eq!(client.get("/here").await.ok(), "here");
    }
}

#[tokio::test]
async fn an_upload_whose_head_is_refused_gets_its_answer_and_its_connection_goes_on() {
    let edge = Edge::start("--drain-time-s 20", &discovery("1", &[routed(&[ALL])])).await;
    let mut client = client(&edge).await;
    // More than the buffers on the way take, and more than is read behind the last response.
    let body = "y".repeat(32 << 20);
    for refused in ["connection: host", "connection: x-forwarded-for"] {
        let length = body.len();
        let head = format!(
            "POST /up HTTP/1.1\r\nhost: a\r\n{refused}\r\ncontent-length: {length}\r\n\r\n"
        );
        client.send(&head).await;
        client.send(&body).await;
        let response = client.response().await;
        assert_eq!(
            (response.status, response.says_close()),
            (400, false),
            "{refused}"
        );
        assert_eq!(client.get("/version").await.ok(), "v1");
    }
}

#[tokio::test]
async fn a_stream_that_nothing_serves_is_answered_before_its_client_ends_it() {
    let routes = routed(&[
        "{ match: { path: /here }, direct_response: { status: 200, body: { inline_string: here } } }",
        "{ match: { prefix: /empty }, route: { cluster: none } }",
    ]);
    let none = cluster("none", &[], "");
    let edge = Edge::start_beside("--drain-time-s 20", &discovery("1", &[routes]), &none, "").await;
    let mut client = H2::connect(edge.address("http").await).await;
    for (stream, path, ok) in [
        (1, "/nowhere", false),
        (3, "/empty", false),
        (5, "/here", true),
    ] {
        client.begin(stream, path).await;
        assert_eq!(client.next().await, Event::Head { stream, ok }, "{path}");
        while !matches!(client.next().await, Event::Body { last: true, .. }) {}
        // The rest of the request is not wanted.
        assert_eq!(client.next().await, Event::Reset { stream }, "{path}");
    }
    assert_eq!(client.get(7, "/here").await, "here");
}
