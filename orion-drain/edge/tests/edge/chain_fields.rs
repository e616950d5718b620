//! Each way to choose the filter chain of a connection, in Envoy's fields, and what else a listener
//! says of its connections before they speak.

use std::net::SocketAddr;

use rig::yaml;
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{Edge, End, H1, Http, discovery, within};

const FLAGS: &str = "--drain-time-s 20 --drain-strategy immediate";

/// A chain with these fields that answers `/version` with `body`.
fn chain(fields: &[&str], body: &str) -> String {
    let fields: Vec<_> = fields.iter().map(|field| (*field).to_owned()).collect();
    yaml::chain(
        &fields,
        &yaml::manager(body, &[], &[yaml::answer("/version", "", body)]),
    )
}

/// A listener at this address with these chains; `default` answers what no chain takes.
fn listener(name: &str, ip: &str, chains: &[String], default: Option<&str>) -> String {
    let ip: std::net::IpAddr = ip.parse().expect("an address");
    let at = yaml::socket_address(SocketAddr::new(ip, 0));
    let default = default.map(|body| {
        let chain = chain(&[], body);
        let filters = chain.trim_start_matches("  - ").trim_end();
        format!("default_filter_chain:\n    {filters}")
    });
    let fields: Vec<_> = default.into_iter().collect();
    yaml::resource(&yaml::listener(name, &at, &fields, chains))
}

