//! What of a request the upstream gets to see: upgrades that count, and whom the client is.

use rig::h2::{self, flag, kind};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::route_fields::routed;
use crate::support::h1::header;
use crate::support::h2::{Event, H2};
use crate::support::{Edge, End, H1, Http, cluster, discovery, websocket, within};

/// Starts edge with one listener that lets WebSockets through.
async fn start(more: &'static str) -> Edge {
    let listener = Http::new("http", 1).with_http(more).yaml();
    Edge::start("--drain-time-s 20", &discovery("1", &[listener])).await
}

#[tokio::test]
async fn an_upgrade_counts_only_over_http_1_1_and_if_connection_names_it() {
    let mut edge = start("").await;
    let address = edge.address("http").await;
    for request in [
        "GET /held HTTP/1.1\r\nhost: test\r\nupgrade: websocket\r\n\r\n",
        "GET /held HTTP/1.1\r\nhost: test\r\nconnection: keep-alive\r\nupgrade: websocket\r\n\r\n",
        "GET /held HTTP/1.0\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    ] {
        let mut client = H1::connect(address).await;
        client.send(request).await;
        let held = edge.upstream.held().await;
        assert_eq!(header(&held.head, "upgrade"), None, "{request}");
        held.answer("plain");
        assert_eq!(client.response().await.ok(), "plain", "{request}");
    }
    let mut tunnel = websocket::open(address).await;
    websocket::say(&mut tunnel, "hello").await.expect("an echo");
}

#[tokio::test]
async fn proxy_connection_close_ends_a_connection_as_connection_close_does() {
    let edge = start("").await;
    let address = edge.address("http").await;
    for (options, ends) in [
        ("Close", true),
        ("keep-alive, close", true),
        ("keep-alive", false),
    ] {
        let mut client = H1::connect(address).await;
        let request =
            format!("GET /version HTTP/1.1\r\nhost: test\r\nproxy-connection: {options}\r\n\r\n");
        client.send(&request).await;
        let response = client.response().await;
        assert_eq!(response.ok(), "v1");
        assert_eq!(response.says_close(), ends, "{options}");
        match ends {
            true => assert_eq!(client.end().await, End::Fin),
            false => assert_eq!(client.get("/version").await.ok(), "v1"),
        }
    }
}

#[tokio::test]
async fn the_address_that_the_client_connects_from_is_added_to_x_forwarded_for_if_it_is_asked_for()
{
    for (more, sent, received) in [
        ("", "", None),
        ("", "x-forwarded-for: 192.0.2.1\r\n", Some("192.0.2.1")),
        ("use_remote_address: true", "", Some("127.0.0.1")),
        (
            "use_remote_address: true",
            "x-forwarded-for: 192.0.2.1\r\nx-forwarded-for: 192.0.2.2\r\n",
            Some("192.0.2.1,192.0.2.2,127.0.0.1"),
        ),
    ] {
        let mut edge = start(more).await;
        let mut client = H1::connect(edge.address("http").await).await;
        client
            .send(&format!("GET /held HTTP/1.1\r\nhost: test\r\n{sent}\r\n"))
            .await;
        let held = edge.upstream.held().await;
        assert_eq!(
            header(&held.head, "x-forwarded-for"),
            received,
            "{more} {sent}"
        );
        held.answer("done");
        assert_eq!(client.response().await.ok(), "done");
    }
}

