//! Where endpoints are: host names, Unix sockets, endpoints that drain; and what is spoken to them.

use std::net::SocketAddr;
use std::path::Path;

use rig::h1::Wire;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;

use crate::support::upstream::Upstream;
use crate::support::{Edge, H1, Http, discovery, tcp};

const FLAGS: &str = "--drain-time-s 20 --drain-strategy immediate";

/// A cluster with these fields and endpoints.
fn cluster(name: &str, fields: &str, endpoints: &str) -> String {
    format!(
        "  - {{ name: {name}, {fields}, load_assignment: {{ cluster_name: {name}, endpoints: [ {{ \
         lb_endpoints: [ {endpoints} ] }} ] }} }}\n"
    )
}

fn at(host: &str, port: u16) -> String {
    format!(
        "{{ endpoint: {{ address: {{ socket_address: {{ address: {host}, port_value: {port} }} }} }} }}"
    )
}

/// A listener whose requests go to this cluster.
fn to(name: &str, more: &str) -> String {
    let listener = Http::new("http", 1).yaml();
    listener.replace("cluster: http", &format!("cluster: {name}{more}"))
}

#[tokio::test]
async fn a_host_name_is_resolved_for_requests_and_for_bytes() {
    let mut upstream = Upstream::start().await;
    for kind in ["STRICT_DNS", "logical_dns"] {
        let fields = format!("type: {kind}, dns_lookup_family: V4_ONLY, dns_refresh_rate: 0.05s");
        let clusters = [
            cluster("named", &fields, &at("localhost", upstream.http.port())),
            cluster("bytes", &fields, &at("localhost", upstream.echo.port())),
        ]
        .concat();
        let listeners = [
            to("named", ", auto_host_rewrite: true"),
            tcp("tcp", 1).replace("cluster: echo", "cluster: bytes"),
        ];
        let edge = Edge::start_beside(FLAGS, &discovery("1", &listeners), &clusters, "").await;
        let mut client = H1::connect(edge.address("http").await).await;
        for _ in 0..3 {
            client
                .send("GET /held HTTP/1.1\r\nhost: edge.test\r\n\r\n")
                .await;
            let held = upstream.held().await;
            assert!(
                held.head.contains("\r\nhost: localhost\r\n"),
                "{}",
                held.head
            );
            held.answer(kind);
            assert_eq!(client.response().await.ok(), kind);
        }
        let mut client = H1::connect(edge.address("tcp").await).await;
        client.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(client.response().await.status, 204);
    }
}

#[tokio::test]
async fn a_name_of_both_families_reaches_the_one_that_answers() {
    let mut upstream = Upstream::start().await;
    let named = cluster(
        "named",
        "type: STRICT_DNS",
        &at("localhost", upstream.http.port()),
    );
    let edge = Edge::start_beside(FLAGS, &discovery("1", &[to("named", "")]), &named, "").await;
    let mut client = H1::connect(edge.address("http").await).await;
    client.ask("/held").await;
    upstream.held().await.answer("done");
    assert_eq!(client.response().await.ok(), "done");
}

#[tokio::test]
async fn a_name_that_cannot_be_resolved_is_told_and_answered_with_503_and_all_else_is_served() {
    // No label may be so long: nobody is asked.
    let name = "a".repeat(70);
    let named = cluster("named", "type: STRICT_DNS", &at(&name, 80));
    let edge = Edge::start_beside(FLAGS, &discovery("1", &[to("named", "")]), &named, "").await;
    let told = format!("cluster \"named\": cannot resolve {name}: ");
    assert!(
        edge.said().iter().any(|line| line.contains(&told)),
        "{:?}",
        edge.said()
    );
    let mut client = H1::connect(edge.address("http").await).await;
    assert_eq!(client.get("/other").await.status, 503);
    assert_eq!(client.get("/version").await.ok(), "v1");
}

#[tokio::test]
async fn an_endpoint_at_a_unix_socket_is_asked() {
    let edge = Edge::start_of(FLAGS, |folder: &Path, _: &Upstream| {
        let socket = folder.join("up.sock");
        let listener = UnixListener::bind(&socket).expect("a Unix socket");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut wire = Wire::new(stream);
                wire.head().await.expect("a request");
                let answer =
                    b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nunix";
                wire.stream.write_all(answer).await.ok();
            }
        });
        let lds = folder.join("lds.yaml");
        std::fs::write(&lds, discovery("1", &[to("unix", "")])).expect("the LDS file");
        let endpoint = format!("{{ endpoint: {{ address: {{ pipe: {{ path: {socket:?} }} }} }} }}");
        let unix = cluster("unix", "connect_timeout: 5s", &endpoint);
        rig::yaml::bootstrap("test", SocketAddr::from(([127, 0, 0, 1], 0)), &lds, &[unix])
    });
    let mut edge = edge.await;
    edge.until("lds: ").await;
    let mut client = H1::connect(edge.address("http").await).await;
    assert_eq!(client.get("/").await.ok(), "unix");
}

#[tokio::test]
async fn endpoints_that_drain_and_those_of_a_worse_priority_get_no_requests() {
    let mut upstream = Upstream::start().await;
    let used = at("127.0.0.1", upstream.http.port());
    // Nobody listens there.
    let marked = |status: &str| {
        at("127.0.0.1", 1).replace(
            "{ endpoint:",
            &format!("{{ health_status: {status}, endpoint:"),
        )
    };
    let mut named = cluster(
        "some",
        "lb_policy: LEAST_REQUEST",
        &[marked("DRAINING"), used, marked("DRAINING")].join(", "),
    );
    let worse = format!(
        " endpoints: [ {{ priority: 1, lb_endpoints: [ {} ] }},",
        at("127.0.0.1", 1)
    );
    named = named.replacen(" endpoints: [", &worse, 1);
    let edge = Edge::start_beside(FLAGS, &discovery("1", &[to("some", "")]), &named, "").await;
    let mut client = H1::connect(edge.address("http").await).await;
    for _ in 0..6 {
        client.ask("/held").await;
        upstream.held().await.answer("done");
        assert_eq!(client.response().await.ok(), "done");
    }
}
