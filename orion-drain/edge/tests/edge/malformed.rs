//! Requests that two servers may read in two ways, and answers that a client may: none is passed on
//! as it is.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::support::h1::header;
use crate::support::h2::{Event, H2};
use crate::support::{Edge, End, H1, Http, cluster, discovery, within};

async fn start() -> Edge {
    let listener = Http::new("http", 1).yaml();
    Edge::start("--drain-time-s 20", &discovery("1", &[listener])).await
}

/// An upstream that takes one request of each connection, answers it with these bytes and leaves.
async fn answering(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // Unread bytes would make a reset of its end.
            if rig::h1::head(&mut stream).await.is_ok() {
                stream.write_all(answer.as_bytes()).await.ok();
            }
        }
    });
    address
}

/// An edge that asks such an upstream.
async fn start_answering(answer: &'static str) -> Edge {
    let listener = Http::new("http", 1).yaml();
    let listener = listener.replace("cluster: http", "cluster: odd");
    let odd = cluster("odd", &[answering(answer).await], "");
    Edge::start_beside("", &discovery("1", &[listener]), &odd, "").await
}

#[tokio::test]
async fn a_request_that_can_be_read_in_two_ways_is_refused_and_the_connection_ends() {
    let edge = start().await;
    let address = edge.address("http").await;
    let chunks = "3\r\nabc\r\n0\r\n\r\n";
    for (status, request, fields) in [
        (400, "GET /", "host: edge.test/path"),
        (400, "GET /", "host: edge test"),
        (400, "GET /", "host: a, b"),
        (400, "GET /", "host: user@edge.test"),
        (400, "GET /", "host: a#b"),
        (400, "GET edge.test:80", "host: a"),
        (400, "GET version", "host: a"),
        (400, "GET *", "host: a"),
        (400, "GET /held/ö", "host: a"),
        (400, "GET /held?ö", "host: a"),
        (400, "GET ftp://edge.test/", "host: a"),
        (501, "CONNECT edge.test:80", "host: edge.test:80"),
        (
            501,
            "CONNECT edge.test:80",
            "host: edge.test:80\r\ncontent-length: 13",
        ),
        (501, "POST /", "host: a\r\ntransfer-encoding: gzip, chunked"),
        (
            501,
            "POST /",
            "host: a\r\ntransfer-encoding: chunked, chunked",
        ),
        (
            501,
            "POST /",
            "host: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked",
        ),
    ] {
        let mut client = H1::connect(address).await;
        let body = if status == 501 { chunks } else { "" };
        client
            .send(&format!("{request} HTTP/1.1\r\n{fields}\r\n\r\n{body}"))
            .await;
        let response = client.response().await;
        let got = (response.status, response.says_close());
        assert_eq!(got, (status, true), "{request} {fields}");
        client.end().await;
    }
}

