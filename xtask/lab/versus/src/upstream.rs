//! What is behind the proxies: one HTTP/1.1 server and one that sends bytes back.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response};
use rig::upstream::{Body, Upstream, echo, full, switch};
use rig::websocket::{Message, accept, opcode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::sleep;

/// The size of `/big`.
pub(crate) const BIG: usize = 1 << 20;

/// Their addresses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Behind {
    pub(crate) http: SocketAddr,
    pub(crate) tcp: SocketAddr,
}

/// Both servers; they end with this value.
#[derive(Debug)]
pub(crate) struct Upstreams {
    http: Upstream,
    tcp: Upstream,
}

impl Upstreams {
    pub(crate) async fn start() -> std::io::Result<Self> {
        Ok(Self {
            http: Upstream::http(answer).await?,
            tcp: Upstream::start(|stream| async move {
                stream.set_nodelay(true).ok();
                echo(stream).await;
            })
            .await?,
        })
    }

    pub(crate) fn behind(&self) -> Behind {
        Behind {
            http: self.http.address,
            tcp: self.tcp.address,
        }
    }
}

pub(crate) async fn answer(mut request: Request<Incoming>) -> Response<Body> {
    match request.uri().path() {
        "/ws" => web_socket(&mut request),
        "/stream" => chunks(10),
        "/slow" => {
            sleep(Duration::from_secs(1)).await;
            full("slow")
        }
        "/big" => full(Bytes::from_static(&[b'x'; BIG])),
        _ => {
            let mut length = 0;
            let mut body = request.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                length += frame.data_ref().map_or(0, Bytes::len);
            }
            full(length.to_string())
        }
    }
}

/// A chunk each 100 ms.
fn chunks(many: usize) -> Response<Body> {
    let chunks = stream::unfold(0, move |n| async move {
        if n >= many {
            return None;
        }
        sleep(Duration::from_millis(100)).await;
        let chunk = Frame::data(Bytes::from_static(b"data: tick\n\n"));
        Some((Ok::<_, Infallible>(chunk), n + 1))
    });
    Response::new(StreamBody::new(chunks).boxed_unsync())
}

fn web_socket(request: &mut Request<Incoming>) -> Response<Body> {
    let key = request
        .headers()
        .get("sec-websocket-key")
        .and_then(|key| key.to_str().ok())
        .map(accept);
    let mut response = switch(request, |stream| async move {
        // A broken connection is the client's affair.
        messages(stream).await.ok();
    });
    if let Some(Ok(accept)) = key.map(|key| key.parse()) {
        response
            .headers_mut()
            .insert("sec-websocket-accept", accept);
    }
    response
}

/// Sends messages back until a Close.
async fn messages(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    let mut ahead = BytesMut::new();
    loop {
        while let Some(message) = Message::take(&mut ahead).map_err(std::io::Error::other)? {
            let closes = message.opcode == opcode::CLOSE;
            stream.write_all(&message.frame(None)).await?;
            if closes {
                return stream.shutdown().await;
            }
        }
        if stream.read_buf(&mut ahead).await? == 0 {
            return Ok(());
        }
    }
}
