//! A response that comes before the end of its request's body, over real sockets: the connection
//! goes on, or the head says that it does not; and the client can read the response in either case.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use drain_tree::DrainStrategy;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use orion_drain_serve::{CodecType, HttpServer, HttpTimeouts, ReceivedBody, serve_http};
use rig::h1::{Head, Stopped, Wire};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::resets::connected;
use super::{Body, Listener, MODIFY};

/// More than all buffers between a client and its server.
const BIG: usize = 12 * 1024 * 1024;

/// What a handler may do with a body, by path.
async fn answer(request: Request<ReceivedBody>) -> Result<Response<Body>, Infallible> {
    let full = |bytes: Bytes| Response::new(Full::new(bytes).boxed());
    let path = request.uri().path().to_owned();
    let body = request.into_body();
    Ok(match path.as_str() {
        "/read" => match body.collect().await {
            Ok(body) => full(body.to_bytes()),
            Err(_) => {
                let mut refused = full(Bytes::new());
                *refused.status_mut() = StatusCode::BAD_REQUEST;
                refused
            }
        },
        "/echo" => Response::new(body.map_err(|_| unreachable!("it comes whole")).boxed()),
        "/some" => {
            let mut body = body;
            body.frame().await;
            full(Bytes::from_static(b"hello"))
        }
        "/much" => full(Bytes::from(vec![b'x'; BIG])),
        _ => full(Bytes::from_static(b"hello")),
    })
}

struct Client {
    wire: Wire<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

impl Client {
    async fn of(listener: &Listener) -> Self {
        let (client, accepted): (TcpStream, TcpStream) = connected().await;
        let timeouts = HttpTimeouts::default();
        let server = HttpServer::new(CodecType::Auto, &timeouts, Arc::new(()));
        let connection = listener.connection().expect("the drain is not completed");
        let service = service_fn(answer);
        tokio::spawn(async move { serve_http(accepted, service, connection, &server).await });
        let (read, write) = client.into_split();
        Self {
            wire: Wire::new(read),
            write,
        }
    }

    async fn new() -> Self {
        Self::of(&Listener::new(DrainStrategy::Gradual)).await
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.write
            .write_all(bytes.as_ref())
            .await
            .expect("it takes it");
    }

    async fn response(&mut self) -> (Head, Bytes) {
        let response = async {
            let head = self.wire.head().await?;
            let body = self.wire.body(&head).await?;
            Ok::<_, Stopped>((head, body))
        };
        within(response).await.expect("a response")
    }

    /// A next request on the connection is answered.
    async fn goes_on(&mut self) {
        self.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let (head, body) = self.response().await;
        assert_eq!((head.status(), &body[..]), (200, &b"hello"[..]));
        assert!(!head.close(), "{}", head.text);
    }

