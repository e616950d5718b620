//! Each field of clusters and endpoints that chooses where a request goes, and in which version of
//! HTTP.

use crate::support::upstream::Upstream;
use crate::support::{Edge, H1, Http, discovery};

const FLAGS: &str = "--drain-time-s 20 --drain-strategy immediate";

/// An endpoint there, with these fields of `lb_endpoints` and of `endpoint`.
fn endpoint(host: &str, port: u16, outer: &str, inner: &str) -> String {
    format!(
        "{{ {outer}endpoint: {{ {inner}address: {{ socket_address: {{ protocol: TCP, address: '{host}', \
         port_value: {port} }} }} }} }}"
    )
}

fn cluster(name: &str, fields: &str, endpoints: &str) -> String {
    format!(
        "  - {{ name: {name}, {fields}load_assignment: {{ cluster_name: {name}, endpoints: [ {{ lb_endpoints: [ \
         {endpoints} ] }} ] }} }}\n"
    )
}

/// A listener whose requests to `/<name>` go to the cluster of that name.
fn listener(names: &[&str], more: &str) -> String {
    let routes: Vec<_> = names
        .iter()
        .map(|name| format!("{{ match: {{ path: /{name} }}, route: {{ cluster: {name}{more} }} }}"))
        .collect();
    Http::new("http", 1).yaml().replace(
        "{ match: { prefix: / }, route: { cluster: http, timeout: 0s } }",
        &routes.join(", "),
    )
}

/// How many of twenty requests through this cluster each of two upstreams gets.
async fn shares(cluster: &str, [first, second]: [&mut Upstream; 2]) -> [u32; 2] {
    let discovery = discovery("1", &[listener(&["both"], "")]);
    let edge = Edge::start_beside(FLAGS, &discovery, cluster, "").await;
    let mut client = H1::connect(edge.address("http").await).await;
    let mut counts = [0, 0];
    for _ in 0..20 {
        client.ask("/both").await;
        let (index, held) = tokio::select! {
            held = first.held() => (0, held),
            held = second.held() => (1, held),
        };
        counts[index] += 1;
        held.answer("done");
        assert_eq!(client.response().await.ok(), "done");
    }
    counts
}

#[tokio::test]
async fn an_endpoint_gets_requests_by_what_is_known_of_its_health() {
    let (mut marked, mut plain) = (Upstream::start().await, Upstream::start().await);
    for (status, other, expected) in [
        ("UNKNOWN", "HEALTHY", [10, 10]),
        ("HEALTHY", "UNKNOWN", [10, 10]),
        // A healthy half can take 70 of 100 requests.
        ("DEGRADED", "HEALTHY", [6, 14]),
        ("DEGRADED", "UNHEALTHY", [20, 0]),
        ("UNHEALTHY", "HEALTHY", [0, 20]),
        ("DRAINING", "HEALTHY", [0, 20]),
        ("TIMEOUT", "UNKNOWN", [0, 20]),
        // An answer of any of them is better than none.
        ("DRAINING", "UNHEALTHY", [10, 10]),
        ("TIMEOUT", "DRAINING", [10, 10]),
    ] {
        let endpoints = [(status, &marked), (other, &plain)].map(|(status, upstream)| {
            let outer = format!("health_status: {status}, ");
            endpoint("127.0.0.1", upstream.http.port(), &outer, "")
        });
        let cluster = cluster("both", "type: STATIC, ", &endpoints.join(", "));
        let shares = shares(&cluster, [&mut marked, &mut plain]).await;
        assert_eq!(shares, expected, "{status} beside {other}");
    }
}

/// Played against Envoy 1.40.0: what is well of the first priority takes 1.4 times its part, and
/// where that of all priorities is too little, all endpoints get requests.
#[tokio::test]
async fn a_worse_priority_gets_what_the_better_one_cannot_take() {
    let (mut best, mut next) = (Upstream::start().await, Upstream::start().await);
    for (priority, fields, statuses, expected) in [
        (1, "", ["HEALTHY", "UNHEALTHY"], [14, 6]),
        (1, "", ["HEALTHY", "DRAINING"], [20, 0]),
        (1, "", ["DEGRADED", "DEGRADED"], [0, 20]),
        (0, "", ["HEALTHY", "UNHEALTHY"], [10, 10]),
        (0, "", ["UNHEALTHY", "UNHEALTHY"], [14, 6]),
        (0, "50", ["UNHEALTHY", "UNHEALTHY"], [14, 6]),
        (0, "30", ["UNHEALTHY", "UNHEALTHY"], [0, 20]),
    ] {
        let at = |upstream: &Upstream, status: &str| {
            let outer = format!("health_status: {status}, ");
            endpoint("127.0.0.1", upstream.http.port(), &outer, "")
        };
        let [first, second] = statuses.map(|status| at(&best, status));
        let more = format!(
            "{first}, {second} ] }}, {{ priority: {priority}, lb_endpoints: [ {}",
            at(&next, "HEALTHY")
        );
        let fields = match fields {
            "" => String::new(),
            value => {
                format!("common_lb_config: {{ healthy_panic_threshold: {{ value: {value} }} }}, ")
            }
        };
        let cluster = cluster("both", &fields, &more);
        let shares = shares(&cluster, [&mut best, &mut next]).await;
        assert_eq!(shares, expected, "{priority} {fields} {statuses:?}");
    }
}

