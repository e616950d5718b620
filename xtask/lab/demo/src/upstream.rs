//! The upstreams behind the proxy, on loopback: HTTP with a WebSocket echo, and TCP.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use rig::Clusters;
use rig::upstream::{Body, Upstream, full, switch};
use rig::websocket::{self, Message, opcode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::ask::echo_head;
use super::book::Book;
use super::pattern::{self, Checksum};
use super::record::How;
use super::tcp::{self, Sent, Sides, TcpSide};
use super::upload::receipt;

/// Where the upstreams listen, and what the TCP ones saw.
#[derive(Debug)]
pub(crate) struct Upstreams {
    pub(crate) http: Upstream,
    /// Serve even and odd listener versions.
    pub(crate) tcp: [Upstream; 2],
    pub(crate) tcp_sides: Arc<TcpSides>,
}

impl Upstreams {
    pub(crate) fn clusters(&self) -> Clusters {
        let [tcp_even, tcp_odd] = &self.tcp;
        Clusters {
            http: self.http.address,
            tcp_even: tcp_even.address,
            tcp_odd: tcp_odd.address,
        }
    }
}

/// Starts all upstreams.
pub(crate) async fn start(book: &Arc<Book>) -> std::io::Result<Upstreams> {
    let tcp_sides = Arc::new(TcpSides::default());
    let tcp = |parity| {
        let (sides, book) = (Arc::clone(&tcp_sides), Arc::clone(book));
        Upstream::start(move |stream| {
            serve_tcp(stream, parity, Arc::clone(&sides), Arc::clone(&book))
        })
    };
    Ok(Upstreams {
        http: Upstream::http(answer).await?,
        tcp: [tcp(0).await?, tcp(1).await?],
        tcp_sides,
    })
}

async fn answer(request: Request<Incoming>) -> Response<Body> {
    let query = Query(request.uri().query().unwrap_or_default().to_owned());
    match request.uri().path() {
        "/echo" => echo(request).await,
        "/upload" => upload(request, query.number("seed")).await,
        "/slow" => {
            sleep(Duration::from_millis(query.number("ms"))).await;
            let size = query.number("size") as usize;
            full(pattern::bytes(query.number("seed"), 0, size))
        }
        "/stream" => trickle(&query),
        "/ws" => upgrade(request),
        _ => refuse(StatusCode::NOT_FOUND, "no such path"),
    }
}

/// Length and checksum of the body, and the body.
async fn echo(request: Request<Incoming>) -> Response<Body> {
    match Limited::new(request.into_body(), 1 << 20).collect().await {
        Ok(body) => {
            let body = body.to_bytes();
            full([echo_head(&body).as_bytes(), &body].concat())
        }
        Err(error) => refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

/// Checks every byte of the body as it comes; answers with its length and checksum.
async fn upload(request: Request<Incoming>, seed: u64) -> Response<Body> {
    let (mut length, mut sum) = (0, Checksum::default());
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        let data = match frame.map(Frame::into_data) {
            Ok(Ok(data)) => data,
            Ok(Err(_trailers)) => continue,
            Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        if let Some(at) = pattern::mismatch(seed, length, &data) {
            return refuse(
                StatusCode::UNPROCESSABLE_ENTITY,
                &format!("byte {at} is wrong"),
            );
        }
        length += data.len() as u64;
        sum.add(&data);
    }
    full(receipt(length, sum))
}

/// A chunked body, one chunk after the other with pauses between.
fn trickle(query: &Query) -> Response<Body> {
    let (seed, chunks) = (query.number("seed"), query.number("chunks"));
    let (size, pause) = (
        query.number("size"),
        Duration::from_millis(query.number("ms")),
    );
    let chunks = stream::unfold(0, move |n| async move {
        if n == chunks {
            return None;
        }
        sleep(pause).await;
        let chunk = pattern::bytes(seed, n * size, size as usize);
        Some((Ok(Frame::data(chunk.into())), n + 1))
    });
    Response::new(StreamBody::new(chunks).boxed_unsync())
}

/// Switches to WebSocket, and echoes.
fn upgrade(mut request: Request<Incoming>) -> Response<Body> {
    let text = |headers: &HeaderMap, name| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let key = text(request.headers(), header::SEC_WEBSOCKET_KEY);
    if !text(request.headers(), header::UPGRADE).eq_ignore_ascii_case("websocket") || key.is_empty()
    {
        return refuse(StatusCode::BAD_REQUEST, "not a WebSocket handshake");
    }
    let Ok(accept) = HeaderValue::from_str(&websocket::accept(&key)) else {
        return refuse(StatusCode::BAD_REQUEST, "not a key");
    };
    let mut response = switch(&mut request, |stream| async {
        // The tunnel ends when the proxy says so; the client judges when that was.
        echo_messages(stream).await.ok();
    });
    response
        .headers_mut()
        .insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

async fn echo_messages(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    let mut ahead = BytesMut::new();
    while stream.read_buf(&mut ahead).await? > 0 {
        while let Some(message) = Message::take(&mut ahead).map_err(std::io::Error::other)? {
            stream.write_all(&message.frame(None)).await?;
            if message.opcode == opcode::CLOSE {
                return stream.shutdown().await;
            }
        }
    }
    stream.shutdown().await
}

/// The upstream's side of a TCP stream: sends its pattern, checks the client's.
async fn serve_tcp(mut stream: TcpStream, parity: u8, sides: Arc<TcpSides>, book: Arc<Book>) {
    let Ok(name) = stream.read_u64().await else {
        return;
    };
    let side = sides.open(name);
    if stream.write_u8(parity).await.is_err() {
        return;
    }
    let (mut read, mut write) = stream.into_split();
    let reading = async {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = read.read(&mut buffer).await {
            let mut side = lock(&side);
            side.wrong_at =
                side.wrong_at
                    .or(pattern::mismatch(name, side.received, &buffer[..count]));
            side.received += count as u64;
        }
    };
    let writing = async {
        loop {
            let piece = tcp::piece(tcp::answer_seed(name), lock(&side).sent.total());
            let mut rest = piece.as_slice();
            while !rest.is_empty() {
                // What is written is counted at once, for this future may be dropped between two
                // writes.
                let Ok(count) = write.write(rest).await else {
                    return;
                };
                lock(&side).sent.add(book.now(), count);
                rest = &rest[count..];
            }
            sleep(tcp::EVERY).await;
        }
    };
    tokio::pin!(reading);
    tokio::select! {
        () = &mut reading => {}
        // A proxy that no longer takes anything may still have something to deliver.
        () = writing => reading.await,
    }
}

/// What the TCP upstreams saw of each stream.
#[derive(Debug, Default)]
pub(crate) struct TcpSides(Mutex<Sides>);

impl TcpSides {
    fn open(&self, name: u64) -> Arc<Mutex<TcpSide>> {
        Arc::clone(lock(&self.0).entry(name).or_default())
    }

    /// What is missing on either side of a stream that has ended; see [`tcp::missing`].
    pub(crate) fn missing(
        &self,
        name: u64,
        client: &Sent,
        received: u64,
        all: bool,
        now: Duration,
    ) -> Option<How> {
        let side = lock(&self.0).remove(&name);
        side.and_then(|side| tcp::missing(client, received, &lock(&side), all, now))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counters alone: a panic elsewhere leaves them usable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The query of a request: numbers by name.
struct Query(String);

impl Query {
    fn number(&self, name: &str) -> u64 {
        let pairs = self.0.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .filter(|(seen, _)| *seen == name)
            .find_map(|(_, value)| value.parse().ok())
            .unwrap_or(0)
    }
}

fn refuse(status: StatusCode, why: &str) -> Response<Body> {
    let mut response = full(format!("{why}\n"));
    *response.status_mut() = status;
    response
}