#[tokio::test]
async fn a_switch_that_is_not_allowed_is_refused_and_what_follows_is_not_read() {
    let listener = Http::new("http", 1)
        .with_http("http2_protocol_options: { allow_connect: true }")
        .yaml()
        .replace("upgrade_type: websocket", "upgrade_type: other");
    let mut edge = Edge::start("--drain-time-s 20", &discovery("1", &[listener])).await;
    let address = edge.address("http").await;
    for path in ["/held", "/version"] {
        for token in [
            "websocket",
            "foo",
            "h2c, websocket",
            "other\r\nupgrade: foo",
        ] {
            let mut client = H1::connect(address).await;
            client
                .send(&format!(
                    "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: {token}\r\n\r\n\
                     GET /version HTTP/1.1\r\nhost: a\r\n\r\n"
                ))
                .await;
            let response = client.response().await;
            let got = (response.status, response.says_close());
            assert_eq!(got, (403, true), "{path} {token}");
            assert_eq!(client.end().await, End::Fin, "{path} {token}");
        }
    }
    let mut client = H2::connect(address).await;
    client.connect_websocket(1, "/held").await;
    let (stream, ok) = (1, false);
    assert_eq!(client.next().await, Event::Head { stream, ok });
    // Whoever offers HTTP/2 over HTTP/1.1 is served, without it.
    let mut client = H1::connect(address).await;
    client
        .send("GET /held HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n")
        .await;
    let held = edge.upstream.held().await;
    assert_eq!(header(&held.head, "upgrade"), None, "{}", held.head);
    held.answer("plain");
    assert_eq!(client.response().await.ok(), "plain");
}

#[tokio::test]
async fn the_upstream_learns_how_the_client_connects_and_nothing_that_the_client_may_not_say() {
    const EDGE: &str = "use_remote_address: true";
    const TRUSTING: &str = "use_remote_address: true, xff_num_trusted_hops: 1";
    let own = "x-envoy-internal: true\r\nx-envoy-original-path: /other\r\n";
    let cert = "x-forwarded-client-cert: Subject=\"CN=admin\"\r\nX-Forwarded-Client-Cert: By=a\r\n";
    for (more, sent, name, received) in [
        ("", "", "x-forwarded-proto", Some("http")),
        (
            "",
            "x-forwarded-proto: https\r\n",
            "x-forwarded-proto",
            Some("https"),
        ),
        (EDGE, "", "x-forwarded-proto", Some("http")),
        (
            EDGE,
            "x-forwarded-proto: https\r\n",
            "x-forwarded-proto",
            Some("http"),
        ),
        ("", "x-envoy-retry-on: 5xx\r\n", "x-envoy-retry-on", None),
        ("", "x-envoy-peer: a\r\n", "x-envoy-peer", Some("a")),
        (EDGE, "x-envoy-peer: a\r\n", "x-envoy-peer", Some("a")),
        (TRUSTING, "", "x-forwarded-proto", Some("http")),
        (
            TRUSTING,
            "x-forwarded-proto: https\r\n",
            "x-forwarded-proto",
            Some("https"),
        ),
        ("", cert, "x-forwarded-client-cert", None),
        (TRUSTING, cert, "x-forwarded-client-cert", None),
        ("", own, "x-envoy-internal", None),
        ("", own, "x-envoy-original-path", Some("/other")),
        (EDGE, own, "x-envoy-internal", None),
        (EDGE, own, "x-envoy-original-path", None),
    ] {
        let mut edge = start(more).await;
        let mut client = H1::connect(edge.address("http").await).await;
        client
            .send(&format!("GET /held HTTP/1.1\r\nhost: test\r\n{sent}\r\n"))
            .await;
        let held = edge.upstream.held().await;
        assert_eq!(header(&held.head, name), received, "{more} {}", held.head);
        held.answer("done");
        assert_eq!(client.response().await.ok(), "done");
    }
}

