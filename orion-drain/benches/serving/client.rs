//! The client, which is not measured: one connection or one request after the other.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};

pub(crate) const CLOSED_BY_SERVER: &str = "closed-by-server";
pub(crate) const CLOSED_BY_CLIENT: &str = "closed-by-client";
pub(crate) const HTTP1: &str = "http1";
pub(crate) const HTTP2: &str = "http2";
pub(crate) const HTTP2_EIGHT: &str = "http2-eight";

const KEPT: &[u8] = b"GET / HTTP/1.1\r\nhost: example\r\n\r\n";
const CLOSED: &[u8] = b"GET / HTTP/1.1\r\nhost: example\r\nconnection: close\r\n\r\n";

pub(crate) fn run(load: &str, server: SocketAddr, times: usize) {
    match load {
        CLOSED_BY_SERVER => {
            for _ in 0..times {
                let mut connection = connect(server);
                connection.write_all(CLOSED).unwrap();
                let mut answer = vec![];
                connection.read_to_end(&mut answer).unwrap();
                assert!(answer.ends_with(b"hello"));
            }
        }
        CLOSED_BY_CLIENT => {
            for _ in 0..times {
                ask(&mut connect(server));
            }
        }
        HTTP1 => {
            let mut connection = connect(server);
            for _ in 0..times {
                ask(&mut connection);
            }
        }
        HTTP2 => http2(server, times, 1),
        HTTP2_EIGHT => http2(server, times, 8),
        _ => panic!("no load {load}"),
    }
}

fn connect(server: SocketAddr) -> TcpStream {
    let connection = TcpStream::connect(server).unwrap();
    connection.set_nodelay(true).unwrap();
    connection
}

fn ask(connection: &mut TcpStream) {
    connection.write_all(KEPT).unwrap();
    let (mut answer, mut read) = ([0; 4096], 0);
    while !answer[..read].ends_with(b"hello") {
        let more = connection.read(&mut answer[read..]).unwrap();
        assert!(more > 0, "the server has closed");
        read += more;
    }
}

fn http2(server: SocketAddr, times: usize, streams: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let io = tokio::net::TcpStream::connect(server).await.unwrap();
        io.set_nodelay(true).unwrap();
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(io))
            .await
            .unwrap();
        tokio::spawn(connection);
        // All at a time, then the next: what one flight holds does not depend on the machine.
        for _ in 0..times / streams {
            let asking: Vec<_> = (0..streams)
                .map(|_| tokio::spawn(one(sender.clone())))
                .collect();
            for asked in asking {
                asked.await.unwrap();
            }
        }
    });
}

async fn one(mut sender: SendRequest<Empty<Bytes>>) {
    let request = Request::get("http://example/").body(Empty::new()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let body = answer.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "hello");
}
