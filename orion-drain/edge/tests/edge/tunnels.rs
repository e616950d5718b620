//! Connections that cannot be told anything: they carry data until their own deadline.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use crate::support::h2::{Event, H2, NO_LIMIT};
use crate::support::{
    Edge, End, Http, cluster, discovery, end_of, full_endpoint, tcp, websocket, within,
};

const DRAIN_TIME: Duration = Duration::from_secs(4);

/// A tunnel that carries data until it ends; when that was.
#[derive(Clone, Copy)]
enum Tunnel {
    Bytes,
    WebSocket,
}

impl Tunnel {
    async fn open(self, address: SocketAddr) -> TcpStream {
        let mut stream = match self {
            Self::Bytes => TcpStream::connect(address).await.expect("a connection"),
            Self::WebSocket => websocket::open(address).await,
        };
        // It is one of the version that is active now.
        self.say(&mut stream, "hello").await.expect("an echo");
        stream
    }

    async fn say(self, stream: &mut TcpStream, text: &str) -> io::Result<()> {
        match self {
            Self::WebSocket => websocket::say(stream, text).await,
            Self::Bytes => {
                stream.write_all(text.as_bytes()).await?;
                let mut back = vec![0; text.len()];
                within("an echo", stream.read_exact(&mut back)).await?;
                assert_eq!(back, text.as_bytes());
                Ok(())
            }
        }
    }

    /// Talks in rounds, each of which must come back whole, and goes on listening at the end of
    /// each round; when it ended, and how.
    async fn talk(self, mut stream: TcpStream) -> (Instant, End) {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round = 0;
        loop {
            tokio::select! {
                end = end_of(&mut stream) => return (Instant::now(), end),
                _ = pace.tick() => {}
            }
            round += 1;
            match self.say(&mut stream, &format!("round {round}")).await {
                Ok(()) => {}
                // It ended between two rounds, with nothing of the last one on its way back.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return (Instant::now(), End::Fin);
                }
                Err(_) => return (Instant::now(), End::Reset),
            }
        }
    }
}

/// Opens one tunnel, replaces the listener three times with a tunnel opened under each version, and
/// lets all of them talk.
async fn three_updates(
    tunnel: Tunnel,
    flags: &str,
    name: &'static str,
    listener: fn(u32) -> String,
) {
    let mut edge = Edge::start(
        &format!("--drain-time-s 4 {flags}"),
        &discovery("1", &[listener(1)]),
    )
    .await;
    let address = edge.address(name).await;
    let mut tunnels = Vec::new();
    let mut pace = tokio::time::interval(Duration::from_millis(700));
    for version in 2..=4 {
        let talking = tokio::spawn(tunnel.talk(tunnel.open(address).await));
        pace.tick().await;
        // Its drain begins after this, so it must not end before this and the drain time, the last
        // word's second left out.
        tunnels.push((Instant::now(), talking));
        edge.update(&version.to_string(), &[listener(version)])
            .await;
    }
    let mut last = tunnel.open(address).await;
    for (version, (replaced, talking)) in (1..).zip(tunnels) {
        let (ended, how) = within("the end of a tunnel", talking)
            .await
            .expect("a round is whole");
        assert_eq!(how, End::Fin, "v{version}");
        let lived = ended - replaced;
        assert!(
            lived >= DRAIN_TIME - Duration::from_secs(1),
            "v{version} ended after {lived:?}"
        );
    }
    tunnel
        .say(&mut last, "still here")
        .await
        .expect("the active version's tunnel stays");
}

#[tokio::test]
async fn a_websocket_carries_data_until_its_own_versions_deadline_and_ends_in_fin() {
    let listener = |version| Http::new("http", version).yaml();
    three_updates(
        Tunnel::WebSocket,
        "--websocket-close none",
        "http",
        listener,
    )
    .await;
}

/// Sends a message every 20 ms until the server closes; the code of its Close. What crosses the
/// Close is not answered.
async fn talk_until_close(websocket: &mut TcpStream) -> u16 {
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    let close = async {
        loop {
            pace.tick().await;
            if let Err(code) = websocket::talk(websocket, "a message").await {
                return code;
            }
        }
    };
    within("the server's Close", close).await
}

