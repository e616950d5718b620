//! Where requests go: endpoints in turn, and HTTP/2 with trailers, as gRPC needs it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::ext::Protocol;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::support::h2::H2;
use crate::support::upstream::Upstream;
use crate::support::{
    Edge, End, H1, Http, cluster, discovery, end_of, full_endpoint, websocket, within,
};

const FLAGS: &str = "--drain-time-s 20 --drain-strategy immediate";
const HTTP2: &str = "typed_extension_protocol_options: { envoy.extensions.upstreams.http.v3.HttpProtocolOptions: { \
    \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: { \
    http2_protocol_options: {} } } }";

/// A listener whose requests go to this cluster.
fn to(name: &str, version: u32) -> String {
    let listener = Http::new("http", version).yaml();
    listener.replace("cluster: http", &format!("cluster: {name}"))
}

#[tokio::test]
async fn endpoints_of_a_cluster_take_turns() {
    let (mut first, mut second) = (Upstream::start().await, Upstream::start().await);
    let both = cluster("both", &[first.http, second.http], "lb_policy: ROUND_ROBIN");
    let edge = Edge::start_beside(FLAGS, &discovery("1", &[to("both", 1)]), &both, "").await;
    let mut client = H1::connect(edge.address("http").await).await;
    for turn in 0..6 {
        client.ask("/held").await;
        let upstream = if turn % 2 == 0 {
            &mut first
        } else {
            &mut second
        };
        upstream.held().await.answer("done");
        assert_eq!(client.response().await.ok(), "done");
    }
}

type Pieces = StreamBody<stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

/// Answers as gRPC does: whom it was asked for, the request's trailers, its own trailers.
async fn grpc(request: Request<Incoming>) -> Result<Response<Pieces>, Infallible> {
    assert_eq!(request.version(), Version::HTTP_2);
    assert_eq!(request.headers()["te"], "trailers");
    assert!(!request.headers().contains_key("host"));
    let host = request
        .uri()
        .authority()
        .map(ToString::to_string)
        .unwrap_or_default();
    let whole = request
        .into_body()
        .collect()
        .await
        .expect("a whole request");
    let sent = whole
        .trailers()
        .and_then(|trailers| trailers.get("x-sum"))
        .cloned();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let said = format!("{host} {:?} {}", sent, whole.to_bytes().len());
    let frames = vec![
        Ok(Frame::data(Bytes::from(said))),
        Ok(Frame::trailers(trailers)),
    ];
    Ok(Response::new(StreamBody::new(stream::iter(frames))))
}

async fn grpc_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let served = http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service_fn(grpc));
            tokio::spawn(served);
        }
    });
    address
}

#[tokio::test]
async fn grpc_passes_with_its_trailers_both_ways_over_an_update() {
    let clusters = cluster("grpc", &[grpc_server().await], HTTP2);
    let mut edge =
        Edge::start_beside(FLAGS, &discovery("1", &[to("grpc", 1)]), &clusters, "").await;
    let address = edge.address("http").await;
    for version in 2..=3 {
        let stream = within("a connection", TcpStream::connect(address))
            .await
            .expect("it listens");
        let handshake =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.expect("HTTP/2");
        let connection = tokio::spawn(connection);
        let call = || {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", HeaderValue::from_static("42"));
            let frames: Vec<Result<_, Infallible>> = vec![
                Ok(Frame::data(Bytes::from_static(b"hello"))),
                Ok(Frame::trailers(trailers)),
            ];
            let request =
                Request::post("http://service.test/pkg.Service/Method").header("te", "trailers");
            request
                .body(StreamBody::new(stream::iter(frames)))
                .expect("a request")
        };
        let response = within("an answer", sender.send_request(call()))
            .await
            .expect("an answer");
        let whole = within("a body", response.into_body().collect())
            .await
            .expect("a body");
        assert_eq!(whole.trailers().expect("trailers")["grpc-status"], "0");
        assert_eq!(whole.to_bytes(), "service.test Some(\"42\") 5");

        let lines = edge
            .update(&version.to_string(), &[to("grpc", version)])
            .await;
        assert!(lines[0].contains("http modified"), "{lines:?}");
        // Told by GOAWAY; nothing is open, so it ends cleanly.
        drop(sender);
        within("the end", connection)
            .await
            .expect("it runs")
            .expect("a clean end");
    }
}