/// What a connection from this address, to that one, is answered.
async fn answer(from: Option<SocketAddr>, to: SocketAddr) -> Option<String> {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("an option");
    if let Some(from) = from {
        socket.bind(from).expect("a free address");
    }
    let stream = within("a connection", socket.connect(to)).await;
    let mut client = H1::over(stream.expect("it listens"));
    client
        .try_send("GET /version HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .ok()?;
    Some(client.try_response().await.ok()?.ok())
}

#[tokio::test]
async fn addresses_and_ports_of_both_sides_choose_a_chain() {
    let [port] = rig::free_ports().expect("a port");
    let source_port = format!("filter_chain_match: {{ source_ports: [{}] }}", port.port());
    let prefixes = |field: &str| {
        let range = "{ address_prefix: 127.0.0.2, prefix_len: 32 }";
        [
            chain(
                &[&format!("filter_chain_match: {{ {field}: {range} }}")],
                "two",
            ),
            chain(
                &[&format!(
                    "filter_chain_match: {{ {field}: {{ address_prefix: 127.0.0.0, prefix_len: 29 }} }}"
                )],
                "eight",
            ),
        ]
    };
    let local = |name: &str, kind: &str| {
        let matched = format!("filter_chain_match: {{ source_type: {kind} }}");
        listener(
            name,
            "127.0.0.1",
            &[chain(&[&matched], kind)],
            Some("other"),
        )
    };
    let destination = |port: u16| {
        let matched = format!("filter_chain_match: {{ destination_port: {port} }}");
        listener(
            "port",
            "127.0.0.1",
            &[chain(&[&matched], "port")],
            Some("other"),
        )
    };
    let listeners = [
        listener(
            "ports",
            "127.0.0.1",
            &[chain(&[&source_port], "port")],
            Some("other"),
        ),
        listener(
            "from",
            "127.0.0.1",
            &prefixes("source_prefix_ranges"),
            Some("other"),
        ),
        listener("to", "0.0.0.0", &prefixes("prefix_ranges"), None),
        local("any", "ANY"),
        local("near", "SAME_IP_OR_LOOPBACK"),
        local("far", "EXTERNAL"),
        destination(1),
    ];
    let mut edge = Edge::start(FLAGS, &discovery("1", &listeners)).await;
    let ip = |last: u8| SocketAddr::from(([127, 0, 0, last], 0));

    let ports = edge.address("ports").await;
    assert_eq!(answer(Some(port), ports).await.as_deref(), Some("port"));
    assert_eq!(answer(None, ports).await.as_deref(), Some("other"));

    let from = edge.address("from").await;
    for (last, body) in [(2, "two"), (3, "eight"), (9, "other")] {
        assert_eq!(answer(Some(ip(last)), from).await.as_deref(), Some(body));
    }
    let to = edge.address("to").await.port();
    for (last, body) in [(2, Some("two")), (3, Some("eight")), (9, None)] {
        let to = SocketAddr::new(ip(last).ip(), to);
        assert_eq!(answer(None, to).await.as_deref(), body);
    }
    for (name, body) in [
        ("any", "ANY"),
        ("near", "SAME_IP_OR_LOOPBACK"),
        ("far", "other"),
    ] {
        assert_eq!(
            answer(None, edge.address(name).await).await.as_deref(),
            Some(body)
        );
    }
    let at = edge.address("port").await;
    assert_eq!(answer(None, at).await.as_deref(), Some("other"));
    edge.update("2", &[destination(at.port())]).await;
    assert_eq!(edge.address("port").await, at);
    assert_eq!(answer(None, at).await.as_deref(), Some("port"));
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn tls_and_its_protocol_choose_a_chain() {
    use crate::support::tls::Secured;

    let server = Secured::new();
    let socket = server.transport_socket();
    let clear = "transport_socket: { name: clear, typed_config: { \"@type\": \
                 type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer } }";
    let chains = [
        chain(
            &[
                "filter_chain_match: { transport_protocol: raw_buffer }",
                clear,
            ],
            "clear",
        ),
        chain(
            &[
                "filter_chain_match: { transport_protocol: tls, application_protocols: [http/1.1] }",
                &socket,
            ],
            "http/1.1",
        ),
        chain(
            &[
                "filter_chain_match: { transport_protocol: tls, application_protocols: h2 }",
                &socket,
            ],
            "h2",
        ),
    ];
    let edge = Edge::start(
        FLAGS,
        &discovery("1", &[listener("both", "127.0.0.1", &chains, None)]),
    )
    .await;
    let at = edge.address("both").await;
    assert_eq!(answer(None, at).await.as_deref(), Some("clear"));
    let stream = server.connect(at, "http/1.1").await;
    assert_eq!(H1::over(stream).get("/version").await.ok(), "http/1.1");
    let stream = server.connect(at, "h2").await;
    let mut client = crate::support::h2::H2::over(stream).await;
    assert_eq!(client.get(1, "/version").await, "h2");
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn a_client_that_does_not_finish_its_handshake_in_time_is_closed() {
    let server = crate::support::tls::Secured::new();
    let socket = server.transport_socket();
    let listener = Http::new("https", 1)
        .with_chain(&format!(
            "transport_socket_connect_timeout: 0.3s\n    {socket}"
        ))
        .yaml();
    let edge = Edge::start(FLAGS, &discovery("1", &[listener])).await;
    let at = edge.address("https").await;
    for begun in ["", "\u{16}\u{3}\u{1}"] {
        let mut client = H1::connect(at).await;
        client.send(begun).await;
        assert_eq!(client.end().await, End::Fin, "{begun:?}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn so_many_connections_wait_to_be_accepted_as_the_backlog_says() {
    let listeners = [
        Http::new("short", 1).with("tcp_backlog_size: 2").yaml(),
        Http::new("long", 1).with("tcp_backlog_size: 64").yaml(),
    ];
    let edge = Edge::start(FLAGS, &discovery("1", &listeners)).await;
    let (short, long) = (edge.address("short").await, edge.address("long").await);
    // Stopped, it accepts nothing. The kernel takes one connection more than it is asked to.
    edge.stop().await;
    let mut taken = Vec::new();
    for (at, limit) in [(short, 3), (long, 65)] {
        let mut waiting = Vec::new();
        for _ in 0..limit {
            let client = within("a place in the queue", TcpStream::connect(at)).await;
            waiting.push(client.expect("it listens"));
        }
        taken.push((at, waiting));
    }
    // The kernel drops the SYN of one more, which its client sends again after a second.
    let mut more = tokio::spawn(TcpStream::connect(short));
    let early = tokio::time::timeout(std::time::Duration::from_millis(500), &mut more).await;
    assert!(early.is_err(), "the queue has more places: {early:?}");
    edge.signal("CONT").await;
    for (_, waiting) in taken {
        for stream in waiting {
            assert_eq!(H1::over(stream).get("/version").await.ok(), "v1");
        }
    }
    let more = within("its turn", more)
        .await
        .expect("it ends")
        .expect("it is taken");
    assert_eq!(H1::over(more).get("/version").await.ok(), "v1");
}