#[tokio::test]
async fn a_websocket_is_told_to_come_again_before_its_own_versions_deadline() {
    for (flags, wanted) in [("", 1012), ("--websocket-close going-away", 1001)] {
        let flags = format!("--drain-time-s 4 {flags}");
        let mut edge = Edge::start(&flags, &discovery("1", &[Http::new("http", 1).yaml()])).await;
        let address = edge.address("http").await;
        let (mut talking, mut silent) = (
            websocket::open(address).await,
            websocket::open(address).await,
        );
        // The test may hear of the update long after the drain began.
        let before = Instant::now();
        edge.update("2", &[Http::new("http", 2).yaml()]).await;
        let code = talk_until_close(&mut talking).await;
        let told = before.elapsed();
        assert_eq!(code, wanted);
        assert!(told >= DRAIN_TIME - Duration::from_millis(1100), "{told:?}");
        websocket::close(&mut talking, code).await;
        assert_eq!(end_of(&mut talking).await, End::Fin);
        // The task of the other tunnel may run later, and answers until then.
        assert_eq!(talk_until_close(&mut silent).await, wanted);
        websocket::close(&mut silent, code).await;
        assert_eq!(end_of(&mut silent).await, End::Fin);
    }
}

#[tokio::test]
async fn a_tcp_stream_carries_data_until_its_own_versions_deadline_and_ends_in_fin() {
    three_updates(Tunnel::Bytes, "", "tcp", |version| tcp("tcp", version)).await;
}

/// An endpoint that switches to WebSocket and says how the connection ends.
async fn switching() -> (SocketAddr, JoinHandle<End>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let ends = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        head(&mut stream).await;
        let switched =
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        stream.write_all(switched.as_bytes()).await.expect("taken");
        match stream.read_to_end(&mut Vec::new()).await {
            Ok(_) => End::Fin,
            Err(_) => End::Reset,
        }
    });
    (address, ends)
}

async fn head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
}

#[tokio::test]
async fn a_tunnel_whose_client_is_reset_is_reset_towards_its_endpoint() {
    const RESET: [u8; 13] = [0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 8];
    for over_http2 in [false, true] {
        let (endpoint, ends) = switching().await;
        let listener = Http::new("http", 1)
            .with_http("http2_protocol_options: { allow_connect: true }")
            .yaml()
            .replace("cluster: http", "cluster: chat");
        let chat = cluster("chat", &[endpoint], "");
        let edge = Edge::start_beside("", &discovery("1", &[listener]), &chat, "").await;
        let address = edge.address("http").await;
        if over_http2 {
            let mut client = H2::connect(address).await;
            client.connect_websocket(1, "/chat").await;
            let opened = Event::Head {
                stream: 1,
                ok: true,
            };
            assert_eq!(client.next().await, opened);
            client.raw(&RESET).await;
            let ended = within("the end of the endpoint's side", ends).await;
            assert_eq!(ended.expect("it runs"), End::Reset, "HTTP/2");
        } else {
            let mut client = TcpStream::connect(address).await.expect("a connection");
            let asks = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
            client.write_all(asks.as_bytes()).await.expect("taken");
            within("the switch", head(&mut client)).await;
            client.set_zero_linger().expect("a socket");
            drop(client);
            let ended = within("the end of the endpoint's side", ends).await;
            assert_eq!(ended.expect("it runs"), End::Reset, "HTTP/1.1");
        }
    }
}

/// The GOAWAY stands before the head that opens the tunnel.
#[tokio::test]
async fn a_tunnel_that_opens_with_the_goaway_of_its_connection_ends_as_any_other() {
    const RESET: [u8; 13] = [0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 8];
    const END: [u8; 9] = [0, 0, 0, 0, 1, 0, 0, 0, 1];
    for (frame, end) in [(&RESET[..], End::Reset), (&END[..], End::Fin)] {
        let (endpoint, ends) = switching().await;
        let listener = Http::new("http", 1)
            .with_http("http2_protocol_options: { allow_connect: true }")
            .yaml()
            .replace("cluster: http", "cluster: chat");
        let chat = cluster("chat", &[endpoint], "");
        let edge = Edge::start_beside("", &discovery("1", &[listener]), &chat, "").await;
        let mut client = H2::connect(edge.address("http").await).await;
        edge.post("/healthcheck/fail").await;
        client.connect_websocket(1, "/chat").await;
        assert_eq!(client.next().await, Event::GoAway(NO_LIMIT));
        let opened = Event::Head {
            stream: 1,
            ok: true,
        };
        assert_eq!(client.next().await, opened);
        client.raw(frame).await;
        let ended = within("the end of the endpoint's side", ends).await;
        assert_eq!(ended.expect("it runs"), end, "{frame:?}");
    }
}