/// Each row was played against Envoy 1.40.0.
#[tokio::test]
async fn routes_see_of_a_client_what_the_upstream_will() {
    const EDGE: &str = "use_remote_address: true";
    const TRUSTING: &str = "use_remote_address: true, xff_num_trusted_hops: 1";
    let route = |status: u16, name: &str, pattern: &str| {
        format!(
            "{{ match: {{ prefix: /, headers: {{ name: {name}, {pattern} }} }}, \
             direct_response: {{ status: {status} }} }}"
        )
    };
    let routes = [
        route(201, "x-envoy-internal", "present_match: true"),
        route(202, "x-named", "present_match: true"),
        route(203, "connection", "present_match: true"),
        route(207, "x-forwarded-proto", "string_match: { exact: https }"),
        route(
            208,
            "x-forwarded-for",
            "string_match: { exact: '192.0.2.1,127.0.0.1' }",
        ),
        route(206, "x-forwarded-proto", "string_match: { exact: http }"),
    ];
    for (more, expected) in [
        ("", [206, 206, 206, 202, 206, 207, 206]),
        (EDGE, [206, 206, 206, 202, 206, 206, 208]),
        (TRUSTING, [206, 206, 206, 202, 206, 207, 208]),
    ] {
        let listener = routed("http", more, &routes);
        let edge = Edge::start("--drain-time-s 20", &discovery("1", &[listener])).await;
        let mut client = H1::connect(edge.address("http").await).await;
        for (sent, expected) in [
            "",
            "x-envoy-internal: true\r\n",
            "connection: x-named\r\nx-named: 1\r\n",
            "x-named: 1\r\n",
            "connection: keep-alive\r\n",
            "x-forwarded-proto: https\r\n",
            "x-forwarded-for: 192.0.2.1\r\n",
        ]
        .into_iter()
        .zip(expected)
        {
            let request = format!("GET / HTTP/1.1\r\nhost: a\r\n{sent}\r\n");
            client.send(&request).await;
            assert_eq!(client.response().await.status, expected, "{more} {sent}");
        }
    }
}

/// Each row was played against Envoy 1.40.0.
#[tokio::test]
async fn routes_see_which_switch_a_request_asks_for() {
    let header = |name, pattern| format!("{{ name: '{name}', string_match: {{ {pattern} }} }}");
    let headers = [
        header("upgrade", "exact: websocket"),
        header("connection", "contains: upgrade, ignore_case: true"),
        header(":method", "exact: GET"),
    ];
    let headers = headers.join(", ");
    let routes = [
        format!(
            "{{ match: {{ prefix: /, headers: [ {headers} ] }}, direct_response: {{ status: 200 }} }}"
        ),
        "{ match: { prefix: / }, direct_response: { status: 404 } }".to_owned(),
    ];
    let more = "http2_protocol_options: { allow_connect: true }";
    let listener = routed("http", more, &routes);
    let edge = Edge::start("--drain-time-s 20", &discovery("1", &[listener])).await;
    let address = edge.address("http").await;
    for (sent, expected) in [
        ("connection: Upgrade\r\nupgrade: websocket\r\n", 200),
        (
            "connection: keep-alive, Upgrade\r\nupgrade: websocket\r\n",
            200,
        ),
        // However many more options there are.
        (
            "connection: upgrade,a,b,c,d,e,f,g,h,i,j\r\nupgrade: websocket\r\n",
            200,
        ),
        (
            "connection: a,b,c,d,e,f,g,h,i,j\r\nupgrade: websocket\r\n",
            400,
        ),
        ("upgrade: websocket\r\n", 404),
        ("connection: keep-alive\r\nupgrade: websocket\r\n", 404),
        ("connection: upgrade\r\nupgrade: h2c\r\n", 404),
    ] {
        let mut client = H1::connect(address).await;
        let request = format!("GET /chat HTTP/1.1\r\nhost: a\r\n{sent}\r\n");
        client.send(&request).await;
        assert_eq!(client.response().await.status, expected, "{sent}");
    }
    let mut client = H2::connect(address).await;
    client.connect_websocket(1, "/chat").await;
    let (stream, ok) = (1, true);
    assert_eq!(client.next().await, Event::Head { stream, ok });
}

