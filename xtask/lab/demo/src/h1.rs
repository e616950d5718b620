//! HTTP/1.1 as it is on the wire: a client that writes the bytes itself and sees each answer, FIN and RST.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::ask::Ask;
use super::book::Entry;
use super::crowd::Crowd;
use super::record::{How, Saw};

/// The largest head and the largest body that a client reads.
const HEAD_LIMIT: usize = 64 * 1024;
const BODY_LIMIT: usize = 4 * 1024 * 1024;

/// How long an answer may take beyond what it takes by design.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A connection and what was read ahead from it.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    ahead: BytesMut,
}

/// The head of a response.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    /// The value of a header, whose name is given in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(seen, _)| seen == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether the connection ends after this response (RFC 9112 section 9.6).
    pub(crate) fn close(&self) -> bool {
        let has_close = |value: &str| {
            value
                .split(',')
                .any(|word| word.trim().eq_ignore_ascii_case("close"))
        };
        self.headers
            .iter()
            .any(|(name, value)| name == "connection" && has_close(value))
    }

    /// The listener version that the response names.
    pub(crate) fn version(&self) -> Option<u32> {
        self.header(rig::VERSION_HEADER)?.parse().ok()
    }

    fn parse(text: &str) -> Result<Self, How> {
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status = first
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| How::Wrong(format!("status line {first:?}")))?;
        let headers = lines.filter(|line| !line.is_empty()).map(|line| {
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| How::Wrong(format!("header {line:?}")))?;
            Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
        });
        Ok(Self {
            status,
            headers: headers.collect::<Result<_, How>>()?,
        })
    }
}

