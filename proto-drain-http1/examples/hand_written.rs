//! A hand-written HTTP/1 server on a real socket that drains: the rule, the staged close and the one driver.
//!
//! Run it, then in another terminal: `curl -v http://127.0.0.1:8080/ http://127.0.0.1:8080/`. Ctrl-C drains; connections
//! are told with their next response, idle ones are closed one second before the end of the ten.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use drain_signal::{DrainDecision, DrainEvent, DrainHandle, DrainReason, DrainStrategy, drive};
use http::{HeaderMap, Method, StatusCode, Version, header};
use proto_drain_http1::{
    AfterResponse, CloseCounters, Exchanges, GracefulShutdown, Http1Connection, Http1Settings, Leaving,
    LingerIo, LingerSettings, RequestFacts, apply,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::Instant;

const DRAIN_TIME: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    let counters = CloseCounters::new();
    let (trigger, signal) = drain_signal::channel();
    let accept = async {
        loop {
            let (socket, peer) = listener.accept().await?;
            let Ok(watch) = signal.watch() else { continue };
            let io = LingerIo::new(socket, LingerSettings::default(), counters.clone()).with_spawner(
                |lingering| {
                    tokio::spawn(lingering);
                },
            );
            let exchanges = io.exchanges().clone();
            let connection = Connection::new(io, watch.handle());
            let driven = drive(
                Http1Connection::new(connection, exchanges, Http1Settings::default()),
                watch,
            );
            tokio::spawn(async move { println!("{peer} ended: {:?}", driven.await) });
        }
    };
    tokio::select! {
        accepted = accept => return accepted,
        signal = tokio::signal::ctrl_c() => signal?,
    }
    drop(listener);

    let start = Instant::now().into_std();
    let event = DrainEvent::new(start, DRAIN_TIME, DrainReason::ProcessShutdown);
    let draining = trigger.start(event.with_strategy(DrainStrategy::Immediate));
    println!("draining {} connections", draining.open_watches());
    let advance = async {
        loop {
            let next = draining.advance(Instant::now().into_std()).next;
            tokio::time::sleep_until(next.map_or_else(Instant::now, Into::into)).await;
        }
    };
    tokio::select! {
        () = advance => {}
        _ = draining.drained() => {}
    }
    println!("drained: {counters:?}");
    Ok(())
}

/// A connection: a loop over requests, and the one bell that [`GracefulShutdown`] rings.
struct Connection {
    serving: Pin<Box<dyn Future<Output = io::Result<()>> + Send>>,
    last_word: Arc<Notify>,
}

impl Connection {
    fn new(io: LingerIo<TcpStream>, drain: DrainHandle) -> Self {
        let last_word = Arc::new(Notify::new());
        Self {
            serving: Box::pin(serve(io, drain, Arc::clone(&last_word))),
            last_word,
        }
    }
}

impl Future for Connection {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.serving.as_mut().poll(cx)
    }
}

impl GracefulShutdown for Connection {
    fn graceful_shutdown(self: Pin<&mut Self>) {
        self.last_word.notify_one();
    }
}

/// Serves one request after the other, until the rule says that the connection is done.
async fn serve(io: LingerIo<TcpStream>, drain: DrainHandle, last_word: Arc<Notify>) -> io::Result<()> {
    let exchanges = io.exchanges().clone();
    let mut io = BufStream::new(io);
    loop {
        let request = tokio::select! {
            biased; // a request that is here is served, whatever else has come
            request = read_head(&mut io) => request?,
            () = last_word.notified() => None, // called only while no first byte of a request is here
        };
        let Some(request) = request else { break };
        if respond(&mut io, &request, &drain, &exchanges).await? == AfterResponse::Closes {
            break;
        }
    }
    io.shutdown().await // the staged close
}

async fn respond(
    io: &mut BufStream<LingerIo<TcpStream>>,
    request: &RequestFacts,
    drain: &impl DrainDecision,
    exchanges: &Exchanges,
) -> io::Result<AfterResponse> {
    let exchange = exchanges.begin(request);
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_LENGTH, header::HeaderValue::from_static("6"));
    // Asked once, and as late as can be: what is written cannot be amended.
    let after = apply(Leaving::ask(drain), request, StatusCode::OK, &mut headers);
    let mut head = b"HTTP/1.1 200 OK\r\n".to_vec();
    for (name, value) in &headers {
        head.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    head.extend_from_slice(b"\r\nhello\n");
    io.write_all(&head).await?;
    io.flush().await?;
    drop(exchange);
    Ok(after)
}

/// Reads a request head, as far as this example needs it; it knows no request bodies.
async fn read_head(io: &mut BufStream<LingerIo<TcpStream>>) -> io::Result<Option<RequestFacts>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if io.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        match line.trim_end() {
            "" if lines.is_empty() => {}
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut words = lines.first().map(String::as_str).unwrap_or_default().split(' ');
    let method = words
        .next()
        .and_then(|method| method.parse::<Method>().ok())
        .unwrap_or_default();
    let version = if words.nth(1) == Some("HTTP/1.0") {
        Version::HTTP_10
    } else {
        Version::HTTP_11
    };
    let mut headers = HeaderMap::new();
    for (name, value) in lines.iter().skip(1).filter_map(|line| line.split_once(':')) {
        if let (Ok(name), Ok(value)) = (name.parse::<header::HeaderName>(), value.trim().parse()) {
            headers.append(name, value);
        }
    }
    Ok(Some(RequestFacts::new(&method, version, &headers)))
}
