//! HTTP/1.1 as it is on the wire: heads, bodies, FIN and RST, read from any stream.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The largest head and the largest body that are read.
const HEAD_LIMIT: usize = 64 * 1024;
const BODY_LIMIT: usize = 64 * 1024 * 1024;

/// A stream and what was read ahead from it.
#[derive(Debug)]
pub struct Wire<S> {
    /// To write to, or to go on in another protocol.
    pub stream: S,
    /// What came behind the last thing that was read.
    pub ahead: BytesMut,
}

/// The head of a request or response.
#[derive(Debug, Clone)]
pub struct Head {
    /// The first line.
    pub start: String,
    /// All of it.
    pub text: String,
    headers: Vec<(String, String)>,
}

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// By `content-length`.
    Known(usize),
    /// By `transfer-encoding: chunked`.
    Chunked,
    /// No header says it.
    Unsaid,
}

/// What came instead of what was to be read.
#[derive(Debug)]
pub enum Stopped {
    /// FIN between two messages.
    Fin,
    /// FIN within a message.
    Cut,
    /// RST, for the most part.
    Broken(io::Error),
    /// Bytes that are not HTTP/1.1.
    Wrong(String),
}

impl From<Stopped> for io::Error {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Fin | Stopped::Cut => io::ErrorKind::UnexpectedEof.into(),
            Stopped::Broken(error) => error,
            Stopped::Wrong(what) => Self::other(what),
        }
    }
}

impl Head {
    fn parse(text: &str) -> Result<Self, Stopped> {
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let headers = lines.filter(|line| !line.is_empty()).map(|line| {
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| Stopped::Wrong(format!("header {line:?}")))?;
            Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
        });
        Ok(Self {
            headers: headers.collect::<Result<_, Stopped>>()?,
            start,
            text: text.to_owned(),
        })
    }

    /// A response's status; 0 if the first line has none.
    pub fn status(&self) -> u16 {
        let status = self
            .start
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..5));
        status.and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// The value of a header, whose name is given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(seen, _)| seen == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether the connection ends after this message (RFC 9112 section 9.6).
    pub fn close(&self) -> bool {
        let has_close = |value: &str| {
            value
                .split(',')
                .any(|word| word.trim().eq_ignore_ascii_case("close"))
        };
        self.headers
            .iter()
            .any(|(name, value)| name == "connection" && has_close(value))
    }

    /// How long the body is.
    pub fn length(&self) -> Length {
        let chunked = |value: &str| value.eq_ignore_ascii_case("chunked");
        if self.header("transfer-encoding").is_some_and(chunked) {
            return Length::Chunked;
        }
        match self.header("content-length").map(str::parse) {
            Some(Ok(length)) => Length::Known(length),
            _ => Length::Unsaid,
        }
    }
}

/// Asks for `path` on a connection that is kept, and reads the whole [`response`].
pub async fn get(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    path: &str,
) -> Result<(Head, Bytes), Stopped> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    let written = stream.write_all(request.as_bytes()).await;
    written.map_err(Stopped::Broken)?;
    response(stream).await
}

/// Reads a whole response, behind which nothing may come yet.
pub async fn response(stream: &mut (impl AsyncRead + Unpin)) -> Result<(Head, Bytes), Stopped> {
    let mut wire = Wire::new(stream);
    let head = wire.head().await?;
    let body = wire.body(&head).await?;
    if wire.ahead.is_empty() {
        return Ok((head, body));
    }
    Err(Stopped::Wrong(format!("{:?} behind it", wire.ahead)))
}

/// Reads a head and no byte behind it: the stream goes on in another protocol.
pub async fn head(stream: &mut (impl AsyncRead + Unpin)) -> Result<Head, Stopped> {
    let mut wire = Wire::new(stream.take(1));
    loop {
        wire.stream.set_limit(1);
        match wire.more().await {
            Err(Stopped::Cut) if wire.ahead.is_empty() => return Err(Stopped::Fin),
            read => read?,
        }
        if wire.ahead.ends_with(b"\r\n\r\n") {
            return wire.head().await;
        }
    }
}

impl<S> Wire<S> {
    /// Nothing was read ahead.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            ahead: BytesMut::new(),
        }
    }
}

impl<S: AsyncRead + Unpin> Wire<S> {
    /// Reads a head.
    pub async fn head(&mut self) -> Result<Head, Stopped> {
        loop {
            if let Some(end) = self
                .ahead
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
            {
                let head = self.ahead.split_to(end + 4);
                return Head::parse(&String::from_utf8_lossy(&head));
            }
            if self.ahead.len() > HEAD_LIMIT {
                return Err(Stopped::Wrong("a head too large".to_owned()));
            }
            let nothing_yet = self.ahead.is_empty();
            match self.more().await {
                Err(Stopped::Cut) if nothing_yet => return Err(Stopped::Fin),
                read => read?,
            }
        }
    }