/// Echoes a WebSocket that is asked for by RFC 8441; refuses all else.
async fn websocket_over_http2(
    mut request: Request<Incoming>,
) -> Result<Response<String>, Infallible> {
    let asked = request.extensions().get::<Protocol>().map(Protocol::as_str);
    let fits = asked == Some("websocket")
        && request.method() == Method::CONNECT
        && request.uri().path() == "/chat"
        && request.headers()["sec-websocket-version"] == "13"
        && !request.headers().contains_key("sec-websocket-key");
    let mut response = Response::new(String::new());
    if fits {
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            websocket::echo(
                TokioIo::new(upgraded.await.expect("a tunnel")),
                BytesMut::new(),
            )
            .await
        });
    } else {
        *response.status_mut() = StatusCode::FORBIDDEN;
    }
    Ok(response)
}

#[tokio::test]
async fn a_websocket_passes_to_an_http2_endpoint_and_ends_in_a_close_frame() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let clusters = cluster("h2", &[listener.local_addr().expect("an address")], HTTP2);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut server = http2::Builder::new(TokioExecutor::new());
            server.enable_connect_protocol();
            tokio::spawn(
                server.serve_connection(TokioIo::new(stream), service_fn(websocket_over_http2)),
            );
        }
    });
    let flags = "--drain-time-s 4 --drain-strategy immediate";
    let mut edge = Edge::start_beside(flags, &discovery("1", &[to("h2", 1)]), &clusters, "").await;
    let address = edge.address("http").await;
    let mut tunnel = websocket::open(address).await;
    assert_eq!(websocket::talk(&mut tunnel, "hello").await, Ok(()));
    edge.update("2", &[to("h2", 2)]).await;
    assert_eq!(websocket::talk(&mut tunnel, "still here").await, Ok(()));
    assert_eq!(websocket::closed(&mut tunnel).await, 1012);
    websocket::close(&mut tunnel, 1012).await;
    assert_eq!(end_of(&mut tunnel).await, End::Fin);
    // What is no handshake is not taken for one, and there are no words for another protocol.
    let mut client = H1::connect(address).await;
    client
        .send("GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        .await;
    assert_eq!(client.response().await.status, 400);
}

#[tokio::test]
async fn an_http2_endpoint_that_is_gone_is_connected_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let clusters = cluster("grpc", &[listener.local_addr().expect("an address")], HTTP2);
    let edge = Edge::start_beside(FLAGS, &discovery("1", &[to("grpc", 1)]), &clusters, "").await;
    // Every connection is told to go as soon as it is there.
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service =
                service_fn(|_| async { Ok::<_, Infallible>(Response::new(String::from("done"))) });
            let mut served = std::pin::pin!(
                http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
            );
            served.as_mut().graceful_shutdown();
            served.await.ok();
        }
    });
    let mut client = H1::connect(edge.address("http").await).await;
    // A request that is under way when its connection ends is lost; the next one must not be.
    within("an answer over a third connection", async {
        let mut answered = 0;
        while answered < 3 {
            answered += usize::from(client.get("/").await.status == 200);
        }
    })
    .await;
}

