//! HTTP/1.1 as it is on the wire: a client that writes the bytes itself and sees each answer, FIN
//! and RST.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rig::h1::{self, Head, Length, Stopped};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::ask::Ask;
use super::book::Entry;
use super::crowd::Crowd;
use super::record::{How, Saw};

/// How long an answer may take beyond what it takes by design.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A connection.
#[derive(Debug)]
pub(crate) struct Wire(h1::Wire<TcpStream>);

/// The listener version that a response names.
pub(crate) fn version(head: &Head) -> Option<u32> {
    head.header(rig::VERSION_HEADER)?.parse().ok()
}

impl From<Stopped> for How {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Fin => Self::Unanswered,
            Stopped::Cut => Self::Cut,
            Stopped::Broken(error) => Self::from_io(&error),
            Stopped::Wrong(what) => Self::Wrong(what),
        }
    }
}

/// What came instead of silence.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// Nothing: the pause is over.
    Over,
    /// The connection ended.
    Ended(Saw),
    /// Bytes that no request asked for.
    Unasked,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self(h1::Wire::new(stream))
    }

    /// The connection and what was read ahead from it, for who goes on in another protocol.
    pub(crate) fn into_parts(self) -> (TcpStream, BytesMut) {
        (self.0.stream, self.0.ahead)
    }

    /// Asks, and reads and checks the whole answer; what is seen on the way goes into the record.
    ///
    /// Returns the version if the answer names it, and whether the connection may be used again. A
    /// failure is written into the record, and the connection is done.
    pub(crate) async fn ask(&mut self, ask: &Ask, entry: &Entry) -> Option<Reuse> {
        let begun = entry.now();
        let answered = timeout(ask.takes + PATIENCE, async {
            self.send_ask(ask).await;
            let (head, body) = self.answer(entry).await?;
            if head.status() != 200 {
                return Err(How::Wrong(format!("not status 200: {:?}", head.start)));
            }
            let version = ask.check(&body)?;
            Ok(Reuse {
                version: version.or(self::version(&head)),
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
        self.send(&[text.as_bytes(), b"\r\n", &ask.body].concat())
            .await;
    }

    /// Writes; whether that worked. If it did not, the answer may be there all the same: who reads
    /// it will see.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.stream.write_all(bytes).await.is_ok()
    }

    /// Reads a whole response; `connection: close` is noted the moment its head is there.
    pub(crate) async fn answer(&mut self, entry: &Entry) -> Result<(Head, Bytes), How> {
        let head = self.head().await?;
        if head.close() {
            entry.saw_once(Saw::CloseHeader);
        }
        if head.length() == Length::Unsaid {
            return Err(How::Wrong("a response without a length".to_owned()));
        }
        let body = self.0.body(&head).await?;
        Ok((head, body))
    }

    /// Reads the head of a response.
    pub(crate) async fn head(&mut self) -> Result<Head, How> {
        Ok(self.0.head().await?)
    }

    /// Stays silent until then, or until the connection says something.
    pub(crate) async fn pause(&mut self, until: Option<Instant>, crowd: &Crowd) -> Pause {
        let silence = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        if !self.0.ahead.is_empty() {
            return Pause::Unasked;
        }
        tokio::select! {
            read = self.0.stream.read_buf(&mut self.0.ahead) => match read {
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
            self.0.ahead.clear();
            tokio::select! {
                read = timeout_at(limit, self.0.stream.read_buf(&mut self.0.ahead)) => match read {
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