#[tokio::test]
async fn without_panic_endpoints_that_are_unwell_get_no_requests() {
    let mut upstream = Upstream::start().await;
    let unwell = endpoint(
        "127.0.0.1",
        upstream.http.port(),
        "health_status: DRAINING, ",
        "",
    );
    for (threshold, answered) in [("0", false), ("'50'", true)] {
        let fields =
            format!("common_lb_config: {{ healthy_panic_threshold: {{ value: {threshold} }} }}, ");
        let cluster = cluster("one", &fields, &unwell);
        let discovery = discovery("1", &[listener(&["one"], "")]);
        let edge = Edge::start_beside(FLAGS, &discovery, &cluster, "").await;
        assert_eq!(edge.stat("server.static_unknown_fields").await, 0);
        let mut client = H1::connect(edge.address("http").await).await;
        client.ask("/one").await;
        if answered {
            upstream.held().await.answer("done");
        }
        let status = client.response().await.status;
        assert_eq!(status, if answered { 200 } else { 503 }, "{threshold}");
    }
}

#[tokio::test]
async fn an_endpoint_gets_requests_by_its_weight() {
    let (mut light, mut heavy) = (Upstream::start().await, Upstream::start().await);
    let both = [
        endpoint("127.0.0.1", light.http.port(), "", ""),
        endpoint(
            "127.0.0.1",
            heavy.http.port(),
            "load_balancing_weight: 3, ",
            "",
        ),
    ];
    for kind in ["STATIC", "STRICT_DNS"] {
        let both = cluster("both", &format!("type: {kind}, "), &both.join(", "));
        let shares = shares(&both, [&mut light, &mut heavy]).await;
        assert_eq!(shares, [5, 15], "{kind}");
    }
}

#[tokio::test]
async fn a_host_name_is_resolved_to_addresses_of_the_family_that_is_asked_for() {
    // It listens on 127.0.0.1 alone.
    let mut upstream = Upstream::start().await;
    let port = upstream.http.port();
    let cases = [
        ("auto", "AUTO", true),
        ("four", "V4_ONLY", true),
        ("rather", "V4_PREFERRED", true),
        ("all", "ALL", true),
        ("six", "V6_ONLY", false),
    ];
    let clusters = cases.map(|(name, family, _)| {
        let fields = format!("type: LOGICAL_DNS, dns_lookup_family: {family}, ");
        let host = match family {
            "AUTO" => "127.0.0.1",
            _ => "localhost",
        };
        cluster(name, &fields, &endpoint(host, port, "", ""))
    });
    let names = cases.map(|(name, ..)| name);
    let discovery = discovery("1", &[listener(&names, "")]);
    let edge = Edge::start_beside(FLAGS, &discovery, &clusters.concat(), "").await;
    let mut client = H1::connect(edge.address("http").await).await;
    for (name, family, expected) in cases {
        client.ask(&format!("/{name}")).await;
        if expected {
            upstream.held().await.answer("done");
        }
        let answered = client.response().await.status;
        assert_eq!(answered, if expected { 200 } else { 503 }, "{family}");
    }
}

#[tokio::test]
async fn an_endpoint_is_asked_for_by_its_hostname_if_the_route_says_so() {
    let mut upstream = Upstream::start().await;
    let port = upstream.http.port();
    let named = cluster(
        "named",
        "",
        &endpoint("127.0.0.1", port, "", "hostname: shop.test, "),
    );
    let discovery = discovery("1", &[listener(&["named"], ", auto_host_rewrite: true")]);
    let edge = Edge::start_beside(FLAGS, &discovery, &named, "").await;
    let mut client = H1::connect(edge.address("http").await).await;
    client.ask("/named").await;
    let held = upstream.held().await;
    assert!(
        held.head.contains("\r\nhost: shop.test\r\n"),
        "{}",
        held.head
    );
    held.answer("done");
    assert_eq!(client.response().await.ok(), "done");
}

#[tokio::test]
async fn every_policy_gives_endpoints_their_turns() {
    let (mut first, mut second) = (Upstream::start().await, Upstream::start().await);
    let policies = [
        "ROUND_ROBIN",
        "LEAST_REQUEST",
        "RING_HASH",
        "RANDOM",
        "MAGLEV",
    ];
    let endpoints = [&first, &second].map(|one| endpoint("127.0.0.1", one.http.port(), "", ""));
    let endpoints = endpoints.join(", ");
    let clusters: String = policies
        .iter()
        .map(|policy| cluster(policy, &format!("lb_policy: {policy}, "), &endpoints))
        .collect();
    let discovery = discovery("1", &[listener(&policies, "")]);
    let edge = Edge::start_beside(FLAGS, &discovery, &clusters, "").await;
    let mut client = H1::connect(edge.address("http").await).await;
    for policy in policies {
        for upstream in [&mut first, &mut second] {
            client.ask(&format!("/{policy}")).await;
            upstream.held().await.answer("done");
            assert_eq!(client.response().await.ok(), "done", "{policy}");
        }
    }
}