/// An HTTP/2 endpoint: one of its responses has no end, one a large head; and how many pieces of the
/// endless ones were taken.
async fn endless_server() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let taken = Arc::new(AtomicUsize::new(0));
    let pieces = Arc::clone(&taken);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let pieces = Arc::clone(&pieces);
            let service = service_fn(move |request: Request<Incoming>| {
                let pieces = Arc::clone(&pieces);
                let endless = stream::repeat_with(move || {
                    pieces.fetch_add(1, Ordering::Relaxed);
                    Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[b'x'; 16 * 1024])))
                });
                let response = match request.uri().path() {
                    "/endless" => Response::new(StreamBody::new(endless).boxed()),
                    "/large" => Response::builder()
                        .header("x-large", "x".repeat(40_000))
                        .body(Full::from("large").boxed())
                        .expect("a response"),
                    _ => Response::new(Full::from("here").boxed()),
                };
                async { Ok::<_, Infallible>(response) }
            });
            let served = http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(served);
        }
    });
    (address, taken)
}

#[tokio::test]
async fn clients_that_do_not_read_hold_up_no_other_response_of_an_http2_endpoint() {
    let (endpoint, taken) = endless_server().await;
    let clusters = cluster("endless", &[endpoint], HTTP2);
    let first = discovery("1", &[to("endless", 1)]);
    let edge = Edge::start_beside(FLAGS, &first, &clusters, "").await;
    let address = edge.address("http").await;
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut client = H1::connect(address).await;
        client.ask("/endless").await;
        slow.push(client);
    }
    // Until nothing more of them is taken.
    let mut before = 0;
    let mut pace = tokio::time::interval(Duration::from_millis(300));
    loop {
        pace.tick().await;
        let now = taken.load(Ordering::Relaxed);
        if now > 0 && now == before {
            break;
        }
        before = now;
    }
    let mut client = H1::connect(address).await;
    assert_eq!(client.get("/").await.ok(), "here");
}

#[tokio::test]
async fn a_response_of_an_http2_endpoint_may_have_a_head_of_60_kilobytes() {
    let (endpoint, _) = endless_server().await;
    let clusters = cluster("endless", &[endpoint], HTTP2);
    let first = discovery("1", &[to("endless", 1)]);
    let edge = Edge::start_beside(FLAGS, &first, &clusters, "").await;
    let mut client = H1::connect(edge.address("http").await).await;
    assert_eq!(client.get("/large").await.ok(), "large");
}

#[tokio::test]
async fn all_requests_that_wait_for_a_connection_to_an_http2_endpoint_fail_with_it() {
    let (endpoint, _waiting) = full_endpoint().await;
    let endpoint_at = endpoint.local_addr().expect("an address");
    let full = cluster("full", &[endpoint_at], HTTP2);
    let edge = Edge::start_beside(FLAGS, &discovery("1", &[to("full", 1)]), &full, "").await;
    let address = edge.address("http").await;
    // One after the other they would take 5 s each.
    let asking = (0..20).map(|_| async {
        let mut client = H1::connect(address).await;
        client.get("/").await.status
    });
    let statuses = futures_util::future::join_all(asking).await;
    assert_eq!(statuses, [503; 20]);
}

/// RST_STREAM of the first stream with NO_ERROR.
const RESET: [u8; 13] = [0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 0];

/// An HTTP/2 endpoint that answers the first request of a connection with these frames, once it has
/// come whole or at its head, and resets its stream with NO_ERROR: when the answer is read, if
/// there is something to wait for.
async fn resetting(
    answer: &'static [u8],
    at_head: bool,
    is_read: Option<Arc<Notify>>,
) -> SocketAddr {
    // SETTINGS_ENABLE_CONNECT_PROTOCOL.
    const SETTINGS: [u8; 15] = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1];
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream.write_all(&SETTINGS).await.expect("taken");
        let mut read = vec![0; 24];
        stream.read_exact(&mut read).await.expect("the preface");
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.expect("a frame");
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            read.resize(length as usize, 0);
            stream.read_exact(&mut read).await.expect("its payload");
            let [.., kind, flags, _, _, _, _] = head;
            // HEADERS, or what has END_STREAM: DATA, too.
            if (at_head && kind == 1) || (kind <= 1 && flags & 1 == 1) {
                match &is_read {
                    Some(is_read) => {
                        stream.write_all(answer).await.expect("taken");
                        is_read.notified().await;
                        stream.write_all(&RESET).await.expect("taken");
                    }
                    None => {
                        let both = [answer, &RESET].concat();
                        stream.write_all(&both).await.expect("taken");
                    }
                }
            }
        }
    });
    address
}

