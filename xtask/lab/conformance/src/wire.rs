//! A raw client: it writes bytes, and notes with a time stamp each head, frame, FIN and RST that
//! comes back.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::{h1, h2};

/// What the client takes the server's bytes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speak {
    Http1,
    Http2,
    Bytes,
}

/// One thing that came from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// The head of an HTTP/1 response.
    Head {
        status: u16,
        close: bool,
        version: u32,
    },
    /// An HTTP/1 response's body is complete.
    Body(Vec<u8>),
    Headers {
        stream: u32,
        status: u16,
        end: bool,
    },
    Data {
        stream: u32,
        bytes: Vec<u8>,
        end: bool,
    },
    GoAway {
        last: u32,
        code: u32,
    },
    StreamReset {
        stream: u32,
        code: u32,
    },
    /// Bytes of a tunnel, or a part of a body.
    Bytes(usize),
    Fin,
    Reset,
}

impl What {
    pub(crate) const fn ends(&self) -> bool {
        matches!(self, Self::Fin | Self::Reset)
    }

    pub(crate) const fn says_close(&self) -> bool {
        matches!(self, Self::Head { close: true, .. })
    }

    pub(crate) const fn is_goaway(&self) -> bool {
        matches!(self, Self::GoAway { .. })
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) what: What,
}

/// What a client has seen so far.
#[derive(Debug)]
struct Log {
    seen: Mutex<Vec<Seen>>,
    count: watch::Sender<usize>,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, what: What) {
        let at = Instant::now();
        let count = {
            let mut seen = self.lock();
            seen.push(Seen { at, what });
            seen.len()
        };
        self.count.send_replace(count);
    }
}

/// A connection from the client's side.
pub(crate) struct Client {
    log: Arc<Log>,
    writer: Writer,
    next_stream: Mutex<u32>,
    reader: JoinHandle<()>,
}

type Writer = Arc<tokio::sync::Mutex<Box<dyn Write>>>;