#[tokio::test]
async fn a_client_whose_endpoint_takes_no_connection_is_let_go_at_the_deadline() {
    let (endpoint, _waiting) = full_endpoint().await;
    let address = endpoint.local_addr().expect("an address");
    let full =
        cluster("full", &[address], "").replace("connect_timeout: 5s", "connect_timeout: 600s");
    let listener = |version| tcp("tcp", version).replace("cluster: echo", "cluster: full");
    let first = discovery("1", &[listener(1)]);
    let mut edge = Edge::start_beside("--drain-time-s 1", &first, &full, "").await;
    let client = TcpStream::connect(edge.address("tcp").await).await;
    let mut client = client.expect("a connection");
    edge.until_connections(|open| !open.is_empty()).await;
    edge.update("2", &[listener(2)]).await;
    assert_eq!(end_of(&mut client).await, End::Fin);
    edge.until_list("/drain", <[_]>::is_empty).await;
}

#[tokio::test]
async fn a_stream_that_is_half_closed_during_a_drain_still_gets_all_that_comes_back() {
    let mut edge = Edge::start("--drain-time-s 20", &discovery("1", &[tcp("tcp", 1)])).await;
    let mut stream = Tunnel::Bytes.open(edge.address("tcp").await).await;
    edge.update("2", &[tcp("tcp", 2)]).await;
    let sent: Vec<u8> = (0..100_000u32).flat_map(u32::to_be_bytes).collect();
    let (mut from, mut to) = stream.split();
    let sending = async {
        to.write_all(&sent).await?;
        to.shutdown().await
    };
    let mut back = Vec::new();
    let exchange = async { tokio::try_join!(sending, from.read_to_end(&mut back)) };
    within("the end of the stream", exchange)
        .await
        .expect("FIN, not RST");
    assert!(back == sent, "{} bytes of {}", back.len(), sent.len());
}

#[tokio::test]
async fn check_drain_close_ends_a_talking_stream_in_fin_long_before_the_deadline() {
    let checked = |version| {
        tcp("tcp", version).replace("cluster: echo", "cluster: echo, check_drain_close: true")
    };
    let flags = "--drain-time-s 600 --drain-strategy immediate";
    let mut edge = Edge::start(flags, &discovery("1", &[checked(1)])).await;
    let address = edge.address("tcp").await;
    let (mut talking, mut quiet) = (
        Tunnel::Bytes.open(address).await,
        Tunnel::Bytes.open(address).await,
    );
    edge.update("2", &[checked(2)]).await;
    talking
        .write_all(b"one more thing")
        .await
        .expect("bytes are taken");
    let mut rest = Vec::new();
    within("the end of the stream", talking.read_to_end(&mut rest))
        .await
        .expect("FIN, not RST");
    // Nobody asked on behalf of the other one: it is still there, until it talks.
    quiet.write_all(b"me too").await.expect("bytes are taken");
    within("the end of the stream", quiet.read_to_end(&mut rest))
        .await
        .expect("FIN, not RST");
}

#[tokio::test]
async fn a_page_instead_of_a_websocket_is_no_open_tunnel_to_an_http2_client() {
    let listener =
        Http::new("http", 1).with_http("http2_protocol_options: { allow_connect: true }");
    let mut edge = Edge::start("", &discovery("1", &[listener.yaml()])).await;
    let mut client = H2::connect(edge.address("http").await).await;
    client.connect_websocket(1, "/page").await;
    edge.upstream.held().await.answer("no WebSocket here");
    assert_eq!(
        client.next().await,
        Event::Head {
            stream: 1,
            ok: false
        }
    );
}

#[tokio::test]
async fn a_websocket_over_http2_outlives_both_goaways() {
    async fn echoes(client: &mut H2, text: &str) {
        client.data(1, &websocket::text(text)).await;
        match client.next().await {
            Event::Body {
                stream: 1,
                text: back,
                last: false,
            } => assert!(back.ends_with(text), "{back:?}"),
            other => panic!("{other:?}"),
        }
    }
    let listener = |version| {
        Http::new("http", version)
            .with_http("http2_protocol_options: { allow_connect: true }")
            .yaml()
    };
    let flags = "--drain-time-s 600 --drain-strategy immediate";
    let mut edge = Edge::start(flags, &discovery("1", &[listener(1)])).await;
    let mut client = H2::connect(edge.address("http").await).await;
    client.connect_websocket(1, "/chat").await;
    assert_eq!(
        client.next().await,
        Event::Head {
            stream: 1,
            ok: true
        }
    );
    echoes(&mut client, "before").await;
    edge.update("2", &[listener(2)]).await;
    assert_eq!(client.next().await, Event::GoAway(NO_LIMIT));
    echoes(&mut client, "between").await;
    assert_eq!(client.next().await, Event::GoAway(1));
    echoes(&mut client, "behind").await;
    drop(client);
    edge.until_list("/drain", <[_]>::is_empty).await;
}