    /// The server ends, and in good order.
    async fn ends(&mut self) {
        let end = within(self.wire.head()).await;
        assert!(matches!(end, Err(Stopped::Fin)), "{end:?}");
    }
}

async fn within<F: Future>(future: F) -> F::Output {
    let bound = tokio::time::timeout(Duration::from_secs(60), future);
    bound.await.expect("it does not hang")
}

fn post(path: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n")
}

fn chunked(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
}

fn says_close_once(head: &Head) {
    assert_eq!(
        head.text.matches("connection: ").count(),
        1,
        "{}",
        head.text
    );
    assert!(head.close(), "{}", head.text);
}

#[tokio::test]
async fn a_small_body_that_no_handler_reads_costs_no_connection() {
    let mut client = Client::new().await;
    let chunks = "3\r\nabc\r\n4\r\ndefg\r\n1\r\nh\r\n0\r\n\r\n";
    for request in [
        post("/", 3) + "abc",
        chunked("/") + chunks,
        chunked("/some") + chunks,
        post("/read", 3) + "abc",
        chunked("/read") + chunks,
    ] {
        client.send(&request).await;
        let (head, _) = client.response().await;
        assert!(!head.close(), "{request} {}", head.text);
        client.goes_on().await;
    }
}

#[tokio::test]
async fn behind_trailers_no_request_is_taken_for_another_trailer() {
    const NEXT: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    for path in ["/", "/read", "/some", "/echo"] {
        // hyper takes a bare LF for a part of the line.
        for trailers in ["x-sum: 1\r\n\r\n", "x-sum: 1\n\r\n", "x-sum: 1\n\n"] {
            let mut client = Client::new().await;
            let body = format!("3\r\nabc\r\n0\r\n{trailers}");
            client.send(chunked(path) + &body + NEXT).await;
            let (head, body) = client.response().await;
            says_close_once(&head);
            let said = if path == "/" || path == "/some" {
                "hello"
            } else {
                "abc"
            };
            assert_eq!(body, said.as_bytes(), "{path} {trailers:?}");
            client.ends().await;
        }
    }
}

#[tokio::test]
async fn a_request_behind_an_unread_body_is_answered() {
    let mut client = Client::new().await;
    let next = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    for first in [post("/", 3) + "abc", chunked("/") + "3\r\nabc\r\n0\r\n\r\n"] {
        client.send(first + next).await;
        for _ in 0..2 {
            let (head, body) = client.response().await;
            assert_eq!(&body[..], b"hello");
            assert!(!head.close(), "{}", head.text);
        }
    }
}

#[tokio::test]
async fn a_body_that_has_not_come_is_not_waited_for_and_the_response_says_close() {
    for request in [
        post("/", 100) + "half",
        post("/", 100),
        chunked("/") + "4\r\nhalf\r\n",
        chunked("/"),
        post("/some", 100) + "half",
    ] {
        let mut client = Client::new().await;
        client.send(&request).await;
        let (head, body) = client.response().await;
        assert_eq!((head.status(), &body[..]), (200, &b"hello"[..]));
        says_close_once(&head);
        client.ends().await;
    }
}

#[tokio::test]
async fn a_client_that_sends_everything_before_it_reads_gets_a_response_that_says_close() {
    let size = BIG / 64;
    let piece = format!("{size:x}\r\n{}\r\n", "x".repeat(size));
    let chunks = piece.repeat(64) + "0\r\n\r\n";
    for path in ["/", "/some", "/much"] {
        for request in [post(path, BIG) + &"x".repeat(BIG), chunked(path) + &chunks] {
            let mut client = Client::new().await;
            within(client.send(request)).await;
            let (head, body) = client.response().await;
            let length = if path == "/much" { BIG } else { 5 };
            assert_eq!((head.status(), body.len()), (200, length));
            says_close_once(&head);
            client.ends().await;
        }
    }
}

#[tokio::test]
async fn a_client_that_sends_slowly_gets_its_response_meanwhile() {
    let Client {
        mut wire,
        mut write,
    } = Client::new().await;
    write
        .write_all(post("/", 100).as_bytes())
        .await
        .expect("it takes it");
    write.write_all(b"x").await.expect("it takes it");
    let head = within(wire.head()).await.expect("a head");
    says_close_once(&head);
    assert_eq!(within(wire.body(&head)).await.expect("a body"), "hello");
    for _ in 1..100 {
        write.write_all(b"x").await.expect("the rest is discarded");
    }
}

#[tokio::test]
async fn a_client_that_waits_for_100_is_not_asked_for_a_body_that_no_handler_reads() {
    let expecting = |path: &str| {
        let head = post(path, 3);
        head.replace("host: a", "host: a\r\nexpect: 100-continue")
    };
    let mut client = Client::new().await;
    client.send(expecting("/read")).await;
    let head = within(client.wire.head()).await.expect("an interim head");
    assert_eq!(head.status(), 100);
    client.send("abc").await;
    let (head, body) = client.response().await;
    assert_eq!((head.status(), &body[..]), (200, &b"abc"[..]));
    client.goes_on().await;

    client.send(expecting("/")).await;
    let (head, body) = client.response().await;
    assert_eq!((head.status(), &body[..]), (200, &b"hello"[..]));
    says_close_once(&head);
    client.ends().await;
}

#[tokio::test]
async fn a_body_that_is_read_behind_the_head_comes_whole_and_ends_the_connection() {
    let mut client = Client::new().await;
    let sent = "abcdefgh".repeat(64 * 1024);
    client.send(post("/echo", sent.len())).await;
    let head = within(client.wire.head()).await.expect("a head");
    says_close_once(&head);
    let (mut write, text) = (client.write, sent.clone());
    let sends = tokio::spawn(async move { write.write_all(text.as_bytes()).await });
    let body = within(client.wire.body(&head)).await.expect("a body");
    assert!(body == sent.as_bytes());
    within(sends).await.expect("no panic").expect("it takes it");
    let end = within(client.wire.head()).await;
    assert!(matches!(end, Err(Stopped::Fin)), "{end:?}");
}

#[tokio::test]
async fn a_body_that_breaks_off_ends_the_connection_with_a_word() {
    let mut client = Client::new().await;
    client.send(chunked("/read") + "no length\r\n").await;
    let (head, _) = client.response().await;
    assert_eq!(head.status(), 400);
    says_close_once(&head);
    client.ends().await;
}

#[tokio::test]
async fn an_old_client_is_not_kept_alive_behind_an_unread_body() {
    let mut client = Client::new().await;
    let old = post("/", BIG).replace("HTTP/1.1", "HTTP/1.0\r\nconnection: keep-alive");
    client.send(old).await;
    let (head, _) = client.response().await;
    assert!(!head.text.contains("keep-alive"), "{}", head.text);
    client.ends().await;
}

#[tokio::test]
async fn under_a_drain_it_is_the_same_and_close_is_said_once() {
    for request in [post("/", 3) + "abc", post("/", BIG)] {
        let listener = Listener::new(DrainStrategy::Immediate);
        let mut client = Client::of(&listener).await;
        client.goes_on().await;
        let drain = tokio::spawn(listener.node.start_drain_sequence(MODIFY));
        while !listener.node.is_draining() {
            tokio::task::yield_now().await;
        }
        client.send(request).await;
        let (head, body) = client.response().await;
        assert_eq!(&body[..], b"hello");
        says_close_once(&head);
        client.ends().await;
        drop(client);
        within(drain).await.expect("no panic");
    }
}
