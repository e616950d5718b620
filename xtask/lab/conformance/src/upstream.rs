//! The upstreams of all plays: HTTP that takes its time, streams or switches protocols, and a TCP echo.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The time between two pieces of `/stream`.
const BEAT: Duration = Duration::from_millis(100);

/// Starts both; they live as long as the runtime.
pub(crate) async fn start() -> std::io::Result<(SocketAddr, SocketAddr)> {
    let http = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let addresses = (http.local_addr()?, tcp.local_addr()?);
    tokio::spawn(serve(http, serve_http));
    tokio::spawn(serve(tcp, echo));
    Ok(addresses)
}

async fn serve<F>(listener: TcpListener, each: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(each(stream))),
            // Out of file descriptors, perhaps: some will be free again.
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve_http(stream: TcpStream) {
    let service = service_fn(|request| async { Ok::<_, Infallible>(answer(request).await) });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // How the proxy ends a connection is judged by its clients.
    connection.with_upgrades().await.ok();
}

/// `/slow?ms` answers late, `/stream?ms` for long, `/ws` switches to an echo, anything else says how long the request's
/// body was.
async fn answer(mut request: Request<Incoming>) -> Response<Body> {
    let ms = request.uri().query().and_then(|ms| ms.parse().ok()).unwrap_or(0);
    match request.uri().path() {
        "/slow" => {
            sleep(Duration::from_millis(ms)).await;
            full("slow")
        }
        "/stream" => {
            let beats = stream::unfold(ms / 100, |left| async move {
                let left = left.checked_sub(1)?;
                sleep(BEAT).await;
                Some((Ok(Frame::data(Bytes::from_static(b"beat"))), left))
            });
            Response::new(StreamBody::new(beats).boxed_unsync())
        }
        "/ws" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                if let Ok(upgraded) = upgrade.await {
                    echo(TokioIo::new(upgraded)).await;
                }
            });
            let mut response = full("");
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = response.headers_mut();
            for (name, value) in [("connection", "upgrade"), ("upgrade", "websocket")] {
                headers.insert(name, http::HeaderValue::from_static(value));
            }
            response
        }
        _ => match request.into_body().collect().await {
            Ok(body) => full(body.to_bytes().len().to_string()),
            Err(_) => full("a broken body"),
        },
    }
}

fn full(text: impl Into<Bytes>) -> Response<Body> {
    Response::new(Full::new(text.into()).boxed_unsync())
}

async fn echo(stream: impl AsyncRead + AsyncWrite) {
    let (mut read, mut write) = tokio::io::split(stream);
    // A broken connection is its other end's affair.
    tokio::io::copy(&mut read, &mut write).await.ok();
    tokio::io::AsyncWriteExt::shutdown(&mut write).await.ok();
}
