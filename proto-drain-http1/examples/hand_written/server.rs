//! The hand-written server itself: a loop over requests on one transport, with the rule asked once per response.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use drain_signal::{DrainDecision, DrainHandle};
use http::{HeaderMap, Method, StatusCode, Version, header};
use proto_drain_http1::{AfterResponse, Exchanges, GracefulShutdown, Leaving, LingerIo, RequestFacts, apply};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufStream};
use tokio::sync::Notify;

/// A connection: a loop over requests, and the one bell that [`GracefulShutdown`] rings.
pub(crate) struct Connection {
    serving: Pin<Box<dyn Future<Output = io::Result<()>> + Send>>,
    last_word: Arc<Notify>,
}

impl Connection {
    pub(crate) fn new<IO>(io: LingerIo<IO>, drain: DrainHandle) -> Self
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
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
async fn serve<IO>(io: LingerIo<IO>, drain: DrainHandle, last_word: Arc<Notify>) -> io::Result<()>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
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
    io: &mut (impl AsyncWrite + Unpin),
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
async fn read_head(io: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Option<RequestFacts>> {
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
