//! An upstream that answers before it has read the request: the answer passes at once, and says
//! that its connection ends.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Edge, End, H1, Http, cluster, discovery};

/// What an upstream does when it has answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    ReadsOn,
    Ends,
    /// It reads nothing more, and does not end the connection.
    Stalls,
}

/// Answers each connection's first request behind its head.
async fn hasty(then: Then) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, then));
        }
    });
    address
}

async fn answer(mut stream: TcpStream, then: Then) {
    let (mut head, mut bytes) = (Vec::new(), [0; 4096]);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut bytes).await {
            Ok(read) if read > 0 => head.extend_from_slice(&bytes[..read]),
            _ => return,
        }
    }
    let response = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 5\r\n\r\nlarge";
    if stream.write_all(response).await.is_err() {
        return;
    }
    match then {
        Then::ReadsOn => while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {},
        Then::Ends => {}
        Then::Stalls => std::future::pending().await,
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_the_request_is_read_says_close() {
    let body = "y".repeat(12 << 20);
    for then in [Then::ReadsOn, Then::Ends, Then::Stalls] {
        let hasty = cluster("hasty", &[hasty(then).await], "");
        let listener = Http::new("http", 1).yaml();
        let listener = listener.replace("cluster: http", "cluster: hasty");
        let discovery = discovery("1", &[listener]);
        let edge = Edge::start_beside("--drain-time-s 20", &discovery, &hasty, "").await;
        let address = edge.address("http").await;
        for sent in [&body[..100], &body] {
            let mut client = H1::connect(address).await;
            let length = body.len();
            client
                .send(&format!(
                    "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n"
                ))
                .await;
            client.send(sent).await;
            let response = client.response().await;
            if response.status == 503 {
                // The upstream was gone before its answer was read.
                assert!(then == Then::Ends);
            } else {
                assert_eq!((response.status, &response.body[..]), (413, &b"large"[..]));
            }
            if sent.len() < body.len() || then != Then::ReadsOn {
                assert!(response.says_close(), "{}", response.head);
            }
            if response.says_close() {
                // Without the rest of the request, too: the response has ended, so the exchange
                // has.
                assert_eq!(client.end().await, End::Fin);
            }
        }
    }
}
