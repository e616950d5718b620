//! On real sockets: who was reset, or cut, does not read a good end.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use drain_tree::DrainStrategy;
use http::{Request, Response, StatusCode};
use http_body_util::{Empty, StreamBody};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use orion_drain_serve::{
    CodecType, Connection, HttpServer, HttpTimeouts, ReceivedBody, TunnelUpstream, serve_http,
    serve_tunnel,
};
use proto_drain_tcp::{CopyOptions, reset_on_drop};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Listener, stream_of};

/// The two ends of one TCP connection.
pub(super) async fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let (outer, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (outer.expect("connected"), accepted.expect("accepted").0)
}

fn assert_reset(read: io::Result<usize>) {
    let kind = read.map_err(|error| error.kind());
    assert_eq!(kind, Err(io::ErrorKind::ConnectionReset));
}

/// A tunnel through an HTTP/1 server: its client, and its upstream.
async fn tunnel() -> (TcpStream, TcpStream) {
    let listener = Listener::new(DrainStrategy::Immediate);
    let connection = listener.connection().expect("no drain is completed");
    let server = HttpServer::new(
        CodecType::Auto,
        &HttpTimeouts::default(),
        listener.http.clone(),
    );
    let (mut client, accepted) = connected().await;
    let (near, upstream) = connected().await;
    let near = Arc::new(Mutex::new(Some(near)));
    let service = service_fn(move |mut request: Request<ReceivedBody>| {
        let connection = request.extensions().get::<Connection>().cloned();
        let near = near.lock().expect("no panic").take().expect("one tunnel");
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let client = TokioIo::new(upgraded.await.expect("upgraded"));
            serve_tunnel(client, near, connection.expect("shown"), CopyOptions::new()).await
        });
        let switched = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("upgrade", "echo")
            .header("connection", "upgrade")
            .body(Empty::<Bytes>::new());
        async { Ok::<_, Infallible>(switched.expect("a response")) }
    });
    tokio::spawn(async move { serve_http(accepted, service, connection, &server).await });
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n")
        .await
        .expect("written");
    let head = rig::h1::head(&mut client).await.expect("a response");
    assert_eq!(head.status(), 101);
    (client, upstream)
}

#[tokio::test]
async fn a_tunnel_passes_a_reset_on_both_ways() {
    let (mut client, mut upstream) = tunnel().await;
    upstream.write_all(b"half").await.expect("written");
    client.read_exact(&mut [0; 4]).await.expect("half");
    reset_on_drop(&upstream).expect("a socket");
    drop(upstream);
    assert_reset(client.read(&mut [0]).await);

    let (mut client, mut upstream) = tunnel().await;
    client.write_all(b"half").await.expect("written");
    upstream.read_exact(&mut [0; 4]).await.expect("half");
    reset_on_drop(&client).expect("a socket");
    drop(client);
    assert_reset(upstream.read(&mut [0]).await);
}

/// An upgraded connection of hyper's client, whose server says `hi` behind its response; and that
/// server.
async fn upgraded_upstream() -> (TunnelUpstream, TcpStream) {
    let (near, mut far) = connected().await;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near))
        .await
        .expect("HTTP/1");
    tokio::spawn(connection.with_upgrades());
    let request = Request::builder()
        .header("host", "a")
        .header("upgrade", "echo")
        .header("connection", "upgrade")
        .body(Empty::<Bytes>::new());
    let switched = sender.send_request(request.expect("a request"));
    let serve = async {
        rig::h1::head(&mut far).await.expect("a request");
        far.write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\nhi",
        )
        .await
        .expect("written");
    };
    let (switched, ()) = tokio::join!(switched, serve);
    let upgraded = hyper::upgrade::on(switched.expect("a response")).await;
    (TunnelUpstream::new(upgraded.expect("upgraded")), far)
}

#[tokio::test]
async fn a_reset_reaches_an_upstream_that_hyper_upgraded() {
    let listener = Listener::new(DrainStrategy::Immediate);
    let connection = listener.connection().expect("no drain is completed");
    let (upstream, mut far) = upgraded_upstream().await;
    let (mut client, accepted) = connected().await;
    tokio::spawn(serve_tunnel(
        accepted,
        upstream,
        connection,
        CopyOptions::new(),
    ));
    let mut hi = [0; 2];
    client
        .read_exact(&mut hi)
        .await
        .expect("what came with the response");
    assert_eq!(hi, *b"hi");
    client.write_all(b"half").await.expect("written");
    far.read_exact(&mut [0; 4]).await.expect("half");
    reset_on_drop(&client).expect("a socket");
    drop(client);
    assert_reset(far.read(&mut [0]).await);
}

#[tokio::test]
async fn a_tunnel_whose_peers_end_it_ends_in_fin() {
    let (mut client, mut upstream) = tunnel().await;
    upstream.write_all(b"whole").await.expect("written");
    upstream.shutdown().await.expect("FIN");
    let mut whole = String::new();
    client.read_to_string(&mut whole).await.expect("FIN");
    assert_eq!(whole, "whole");
}

#[tokio::test]
async fn a_response_framed_by_the_close_that_is_cut_ends_in_rst() {
    let listener = Listener::new(DrainStrategy::Immediate);
    let connection = listener.connection().expect("no drain is completed");
    let drain = connection.drain().clone();
    let server = HttpServer::new(
        CodecType::Auto,
        &HttpTimeouts::default(),
        listener.http.clone(),
    );
    let (mut client, accepted) = connected().await;
    let service = service_fn(async |_: Request<ReceivedBody>| {
        Ok::<_, Infallible>(Response::new(StreamBody::new(stream_of(
            Bytes::from_static(b"half"),
        ))))
    });
    let served =
        tokio::spawn(async move { serve_http(accepted, service, connection, &server).await });
    client
        .write_all(b"GET / HTTP/1.0\r\n\r\n")
        .await
        .expect("written");
    let head = rig::h1::head(&mut client).await.expect("a response");
    assert_eq!(head.header("content-length"), None);
    client.read_exact(&mut [0; 4]).await.expect("half");
    drain.force();
    let mut rest = [0];
    let end = tokio::time::timeout(Duration::from_secs(60), client.read(&mut rest));
    assert_reset(end.await.expect("no wait"));
    served.await.expect("no panic");
}
