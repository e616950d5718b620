//! The hand-written server itself: a loop over requests on one transport, with the rule asked once
//! per response.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use drain_signal::DrainHandle;
use http::{HeaderMap, Method, StatusCode, Version, header};
use proto_drain_http1::{AfterResponse, GracefulShutdown, Leaving, LingerIo, RequestFacts, apply};
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream,
};
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

/// How many bytes a request head may have.
const MAX_HEAD: u64 = 16 * 1024;
/// How many bytes of a body are read before a response, and for how long. What is longer or slower
/// ends the connection.
const MAX_BODY: u64 = 64 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves one request after the other, until the rule says that the connection is done.
async fn serve<IO>(io: LingerIo<IO>, drain: DrainHandle, last_word: Arc<Notify>) -> io::Result<()>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let exchanges = io.exchanges().clone();
    let mut io = BufStream::new(io);
    loop {
        let head = tokio::select! {
            biased; // a request that is here is served, whatever else has come
            head = read_head(&mut io) => head?,
            () = last_word.notified() => None, // called only while no first byte of a request is here
        };
        let Some(head) = head else { break };
        let exchange = exchanges.begin(&head.facts);
        let request = read_body(&mut io, head).await?;
        // Asked once, and as late as can be: what is written cannot be amended.
        let after = respond(&mut io, &request, exchanges.leaving(&drain)).await?;
        drop(exchange);
        if after == AfterResponse::Closes {
            break;
        }
    }
    io.shutdown().await // the staged close
}

async fn respond(
    io: &mut (impl AsyncWrite + Unpin),
    request: &RequestFacts,
    leaving: Leaving,
) -> io::Result<AfterResponse> {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_LENGTH,
        header::HeaderValue::from_static("6"),
    );
    let after = apply(leaving, request, StatusCode::OK, &mut headers);
    let mut head = b"HTTP/1.1 200 OK\r\n".to_vec();
    for (name, value) in &headers {
        head.extend_from_slice(
            &[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat(),
        );
    }
    head.extend_from_slice(b"\r\nhello\n");
    io.write_all(&head).await?;
    io.flush().await?;
    Ok(after)
}

/// A request head, as far as this example needs it.
struct Head {
    facts: RequestFacts,
    /// The length of its body, where this server can and may read it.
    body: Option<u64>,
}

/// Reads a request head; `None`: the client has ended the connection. One that is too long is an
/// error.
async fn read_head(io: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Head>> {
    let mut io = io.take(MAX_HEAD);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if io.read_line(&mut line).await? == 0 {
            return match io.limit() {
                0 => Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a head of more than 16 KiB",
                )),
                _ => Ok(None),
            };
        }
        match line.trim_end() {
            "" if lines.is_empty() => {}
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut words = lines
        .first()
        .map(String::as_str)
        .unwrap_or_default()
        .split(' ');
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
    Ok(Some(Head {
        facts: RequestFacts::new(&method, version, &headers),
        body: body_length(&headers),
    }))
}

/// The length of a body that can be read: one length, no chunks, and the client is not waiting for
/// `100 Continue`.
fn body_length(headers: &HeaderMap) -> Option<u64> {
    if headers.contains_key(header::TRANSFER_ENCODING) || headers.contains_key(header::EXPECT) {
        return None;
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let (first, None) = (lengths.next()?, lengths.next()) else {
        return None;
    };
    first.to_str().ok()?.parse().ok()
}

/// Reads the body within bounds. Left unread it makes the rule close the connection: what lies
/// behind the head would be taken for the next request.
async fn read_body(io: &mut (impl AsyncRead + Unpin), head: Head) -> io::Result<RequestFacts> {
    let Some(length) = head.body.filter(|length| *length <= MAX_BODY) else {
        return Ok(head.facts);
    };
    let mut body = io.take(length);
    match tokio::time::timeout(
        BODY_TIMEOUT,
        tokio::io::copy(&mut body, &mut tokio::io::sink()),
    )
    .await
    {
        Ok(Ok(read)) if read == length => Ok(head.facts.with_body_read()),
        Ok(Err(error)) => Err(error),
        // Too slow, or ended before its length.
        _ => Ok(head.facts),
    }
}