/// What came instead of silence.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// Nothing: the pause is over.
    Over,
    /// The connection ended.
    Ended(Saw),
    /// Bytes that nobody asked for.
    Unasked,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            ahead: BytesMut::new(),
        }
    }

    /// The connection and what was read ahead from it, for who goes on in another protocol.
    pub(crate) fn into_parts(self) -> (TcpStream, BytesMut) {
        (self.stream, self.ahead)
    }

    /// Asks, and reads and checks the whole answer; what is seen on the way goes into the record.
    ///
    /// Returns the version if the answer names it, and whether the connection may be used again. A failure is written into
    /// the record, and the connection is done.
    pub(crate) async fn ask(&mut self, ask: &Ask, entry: &Entry) -> Option<Reuse> {
        let begun = entry.now();
        let answered = timeout(ask.takes + PATIENCE, async {
            self.send_ask(ask).await;
            let (head, body) = self.answer(entry).await?;
            if head.status != 200 {
                return Err(How::Wrong(format!("status {}", head.status)));
            }
            let version = ask.check(&body)?;
            Ok(Reuse {
                version: version.or(head.version()),
                close: head.close(),
            })
        });
        match answered.await.unwrap_or(Err(How::TimedOut)) {
            Ok(reuse) => {
                entry.ok();
                if let Some(version) = reuse.version {
                    entry.version(version);
                }
                Some(reuse)
            }
            Err(how) => {
                self.failed(entry, begun, how);
                None
            }
        }
    }

    /// Writes a failure and the end that goes with it into the record.
    pub(crate) fn failed(&self, entry: &Entry, begun: Duration, how: How) {
        entry.saw(match how {
            How::Reset => Saw::Reset,
            How::Unanswered | How::Cut => Saw::Fin,
            _ => Saw::Left,
        });
        entry.failed(begun, None, how);
    }

    async fn send_ask(&mut self, ask: &Ask) {
        let mut text = format!("{} {} HTTP/1.1\r\nhost: demo\r\n", ask.method, ask.path);
        if ask.method != "GET" {
            text += &format!("content-length: {}\r\n", ask.body.len());
        }
        self.send(&[text.as_bytes(), b"\r\n", &ask.body].concat()).await;
    }

    /// Writes; whether that worked. If it did not, the answer may be there all the same: who reads it will see.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Reads a whole response; `connection: close` is noted the moment its head is there.
    pub(crate) async fn answer(&mut self, entry: &Entry) -> Result<(Head, Bytes), How> {
        let head = self.head().await?;
        if head.close() {
            entry.saw_once(Saw::CloseHeader);
        }
        let chunked = head
            .header("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        let length = head.header("content-length").and_then(|value| value.parse().ok());
        let body = match length {
            _ if chunked => self.chunks().await?,
            Some(length) => self.take(length).await?,
            None => return Err(How::Wrong("a response without a length".to_owned())),
        };
        Ok((head, body))
    }

    /// Reads the head of a response.
    pub(crate) async fn head(&mut self) -> Result<Head, How> {
        loop {
            if let Some(end) = self.ahead.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = self.ahead.split_to(end + 4);
                return Head::parse(&String::from_utf8_lossy(&head));
            }
            let nothing_yet = self.ahead.is_empty();
            match self.more().await {
                Err(How::Cut) if nothing_yet => return Err(How::Unanswered),
                read => read?,
            }
            if self.ahead.len() > HEAD_LIMIT {
                return Err(How::Wrong("a head too large".to_owned()));
            }
        }
    }

    async fn chunks(&mut self) -> Result<Bytes, How> {
        let mut body = BytesMut::new();
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size =
                usize::from_str_radix(size, 16).map_err(|_| How::Wrong(format!("chunk size {line:?}")))?;
            if size + body.len() > BODY_LIMIT {
                return Err(How::Wrong("a body too large".to_owned()));
            }
            body.extend_from_slice(&self.take(size).await?);
            let end = self.line().await?;
            if !end.is_empty() {
                return Err(How::Wrong(format!("{end:?} after a chunk")));
            }
            if size == 0 {
                return Ok(body.freeze());
            }
        }
    }

    async fn line(&mut self) -> Result<String, How> {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|window| window == b"\r\n") {
                let line = self.ahead.split_to(end);
                self.ahead.advance(2);
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            if self.ahead.len() > HEAD_LIMIT {
                return Err(How::Wrong("a line too long".to_owned()));
            }
            self.more().await?;
        }
    }

    async fn take(&mut self, length: usize) -> Result<Bytes, How> {
        if length > BODY_LIMIT {
            return Err(How::Wrong("a body too large".to_owned()));
        }
        while self.ahead.len() < length {
            self.more().await?;
        }
        Ok(self.ahead.split_to(length).freeze())
    }

    async fn more(&mut self) -> Result<(), How> {
        match self.stream.read_buf(&mut self.ahead).await {
            Ok(0) => Err(How::Cut),
            Ok(_) => Ok(()),
            Err(error) => Err(How::from_io(&error)),
        }
    }

    /// Stays silent until then, or until the connection says something.
    pub(crate) async fn pause(&mut self, until: Option<Instant>, crowd: &Crowd) -> Pause {
        let silence = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        if !self.ahead.is_empty() {
            return Pause::Unasked;
        }
        tokio::select! {
            read = self.stream.read_buf(&mut self.ahead) => match read {
                Ok(0) => Pause::Ended(Saw::Fin),
                Ok(_) => Pause::Unasked,
                Err(_) => Pause::Ended(Saw::Reset),
            },
            () = silence => Pause::Over,
            () = crowd.stopped() => Pause::Over,
        }
    }

    /// Watches a connection that will not be used again until it ends, but not for ever.
    pub(crate) async fn see_end(mut self, entry: Entry, crowd: std::sync::Arc<Crowd>) {
        let limit = Instant::now() + crowd.drain_time + Duration::from_secs(3);
        let end = loop {
            self.ahead.clear();
            tokio::select! {
                read = timeout_at(limit, self.stream.read_buf(&mut self.ahead)) => match read {
                    Ok(Ok(0)) => break Saw::Fin,
                    Ok(Ok(_)) => {}
                    Ok(Err(_)) => break Saw::Reset,
                    Err(_) => break Saw::Left,
                },
                () = crowd.stopped() => break Saw::Left,
            }
        };
        entry.saw(end);
    }
}

/// Whether a connection may carry another request, and which version serves it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reuse {
    pub(crate) version: Option<u32>,
    pub(crate) close: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_is_found_among_the_words_of_the_connection_header() {
        let close = |text: &str| Head::parse(text).map(|head| head.close());
        assert_eq!(
            close("HTTP/1.1 200 OK\r\nConnection: foo, Close\r\n\r\n"),
            Ok(true)
        );
        assert_eq!(
            close("HTTP/1.1 200 OK\r\nconnection: keep-alive\r\nx: close\r\n\r\n"),
            Ok(false)
        );
    }

    #[test]
    fn a_head_that_is_not_http_is_wrong() {
        assert!(Head::parse("SSH-2.0-x\r\n\r\n").is_err());
        assert!(Head::parse("HTTP/1.1 2").is_err());
    }
}