const UPLOAD: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf";
const HANDSHAKE: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[tokio::test]
async fn half_a_response_of_an_http2_endpoint_is_not_a_whole_one() {
    const HALF: &[u8] = b"\0\0\x01\x01\x04\0\0\0\x01\x8d\0\0\x04\0\0\0\0\0\x01half";
    for (asks, at_head) in [
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", false),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nwhole",
            false,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n",
            false,
        ),
        (UPLOAD, true),
        (HANDSHAKE, true),
    ] {
        let read = Arc::new(Notify::new());
        let endpoint = resetting(HALF, at_head, Some(Arc::clone(&read))).await;
        let half = cluster("half", &[endpoint], HTTP2);
        let edge = Edge::start_beside(FLAGS, &discovery("1", &[to("half", 1)]), &half, "").await;
        let client = TcpStream::connect(edge.address("http").await).await;
        let mut client = client.expect("a connection");
        client.write_all(asks.as_bytes()).await.expect("taken");
        let mut got = Vec::new();
        while !got.ends_with(b"half\r\n") {
            got.push(within("half", client.read_u8()).await.expect("half"));
        }
        read.notify_one();
        let mut rest = Vec::new();
        let end = within("the end", client.read_to_end(&mut rest)).await;
        assert!(rest.is_empty(), "{asks}: {rest:?}, {end:?}");
    }
}

/// RFC 9113, section 8.1: so it asks the client to send no more.
#[tokio::test]
async fn a_reset_behind_a_whole_response_of_an_http2_endpoint_takes_nothing_from_it() {
    // With END_STREAM on the DATA, on the HEADERS, and on trailers.
    const WHOLE: &[u8] = b"\0\0\x01\x01\x04\0\0\0\x01\x8d\0\0\x04\0\x01\0\0\0\x01full";
    const EMPTY: &[u8] = b"\0\0\x01\x01\x05\0\0\0\x01\x8d";
    const TRAILERS: &[u8] = b"\0\0\x01\x01\x04\0\0\0\x01\x8d\0\0\x04\0\0\0\0\0\x01full\
        \0\0\x05\x01\x05\0\0\0\x01\0\x01a\x01b";
    for (asks, answer, ends) in [
        (UPLOAD, WHOLE, "full\r\n0\r\n\r\n"),
        (UPLOAD, EMPTY, "\r\n\r\n"),
        (UPLOAD, TRAILERS, "full\r\n0\r\n\r\n"),
        (HANDSHAKE, WHOLE, "full\r\n0\r\n\r\n"),
        (HANDSHAKE, EMPTY, "\r\n\r\n"),
    ] {
        let whole = cluster("whole", &[resetting(answer, true, None).await], HTTP2);
        let edge = Edge::start_beside(FLAGS, &discovery("1", &[to("whole", 1)]), &whole, "").await;
        let client = TcpStream::connect(edge.address("http").await).await;
        let mut client = client.expect("a connection");
        client.write_all(asks.as_bytes()).await.expect("taken");
        let mut got = Vec::new();
        while !got.ends_with(ends.as_bytes()) {
            let byte = within("the response", client.read_u8()).await;
            got.push(byte.unwrap_or_else(|end| panic!("{asks}: {}: {end}", got.escape_ascii())));
        }
        assert!(got.starts_with(b"HTTP/1.1 404 "), "{}", got.escape_ascii());
    }
}