const HTTP: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// An upstream that says in which version it was asked.
async fn versions() -> std::net::SocketAddr {
    use std::convert::Infallible;

    use http::{Request, Response};
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use hyper_util::server::conn::auto::Builder;

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let service = service_fn(|request: Request<Incoming>| async move {
                    let said = format!("{:?}", request.version());
                    Ok::<_, Infallible>(Response::new(said))
                });
                let server = Builder::new(TokioExecutor::new());
                server
                    .serve_connection(TokioIo::new(stream), service)
                    .await
                    .ok();
            });
        }
    });
    address
}

#[tokio::test]
async fn endpoints_are_asked_in_the_version_of_http_that_their_cluster_says() {
    let at = versions().await;
    let options = |content: &str| {
        format!(
            "typed_extension_protocol_options: {{ {HTTP}: {{ \"@type\": type.googleapis.com/{HTTP}, {content} }} }}, "
        )
    };
    // What a client of HTTP/1.1 and one of HTTP/2 get.
    let cases = [
        ("none", String::new(), "HTTP/1.1", "HTTP/1.1"),
        (
            "older",
            "http2_protocol_options: {}, ".to_owned(),
            "HTTP/2.0",
            "HTTP/2.0",
        ),
        (
            "one",
            options("explicit_http_config: { http_protocol_options: {} }"),
            "HTTP/1.1",
            "HTTP/1.1",
        ),
        (
            "two",
            options("explicit_http_config: { http2_protocol_options: {} }"),
            "HTTP/2.0",
            "HTTP/2.0",
        ),
        (
            "same",
            options(
                "use_downstream_protocol_config: { http_protocol_options: {}, http2_protocol_options: {} }",
            ),
            "HTTP/1.1",
            "HTTP/2.0",
        ),
        // In clear there is no ALPN.
        (
            "auto",
            options("auto_config: { http_protocol_options: {}, http2_protocol_options: {} }"),
            "HTTP/1.1",
            "HTTP/1.1",
        ),
    ];
    let clusters: String = cases
        .iter()
        .map(|(name, fields, ..)| cluster(name, fields, &endpoint("127.0.0.1", at.port(), "", "")))
        .collect();
    let names: Vec<_> = cases.iter().map(|(name, ..)| *name).collect();
    let discovery = discovery("1", &[listener(&names, "")]);
    let edge = Edge::start_beside(FLAGS, &discovery, &clusters, "").await;
    let address = edge.address("http").await;
    let mut client = H1::connect(address).await;
    let mut client_of_two = crate::support::h2::H2::connect(address).await;
    for (stream, (name, _, one, two)) in (1..).step_by(2).zip(&cases) {
        let path = format!("/{name}");
        assert_eq!(client.get(&path).await.ok(), *one, "{name}");
        assert_eq!(client_of_two.get(stream, &path).await, *two, "{name}");
    }
}

#[tokio::test]
async fn each_codec_takes_the_versions_of_http_that_it_speaks() {
    let listeners = ["AUTO", "HTTP1", "HTTP2"].map(|codec| {
        Http::new(codec, 1)
            .yaml()
            .replace("codec_type: AUTO", &format!("codec_type: {codec}"))
    });
    let edge = Edge::start(FLAGS, &discovery("1", &listeners)).await;
    for (codec, one, two) in [
        ("AUTO", true, true),
        ("HTTP1", true, false),
        ("HTTP2", false, true),
    ] {
        let at = edge.address(codec).await;
        let mut client = H1::connect(at).await;
        client.ask("/version").await;
        let response = client.try_response().await;
        let is_served = response.is_ok_and(|response| response.status == 200);
        assert_eq!(is_served, one, "{codec}");
        let stream = tokio::net::TcpStream::connect(at)
            .await
            .expect("it listens");
        let handshake =
            hyper::client::conn::http2::handshake::<_, _, http_body_util::Empty<bytes::Bytes>>(
                hyper_util::rt::TokioExecutor::new(),
                hyper_util::rt::TokioIo::new(stream),
            );
        let (mut sender, connection) = handshake.await.expect("a connection");
        let connection = tokio::spawn(connection);
        let request = http::Request::get("http://a/version").body(http_body_util::Empty::new());
        let answer = sender.send_request(request.expect("a request"));
        let answer = crate::support::within("an answer", answer).await;
        let is_served = answer.is_ok_and(|answer| answer.status() == 200);
        assert_eq!(is_served, two, "{codec}");
        connection.abort();
    }
}