/// Each row was played against Envoy 1.40.0.
#[tokio::test]
async fn the_scheme_that_a_client_says_comes_before_x_forwarded_proto() {
    let is_https = "{ name: ':scheme', string_match: { exact: https } }";
    let routes = [
        format!(
            "{{ match: {{ path: /, headers: [ {is_https} ] }}, direct_response: {{ status: 200 }} }}"
        ),
        "{ match: { path: /r }, redirect: { path_redirect: /x } }".to_owned(),
        "{ match: { prefix: / }, direct_response: { status: 404 } }".to_owned(),
    ];
    let listener = routed("http", "", &routes);
    let edge = Edge::start("--drain-time-s 20", &discovery("1", &[listener])).await;
    let mut client = H1::connect(edge.address("http").await).await;
    for (target, sent, scheme) in [
        ("", "", "http"),
        ("", "x-forwarded-proto: HTTPS\r\n", "https"),
        ("", "x-forwarded-proto: ftp\r\n", "http"),
        ("https://a", "", "https"),
        ("https://a", "x-forwarded-proto: http\r\n", "https"),
        ("http://a", "x-forwarded-proto: https\r\n", "http"),
    ] {
        let ask = |path| format!("GET {target}{path} HTTP/1.1\r\nhost: a\r\n{sent}\r\n");
        client.send(&ask("/")).await;
        let status = if scheme == "https" { 200 } else { 404 };
        assert_eq!(client.response().await.status, status, "{target} {sent}");
        client.send(&ask("/r")).await;
        let response = client.response().await;
        let location = format!("{scheme}://a/x");
        assert_eq!(
            response.header("location"),
            Some(&*location),
            "{target} {sent}"
        );
    }
}

#[tokio::test]
async fn a_scheme_in_capitals_is_the_same_scheme() {
    let routes = ["https", "http"].map(|scheme| {
        let is = format!("headers: [ {{ name: ':scheme', string_match: {{ exact: {scheme} }} }} ]");
        format!(
            "{{ match: {{ path: /, {is} }}, direct_response: {{ status: 200, body: {{ inline_string: {scheme} }} }} }}"
        )
    });
    let listener = routed("http", "", &routes);
    let edge = Edge::start("--drain-time-s 20", &discovery("1", &[listener])).await;
    let mut client = H2::connect(edge.address("http").await).await;
    for (stream, said, scheme) in [(1, "HTTP", "http"), (3, "Https", "https")] {
        let block = h2::block("GET", "/");
        // In place of the method's neighbour in the static table, `:scheme` as a literal.
        let literal = [&[6, said.len() as u8], said.as_bytes()].concat();
        let block = [&block[..1], &literal, &block[2..]].concat();
        let flags = flag::END_HEADERS | flag::END_STREAM;
        client
            .raw(&h2::frame(kind::HEADERS, flags, stream, &block))
            .await;
        assert_eq!(client.answered(stream).await, scheme);
    }
}

/// A proxy in front has taken TLS off: sent to `https`, the client would come the same way again.
#[tokio::test]
async fn a_request_that_has_come_over_tls_is_not_sent_to_https_again() {
    for (more, sent, expected) in [
        ("", "", 301),
        ("", "x-forwarded-proto: https\r\n", 200),
        ("", "x-forwarded-proto: http\r\n", 301),
        ("", "x-forwarded-proto: HTTPS\r\n", 301),
        (
            "",
            "x-forwarded-proto: https\r\nx-forwarded-proto: http\r\n",
            301,
        ),
        (
            "use_remote_address: true",
            "x-forwarded-proto: https\r\n",
            301,
        ),
        (
            "use_remote_address: true, xff_num_trusted_hops: 1",
            "x-forwarded-proto: https\r\n",
            200,
        ),
    ] {
        let listener = Http::new("http", 1).with_http(more).yaml();
        let listener = listener.replace("{ name: all, ", "{ name: all, require_tls: ALL, ");
        let edge = Edge::start("--drain-time-s 20", &discovery("1", &[listener])).await;
        let mut client = H1::connect(edge.address("http").await).await;
        let request = format!("GET /version HTTP/1.1\r\nhost: a\r\n{sent}\r\n");
        client.send(&request).await;
        assert_eq!(client.response().await.status, expected, "{more} {sent}");
    }
}