#[tokio::test]
async fn half_an_upload_of_an_http2_client_is_not_a_whole_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let one = cluster("one", &[listener.local_addr().expect("an address")], "");
    let endpoint = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.ok();
        String::from_utf8_lossy(&got).into_owned()
    });
    let edge = Edge::start_beside(FLAGS, &discovery("1", &[to("one", 1)]), &one, "").await;
    let mut client = H2::connect(edge.address("http").await).await;
    client.begin(1, "/").await;
    client.data(1, b"half").await;
    client.raw(&RESET).await;
    let got = within("the end of the request", endpoint).await;
    let got = got.expect("it runs");
    assert!(!got.ends_with("0\r\n\r\n"), "{got:?}");
}

/// An HTTP/2 endpoint that answers with the scheme that it is asked by.
async fn scheme_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request: Request<Incoming>| async move {
                let scheme = request.uri().scheme_str().unwrap_or_default().to_owned();
                Ok::<_, Infallible>(Response::new(scheme))
            });
            let served = http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(served);
        }
    });
    address
}

#[tokio::test]
async fn an_http2_endpoint_reads_the_scheme_that_the_client_has_come_by() {
    let clusters = cluster("h2", &[scheme_server().await], HTTP2);
    // A route that removes the header does not change the scheme.
    for edits in ["", "request_headers_to_remove: [ x-forwarded-proto ], "] {
        let listener = to("h2", 1).replace("{ name: r, ", &format!("{{ name: r, {edits}"));
        let edge = Edge::start_beside(FLAGS, &discovery("1", &[listener]), &clusters, "").await;
        let mut client = H1::connect(edge.address("http").await).await;
        for (sent, scheme) in [("", "http"), ("x-forwarded-proto: https\r\n", "https")] {
            client
                .send(&format!("GET / HTTP/1.1\r\nhost: a\r\n{sent}\r\n"))
                .await;
            assert_eq!(client.response().await.ok(), scheme, "{edits}{sent}");
        }
    }
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_has_envoys_status_and_its_reason() {
    let reset = |reason: &str| {
        format!("upstream connect error or disconnect/reset before headers. reset reason: {reason}")
    };
    let [refused] = rig::free_ports().expect("a port");
    for (more, endpoints, said, status, text) in [
        ("", vec![], None, 503, "no healthy upstream".to_owned()),
        (
            "",
            vec![refused],
            None,
            503,
            reset("remote connection failure"),
        ),
        (
            HTTP2,
            vec![refused],
            None,
            503,
            reset("remote connection failure"),
        ),
        ("", vec![], Some(""), 503, reset("connection termination")),
        (
            "",
            vec![],
            Some("HTTP/1.1 100 Continue\r\n\r\n"),
            503,
            reset("connection termination"),
        ),
        (
            HTTP2,
            vec![],
            Some(""),
            503,
            reset("connection termination"),
        ),
        (
            "",
            vec![],
            Some("no HTTP\r\n\r\n"),
            502,
            reset("protocol error"),
        ),
        (
            "",
            vec![],
            Some("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"),
            502,
            reset("protocol error"),
        ),
        (
            "",
            vec![],
            Some("HTTP/1.1 200 OK\r\nno field\r\n\r\n"),
            502,
            reset("protocol error"),
        ),
    ] {
        let endpoints = match said {
            Some(said) => vec![saying(said).await],
            None => endpoints,
        };
        let odd = cluster("odd", &endpoints, more);
        let edge = Edge::start_beside(FLAGS, &discovery("1", &[to("odd", 1)]), &odd, "").await;
        let mut client = H1::connect(edge.address("http").await).await;
        let response = client.get("/").await;
        assert_eq!(
            (response.status, response.text()),
            (status, text),
            "{said:?}"
        );
        // The client's own connection goes on.
        assert_eq!(client.get("/version").await.ok(), "v1", "{said:?}");
    }
}

/// An endpoint that reads what comes first, says this and closes.
async fn saying(said: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut first = [0; 4096];
            if stream.read(&mut first).await.is_ok_and(|read| read > 0) {
                stream.write_all(said.as_bytes()).await.ok();
            }
        }
    });
    address
}
