//! Over loopback TCP, where a close with unread data is an RST: the response arrives whole all the
//! same.
#![cfg(feature = "hyper")]

use crate::rig;

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proto_drain_http1::{CloseCounters, LingerIo, LingerSettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const RESPONSE: usize = 300_000;
const UPLOAD: usize = 200_000;

/// A client that uploads, and reads only when all of it is sent; the service answers at once and
/// reads nothing.
async fn response_behind_an_upload(
    settings: LingerSettings,
    fails: bool,
) -> (std::io::Result<usize>, CloseCounters) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let counters = CloseCounters::new();
    let io = LingerIo::new(server, settings, counters.clone()).with_spawner(|lingering| {
        tokio::spawn(lingering);
    });
    let service = service_fn(move |_| async move {
        let body = if fails {
            rig::failing_after(RESPONSE)
        } else {
            rig::full(Bytes::from(vec![b'r'; RESPONSE]))
        };
        Ok::<_, std::io::Error>(
            Response::builder()
                .header("connection", "close")
                .body(body)
                .unwrap(),
        )
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(io), service);
    let served = tokio::spawn(connection);
    let head = format!(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
        100 * UPLOAD
    );
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&[b'u'; UPLOAD]).await.unwrap();
    // The server has answered and half-closed; only now does the client begin to read, slowly.
    let mut got = 0;
    let mut buffer = vec![0; 4096];
    let read = loop {
        match client.read(&mut buffer).await {
            Ok(0) => break Ok(got),
            Ok(bytes) => got += bytes,
            Err(error) => break Err(error),
        }
        tokio::task::yield_now().await;
    };
    drop(client);
    assert_eq!(served.await.unwrap().is_err(), fails);
    // A handed-on transport ends by itself, when it sees the client's FIN: within the test's
    // patience.
    let ended = async {
        while counters.counts() == CloseCounters::new().counts() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ended)
        .await
        .unwrap();
    (read, counters)
}

#[tokio::test]
async fn a_response_with_an_unread_upload_behind_it_arrives_whole_and_ends_in_fin() {
    // Minutes, so that a slow machine does not cut it: what is tested is not the time bound.
    let settings = LingerSettings::default().with_delayed_close_timeout(Duration::from_secs(300));
    let (read, counters) = response_behind_an_upload(settings, false).await;
    assert!(read.unwrap() > RESPONSE);
    assert_eq!(counters.counts().staged, 1);
}

#[tokio::test]
async fn where_hyper_awaits_no_shutdown_the_spawned_lingering_delivers_what_was_sent() {
    let settings = LingerSettings::default().with_delayed_close_timeout(Duration::from_secs(300));
    let (read, counters) = response_behind_an_upload(settings, true).await;
    assert!(read.unwrap() > RESPONSE);
    assert_eq!(
        (counters.counts().staged, counters.counts().aborted),
        (1, 0)
    );
}