/// Each row was played against Envoy 1.40.0.
#[tokio::test]
async fn the_client_is_the_one_that_trusted_proxies_name() {
    let added = "{ name: r, request_headers_to_add: [ \
                 { header: { key: x-client, value: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%' } }, \
                 { header: { key: x-peer, value: '%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%' } } ], ";
    let both = "x-forwarded-for: 192.0.2.1, 192.0.2.2\r\n";
    for (more, sent, expected) in [
        ("", "", "127.0.0.1"),
        ("", both, "192.0.2.2"),
        ("", "x-forwarded-for: 192.0.2.1, unknown\r\n", "127.0.0.1"),
        ("xff_num_trusted_hops: 1", both, "192.0.2.1"),
        ("xff_num_trusted_hops: 2", both, "127.0.0.1"),
        ("use_remote_address: true", both, "127.0.0.1"),
        (
            "use_remote_address: true, xff_num_trusted_hops: 1",
            both,
            "192.0.2.2",
        ),
    ] {
        let listener = Http::new("http", 1).with_http(more).yaml();
        let listener = listener.replace("{ name: r, ", added);
        let mut edge = Edge::start("--drain-time-s 20", &discovery("1", &[listener])).await;
        let mut client = H1::connect(edge.address("http").await).await;
        let request = format!("GET /held HTTP/1.1\r\nhost: a\r\n{sent}\r\n");
        client.send(&request).await;
        let held = edge.upstream.held().await;
        assert_eq!(
            header(&held.head, "x-client"),
            Some(expected),
            "{more} {sent}"
        );
        assert_eq!(header(&held.head, "x-peer"), Some("127.0.0.1"), "{more}");
        held.answer("done");
        assert_eq!(client.response().await.ok(), "done");
    }
}

#[tokio::test]
async fn a_request_without_a_body_says_so_where_one_may_be_expected() {
    let mut edge = start("").await;
    let address = edge.address("http").await;
    for (method, length) in [
        ("POST", Some("0")),
        ("PUT", Some("0")),
        ("OPTIONS", Some("0")),
        ("GET", None),
        ("HEAD", None),
        ("DELETE", None),
    ] {
        let mut client = H1::connect(address).await;
        client
            .send(&format!("{method} /held HTTP/1.1\r\nhost: test\r\n\r\n"))
            .await;
        let held = edge.upstream.held().await;
        assert_eq!(header(&held.head, "content-length"), length, "{method}");
        held.answer("");
        assert_eq!(client.response().await.status, 200, "{method}");
    }
}