    /// Reads the whole body that belongs to a head; none if the head says no length.
    pub async fn body(&mut self, of: &Head) -> Result<Bytes, Stopped> {
        match of.length() {
            Length::Known(length) => self.take(length).await,
            Length::Unsaid => Ok(Bytes::new()),
            Length::Chunked => {
                let mut body = BytesMut::new();
                loop {
                    let chunk = self.chunk().await?;
                    if chunk.is_empty() {
                        return Ok(body.freeze());
                    }
                    if chunk.len() + body.len() > BODY_LIMIT {
                        return Err(Stopped::Wrong("a body too large".to_owned()));
                    }
                    body.extend_from_slice(&chunk);
                }
            }
        }
    }

    /// Reads one chunk; the last one is empty.
    pub async fn chunk(&mut self) -> Result<Bytes, Stopped> {
        let line = self.line().await?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16)
            .map_err(|_| Stopped::Wrong(format!("chunk size {line:?}")))?;
        let chunk = self.take(size).await?;
        match &*self.line().await? {
            "" => Ok(chunk),
            end => Err(Stopped::Wrong(format!("{end:?} after a chunk"))),
        }
    }

    async fn line(&mut self) -> Result<String, Stopped> {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|window| window == b"\r\n") {
                let line = self.ahead.split_to(end);
                self.ahead.advance(2);
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            if self.ahead.len() > HEAD_LIMIT {
                return Err(Stopped::Wrong("a line too long".to_owned()));
            }
            self.more().await?;
        }
    }

    /// Reads so many bytes.
    pub async fn take(&mut self, length: usize) -> Result<Bytes, Stopped> {
        if length > BODY_LIMIT {
            return Err(Stopped::Wrong("a body too large".to_owned()));
        }
        while self.ahead.len() < length {
            self.more().await?;
        }
        Ok(self.ahead.split_to(length).freeze())
    }

    /// Reads whatever comes next.
    pub async fn more(&mut self) -> Result<(), Stopped> {
        match self.stream.read_buf(&mut self.ahead).await {
            Ok(0) => Err(Stopped::Cut),
            Ok(_) => Ok(()),
            Err(error) => Err(Stopped::Broken(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_is_found_among_the_words_of_the_connection_header() {
        let close = |text: &str| Head::parse(text).map(|head| head.close()).ok();
        assert_eq!(
            close("HTTP/1.1 200 OK\r\nConnection: foo, Close\r\n\r\n"),
            Some(true)
        );
        assert_eq!(
            close("HTTP/1.1 200 OK\r\nconnection: keep-alive\r\nx: close\r\n\r\n"),
            Some(false)
        );
    }

    #[test]
    fn a_line_that_is_no_response_has_no_status() {
        let status = |text: &str| Head::parse(text).expect("lines").status();
        assert_eq!(status("HTTP/1.1 503 Gone\r\n\r\n"), 503);
        assert_eq!(status("SSH-2.0-x\r\n\r\n"), 0);
        assert_eq!(status("HTTP/1.1 2"), 0);
    }

    #[tokio::test]
    async fn chunks_are_put_together_and_a_cut_body_is_never_complete() {
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".as_slice();
        for (rest, whole) in [
            (b"2\r\nhi\r\n0\r\n\r\n".as_slice(), true),
            (b"2\r\nhi\r\n", false),
        ] {
            let bytes = [head, rest].concat();
            let mut wire = Wire::new(bytes.as_slice());
            let head = wire.head().await.expect("a head");
            let body = wire.body(&head).await;
            assert_eq!(body.ok().as_deref(), whole.then_some(b"hi".as_slice()));
        }
    }

    #[tokio::test]
    async fn a_response_is_read_to_its_end_and_a_head_no_farther() {
        let text = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi".as_slice();
        let (_, body) = response(&mut { text }).await.expect("a response");
        assert_eq!(body, "hi");
        let mut rest = text;
        head(&mut rest).await.expect("a head");
        assert_eq!(rest, b"hi");
        let more = [text, b"more"].concat();
        let late = response(&mut more.as_slice()).await;
        assert!(matches!(late, Err(Stopped::Wrong(_))), "{late:?}");
    }

    #[tokio::test]
    async fn fin_between_two_messages_is_told_from_one_within() {
        assert!(matches!(
            Wire::new(b"".as_slice()).head().await,
            Err(Stopped::Fin)
        ));
        let cut = Wire::new(b"HTTP/1.1 200".as_slice()).head().await;
        assert!(matches!(cut, Err(Stopped::Cut)));
    }
}