#[tokio::test]
async fn a_user_in_an_absolute_form_is_left_out() {
    let mut edge = start().await;
    let mut client = H1::connect(edge.address("http").await).await;
    client
        .send("GET http://user:word@edge.test:80/held HTTP/1.1\r\nhost: other\r\n\r\n")
        .await;
    let held = edge.upstream.held().await;
    assert_eq!(header(&held.head, "host"), Some("edge.test:80"));
    assert!(held.head.starts_with("get /held http/1.1\r\n"));
    held.answer("done");
    assert_eq!(client.response().await.ok(), "done");
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_the_clients_fault() {
    let edge = start().await;
    let address = edge.address("http").await;
    for broken in [
        "zz\r\n",
        "3\r\nabcdef\r\n",
        "-3\r\n",
        "\r\n",
        "0\r\nno field\r\n\r\n",
    ] {
        let mut client = H1::connect(address).await;
        client
            .send(&format!(
                "POST /held HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{broken}"
            ))
            .await;
        let response = client.response().await;
        let got = (response.status, response.says_close());
        assert_eq!(got, (400, true), "{broken:?}");
        assert_eq!(client.end().await, End::Fin, "{broken:?}");
    }
}

#[tokio::test]
async fn the_pieces_of_a_cookie_and_equal_lengths_are_one_field_each_in_http1() {
    let mut edge = start().await;
    let mut client = H2::connect(edge.address("http").await).await;
    let mut block = rig::h2::block("POST", "/held");
    for (name, value) in [
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("content-length", "3"),
        ("content-length", "3"),
    ] {
        for text in [name, value] {
            if text == name {
                block.push(0);
            }
            block.push(u8::try_from(text.len()).expect("short"));
            block.extend_from_slice(text.as_bytes());
        }
    }
    let end_headers = rig::h2::flag::END_HEADERS;
    let head = rig::h2::frame(rig::h2::kind::HEADERS, end_headers, 1, &block);
    client.raw(&head).await;
    client.raw(&rig::h2::data(1, b"abc", true)).await;
    let held = edge.upstream.held().await;
    assert_eq!(header(&held.head, "cookie"), Some("a=1; b=2"));
    assert_eq!(held.head.matches("content-length").count(), 1);
    assert_eq!(held.body, b"abc");
    held.answer("done");
    assert_eq!(client.answered(1).await, "done");
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_no_answer() {
    const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nnot HTTP";
    let edge = start_answering(SWITCH).await;
    let address = edge.address("http").await;
    for request in [
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc",
    ] {
        let mut client = H1::connect(address).await;
        client.send(request).await;
        let response = client.response().await;
        assert_eq!(response.status, 502, "{request}");
        if !response.says_close() {
            assert_eq!(client.get("/").await.status, 502, "{request}");
        }
    }
    let mut client = H2::connect(address).await;
    client.ask(1, "/").await;
    let head = client.next().await;
    assert_eq!(
        head,
        Event::Head {
            stream: 1,
            ok: false
        }
    );
    assert!(matches!(
        client.next().await,
        Event::Body { last: true, .. }
    ));
}

/// As in Envoy; of a request it is refused.
#[tokio::test]
async fn a_header_of_a_response_that_is_folded_is_one_line() {
    let answer = "HTTP/1.1 200 OK\r\nx-a: one\r\n two\r\ncontent-length: 5\r\n\r\nhello";
    let edge = start_answering(answer).await;
    let mut client = H1::connect(edge.address("http").await).await;
    let response = client.get("/").await;
    let words = response.header("x-a").map(|value| value.split_whitespace());
    let words: Vec<_> = words.into_iter().flatten().collect();
    assert_eq!((words, response.ok()), (vec!["one", "two"], "hello".into()));
}

#[tokio::test]
async fn a_response_has_one_length_or_none() {
    const CHUNKS: &str = "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    for (answer, status, length) in [
        // Another length would cut the body, or wait for more of it.
        (format!("content-length: 3\r\n{CHUNKS}"), 502, None),
        (format!("content-length: 9\r\n{CHUNKS}"), 502, None),
        (
            "content-length: 5, 5\r\n\r\nhello".to_owned(),
            200,
            Some("5"),
        ),
        (
            "content-length: 5\r\ncontent-length: 5\r\n\r\nhello".to_owned(),
            200,
            Some("5"),
        ),
        (
            "content-length: 5\r\ncontent-length: 6\r\n\r\nhello".to_owned(),
            502,
            None,
        ),
        (
            "transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n".to_owned(),
            502,
            None,
        ),
    ] {
        let answer = &*format!("HTTP/1.1 200 OK\r\n{answer}").leak();
        let edge = start_answering(answer).await;
        let mut client = H1::connect(edge.address("http").await).await;
        let response = client.get("/").await;
        assert_eq!(response.status, status, "{answer}");
        if status == 200 {
            assert_eq!(response.text(), "hello", "{answer}");
            assert_eq!(response.header("content-length"), length, "{answer}");
        }
        // Without a body nobody but the client looks at the length.
        client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let head = within("a head", client.wire.head()).await.expect("a head");
        assert_eq!(head.status(), status, "{answer}");
        let lengths = head.text.to_lowercase().matches("content-length").count();
        assert!(lengths < 2, "{}", head.text);
    }
}

#[tokio::test]
async fn a_status_without_a_body_has_no_length() {
    for (fields, status) in [
        ("", 204),
        ("content-length: 0\r\n", 204),
        ("content-length: 5\r\n", 502),
        ("transfer-encoding: chunked\r\n", 502),
    ] {
        // Each request has a connection of its own.
        let answer = format!("HTTP/1.1 204 No Content\r\nconnection: close\r\n{fields}\r\n").leak();
        let edge = start_answering(answer).await;
        let address = edge.address("http").await;
        for method in ["GET", "HEAD"] {
            let mut client = H1::connect(address).await;
            client
                .send(&format!("{method} / HTTP/1.1\r\nhost: a\r\n\r\n"))
                .await;
            let head = within("a head", client.wire.head()).await.expect("a head");
            assert_eq!(head.status(), status, "{method} {fields}");
            if status == 204 {
                assert_eq!(head.header("content-length"), None, "{}", head.text);
            }
        }
    }
}