#[tokio::test]
async fn the_upstream_is_not_asked_whether_a_body_may_come_that_was_asked_for_here() {
    let mut edge = start("").await;
    let mut client = H1::connect(edge.address("http").await).await;
    client
        .send("POST /held HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
        .await;
    let head = within("a head", client.wire.head()).await.expect("a head");
    assert_eq!(head.status(), 100);
    client.send("abc").await;
    let held = edge.upstream.held().await;
    assert_eq!(header(&held.head, "expect"), None, "{}", held.head);
    held.answer("done");
    assert_eq!(client.response().await.ok(), "done");
    // Nor for a body that is none.
    client
        .send("GET /held HTTP/1.1\r\nhost: test\r\nexpect: 100-Continue\r\n\r\n")
        .await;
    let held = edge.upstream.held().await;
    assert_eq!(header(&held.head, "expect"), None, "{}", held.head);
    held.answer("done");
    assert_eq!(client.response().await.ok(), "done");
}

#[tokio::test]
async fn what_concerns_the_clients_connection_alone_does_not_reach_the_upstream() {
    let mut edge = start("use_remote_address: true").await;
    let address = edge.address("http").await;
    let mut client = H1::connect(address).await;
    client
        .send(
            "GET /held HTTP/1.1\r\nhost: test\r\nconnection: x-one, X-Two , keep-alive\r\n\
             connection: \u{f6}, x-four\r\nx-one: 1\r\nx-two: 2\r\nx-four: 4\r\n\
             keep-alive: timeout=5\r\nproxy-connection: keep-alive\r\nte: gzip, trailers\r\nx-three: 3\r\n\r\n",
        )
        .await;
    let held = edge.upstream.held().await;
    for gone in [
        "connection",
        "x-one",
        "x-two",
        "x-four",
        "keep-alive",
        "proxy-connection",
    ] {
        assert_eq!(header(&held.head, gone), None, "{}", held.head);
    }
    assert_eq!(header(&held.head, "x-three"), Some("3"));
    assert_eq!(header(&held.head, "te"), Some("trailers"));
    held.answer("done");
    assert_eq!(client.response().await.ok(), "done");

    // A client that could have these removed would decide what the upstream believes of it.
    for named in [
        "x-forwarded-for",
        "X-Forwarded-Proto",
        "x-forwarded-host",
        "host",
        "close, :path",
    ] {
        let mut client = H1::connect(address).await;
        client
            .send(&format!(
                "GET /held HTTP/1.1\r\nhost: test\r\nconnection: {named}\r\n\r\n"
            ))
            .await;
        assert_eq!(client.response().await.status, 400, "{named}");
    }
}

#[tokio::test]
async fn a_body_that_ends_with_the_upstreams_connection_reaches_the_client_in_chunks() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let endpoint = upstream.local_addr().expect("an address");
    let listener = Http::new("http", 1).yaml();
    let listener = listener.replace("cluster: http", "cluster: old");
    let clusters = cluster("old", &[endpoint], "");
    let edge = Edge::start_beside("", &discovery("1", &[listener]), &clusters, "").await;
    let mut client = H1::connect(edge.address("http").await).await;
    for _ in 0..2 {
        client.ask("/").await;
        let (mut stream, _) = upstream.accept().await.expect("edge");
        // Unread bytes would make a reset of its end.
        rig::h1::head(&mut stream).await.expect("a request");
        stream
            .write_all(b"HTTP/1.0 200 OK\r\n\r\nto the end")
            .await
            .expect("written");
        drop(stream);
        // The second time shows that the connection was kept.
        let response = client.response().await;
        assert_eq!(
            response.header("transfer-encoding"),
            Some("chunked"),
            "{response:?}"
        );
        assert!(response.head.starts_with("http/1.1 "), "{response:?}");
        assert_eq!(response.ok(), "to the end");
    }
}

#[tokio::test]
async fn the_body_of_a_get_passes_however_its_length_is_told() {
    let mut edge = start("").await;
    let address = edge.address("http").await;
    for method in ["GET", "HEAD", "DELETE", "FOO"] {
        for (told, sent) in [
            ("content-length: 3", "abc"),
            (
                "transfer-encoding: chunked",
                "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
            ),
        ] {
            let mut client = H1::connect(address).await;
            client
                .send(&format!(
                    "{method} /held HTTP/1.1\r\nhost: test\r\n{told}\r\n\r\n{sent}"
                ))
                .await;
            let held = edge.upstream.held().await;
            assert_eq!(held.body, b"abc", "{method} {told}: {}", held.head);
            held.answer("done");
        }
    }
}

#[tokio::test]
async fn the_data_of_a_get_over_http2_passes() {
    let mut edge = start("").await;
    let mut client = H2::connect(edge.address("http").await).await;
    client.raw(&h2::request("GET", "/held", 1, false)).await;
    client.raw(&h2::data(1, b"abc", true)).await;
    let held = edge.upstream.held().await;
    assert_eq!(held.body, b"abc", "{}", held.head);
    held.answer("done");
    assert_eq!(client.answered(1).await, "done");
}

#[tokio::test]
async fn a_request_of_http_1_0_that_names_no_host_names_none_to_the_upstream_either() {
    let mut edge = start("").await;
    let mut client = H1::connect(edge.address("http").await).await;
    client.send("GET /held HTTP/1.0\r\n\r\n").await;
    let held = edge.upstream.held().await;
    assert_eq!(header(&held.head, "host"), Some(""), "{}", held.head);
    held.answer("done");
    assert_eq!(client.response().await.ok(), "done");
}