/// One direction of a connection of any kind.
trait Read: AsyncRead + Send + Unpin + 'static {}
impl<T: AsyncRead + Send + Unpin + 'static> Read for T {}
trait Write: AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncWrite + Send + Unpin + 'static> Write for T {}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.seen()).finish()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Client {
    pub(crate) async fn open(to: SocketAddr, speak: Speak) -> std::io::Result<Self> {
        Self::open_from(Ipv4Addr::LOCALHOST, to, speak).await
    }

    /// Connects from one of the loopback addresses.
    pub(crate) async fn open_from(
        from: Ipv4Addr,
        to: SocketAddr,
        speak: Speak,
    ) -> std::io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let connecting = timeout(Duration::from_secs(3), socket.connect(to));
        let stream = connecting
            .await
            .map_err(|_| std::io::ErrorKind::TimedOut)??;
        Ok(Self::over(stream, speak).await)
    }

    /// Over a stream that was opened elsewhere.
    pub(crate) async fn on(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        speak: Speak,
    ) -> Self {
        let (read, write) = tokio::io::split(stream);
        Self::over_halves(read, write, speak).await
    }

    /// Connects to a Unix socket.
    pub(crate) async fn open_unix(path: &Path, speak: Speak) -> std::io::Result<Self> {
        let (read, write) = UnixStream::connect(path).await?.into_split();
        Ok(Self::over_halves(read, write, speak).await)
    }

    async fn over(stream: TcpStream, speak: Speak) -> Self {
        // Without it the time stamps would be off; a client that cannot have it is only less exact.
        stream.set_nodelay(true).ok();
        let (read, write) = stream.into_split();
        Self::over_halves(read, write, speak).await
    }

    async fn over_halves(read: impl Read, write: impl Write, speak: Speak) -> Self {
        let writer: Writer = Arc::new(tokio::sync::Mutex::new(Box::new(write)));
        let (count, _) = watch::channel(0);
        let log = Arc::new(Log {
            seen: Mutex::default(),
            count,
        });
        let client = Self {
            log: Arc::clone(&log),
            writer: Arc::clone(&writer),
            next_stream: Mutex::new(1),
            reader: tokio::spawn(read_on(read, speak, log, writer)),
        };
        if speak == Speak::Http2 {
            client.send(&rig::h2::preface(h2::WINDOW)).await;
        }
        client
    }

    /// Writes; whether the kernel took it.
    pub(crate) async fn send(&self, bytes: &[u8]) -> bool {
        write(&self.writer, bytes).await
    }

    /// Sends FIN and goes on reading.
    pub(crate) async fn half_close(&self) {
        // The connection may be gone already: then there is nothing left to close.
        self.writer.lock().await.shutdown().await.ok();
    }

    /// An HTTP/1 request without a body, not waited for.
    pub(crate) async fn get(&self, path: &str) -> bool {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes())
            .await
    }

    /// An HTTP/1 request, and the head of its response once the body is complete.
    pub(crate) async fn ask(&self, path: &str) -> Option<What> {
        let from = self.len();
        if !self.get(path).await {
            return None;
        }
        let patience = Duration::from_secs(3);
        self.wait(from, patience, |what| {
            matches!(what, What::Body(_)) || what.ends()
        })
        .await;
        let seen = self.seen();
        let (head, body) = (seen.get(from)?, seen.get(from..)?);
        body.iter()
            .any(|seen| matches!(seen.what, What::Body(_)))
            .then(|| head.what.clone())
    }

    /// An HTTP/2 request without a body, not waited for; its stream.
    pub(crate) async fn stream(&self, path: &str) -> u32 {
        let stream = self.take_stream();
        self.send(&rig::h2::request("GET", path, stream, true))
            .await;
        stream
    }

    pub(crate) fn take_stream(&self) -> u32 {
        let mut next = self
            .next_stream
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let stream = *next;
        *next += 2;
        stream
    }

    /// The last stream that was opened.
    pub(crate) fn last_stream(&self) -> u32 {
        let next = *self
            .next_stream
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        next.saturating_sub(2)
    }

    /// An HTTP/2 request; whether its response came to its end.
    pub(crate) async fn ask_stream(&self, path: &str) -> bool {
        let from = self.len();
        let stream = self.stream(path).await;
        let ended = |what: &What| what.ends() || h2::is_end(what, stream);
        let end = self.wait(from, Duration::from_secs(3), ended).await;
        end.is_some_and(|seen| h2::is_end(&seen.what, stream))
    }

    pub(crate) fn len(&self) -> usize {
        self.log.lock().len()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.log.lock().clone()
    }

    /// The first thing of a kind.
    pub(crate) fn first(&self, is: impl Fn(&What) -> bool) -> Option<Seen> {
        self.log.lock().iter().find(|seen| is(&seen.what)).cloned()
    }

    /// When the server ended the connection, and how.
    pub(crate) fn end(&self) -> Option<Seen> {
        self.first(What::ends)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.end().is_none()
    }

    pub(crate) fn goaways(&self) -> Vec<(Instant, u32)> {
        let seen = self.log.lock();
        let goaways = seen.iter().filter_map(|seen| match seen.what {
            What::GoAway { last, .. } => Some((seen.at, last)),
            _ => None,
        });
        goaways.collect()
    }

    /// Waits for something that comes after the first `from` things.
    pub(crate) async fn wait(
        &self,
        from: usize,
        limit: Duration,
        is: impl Fn(&What) -> bool,
    ) -> Option<Seen> {
        let mut count = self.log.count.subscribe();
        let found = async {
            loop {
                count.borrow_and_update();
                let found = self
                    .log
                    .lock()
                    .iter()
                    .skip(from)
                    .find(|seen| is(&seen.what))
                    .cloned();
                if found.is_some() {
                    return found;
                }
                // The log lives as long as the client.
                count.changed().await.ok()?;
            }
        };
        timeout(limit, found).await.ok().flatten()
    }

    /// Waits until the server has ended the connection, but not for ever.
    pub(crate) async fn ended(&self, limit: Duration) -> Option<Seen> {
        self.wait(0, limit, What::ends).await
    }
}

async fn write(writer: &Writer, bytes: &[u8]) -> bool {
    let writing = async { writer.lock().await.write_all(bytes).await.is_ok() };
    timeout(Duration::from_secs(3), writing)
        .await
        .unwrap_or(false)
}

/// Reads to the end, and answers what HTTP/2 wants answered.
async fn read_on(mut half: impl Read, speak: Speak, log: Arc<Log>, writer: Writer) {
    if speak == Speak::Http1 {
        return h1::read(half, |what| log.add(what)).await;
    }
    let mut ahead = BytesMut::new();
    loop {
        match half.read_buf(&mut ahead).await {
            Ok(0) => return log.add(What::Fin),
            Err(_) => return log.add(What::Reset),
            Ok(_) => {}
        }
        match speak {
            Speak::Http2 => match h2::read(&mut ahead, |what| log.add(what)) {
                Ok(answers) if answers.is_empty() => {}
                Ok(answers) => drop(write(&writer, &answers).await),
                Err(_) => return log.add(What::Reset),
            },
            Speak::Http1 | Speak::Bytes => {
                log.add(What::Bytes(ahead.len()));
                ahead.clear();
            }
        }
    }
}
