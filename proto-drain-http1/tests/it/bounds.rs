//! Every step of a close has the one bound, whatever the peer does; and no more linger at a time
//! than may.

use crate::sockets;

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proto_drain_http1::{CloseCounters, LingerIo, LingerSettings, Lingering};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_test::{assert_pending, assert_ready, task};

const SECOND: Duration = Duration::from_secs(1);
/// More than any machine needs for what is to happen at once.
const PATIENCE: Duration = Duration::from_secs(60);

/// A transport that has taken everything and cannot flush it, as a TLS stream whose peer does not
/// read.
#[derive(Clone, Default)]
struct Stuck(Arc<Mutex<Wakers>>);

#[derive(Default)]
struct Wakers {
    reader: Option<Waker>,
    flusher: Option<Waker>,
    is_flushed: bool,
    half_closes: bool,
    fails: bool,
}

impl Stuck {
    fn says_something(&self) {
        self.0
            .lock()
            .unwrap()
            .reader
            .as_ref()
            .unwrap()
            .wake_by_ref();
    }

    fn takes_something(&self) {
        self.0.lock().unwrap().flusher.take().unwrap().wake();
    }
}

impl AsyncRead for Stuck {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.lock().unwrap().reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for Stuck {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wakers = self.0.lock().unwrap();
        if wakers.is_flushed {
            return Poll::Ready(Ok(()));
        }
        wakers.flusher = Some(cx.waker().clone());
        Poll::Pending
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wakers = self.0.lock().unwrap();
        if wakers.fails {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if wakers.half_closes {
            return Poll::Ready(Ok(()));
        }
        wakers.flusher = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// A transport with something written, and its counters.
async fn stuck(settings: LingerSettings) -> (LingerIo<Stuck>, Stuck, CloseCounters) {
    let (transport, counters) = (Stuck::default(), CloseCounters::new());
    let mut io = LingerIo::new(transport.clone(), settings, counters.clone());
    io.write_all(b"a part of a response").await.unwrap();
    (io, transport, counters)
}

#[tokio::test(start_paused = true)]
async fn a_flush_without_progress_ends_after_the_timeout_whoever_waits_for_it() {
    for (timeout, bound) in [(3 * SECOND, 3 * SECOND), (Duration::ZERO, SECOND)] {
        let settings = LingerSettings::default().with_delayed_close_timeout(timeout);
        let (mut io, _, counters) = stuck(settings).await;
        let start = Instant::now();
        assert_eq!(
            io.shutdown().await.unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
        assert_eq!(start.elapsed(), bound);
        drop(io);
        assert_eq!(
            (counters.counts().stalled, counters.counts().aborted),
            (1, 0)
        );

        let (give, mut heirs) = mpsc::unbounded_channel();
        let (io, _, counters) = stuck(settings).await;
        drop(io.with_spawner(move |lingering| give.send(lingering).unwrap()));
        assert_eq!(counters.lingering(), 1);
        let start = Instant::now();
        heirs.recv().await.unwrap().await;
        assert_eq!(start.elapsed(), bound);
        assert_eq!((counters.counts().stalled, counters.lingering()), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_half_close_without_progress_ends_after_the_timeout() {
    let (mut io, transport, counters) = stuck(LingerSettings::default()).await;
    transport.0.lock().unwrap().is_flushed = true;
    let start = Instant::now();
    assert!(io.shutdown().await.is_err());
    assert_eq!(start.elapsed(), SECOND);
    assert_eq!(counters.counts().stalled, 1);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_and_takes_nothing_does_not_stretch_the_flush() {
    let (mut io, transport, counters) = stuck(LingerSettings::default()).await;
    let start = Instant::now();
    let mut closing = task::spawn(async move {
        // The reader's waker is that of the task, as on a socket that was read from before.
        let mut byte = [0];
        tokio::select! {
            biased;
            _ = io.read(&mut byte) => panic!("nothing to read"),
            () = std::future::ready(()) => {}
        }
        io.shutdown().await
    });
    assert_pending!(closing.poll());
    for _ in 0..9 {
        sleep(SECOND / 10).await;
        transport.says_something();
        assert!(closing.is_woken());
        assert_pending!(closing.poll());
    }
    assert!(closing.await.is_err());
    assert_eq!(start.elapsed(), SECOND);
    assert_eq!(counters.counts().stalled, 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_that_goes_on_taking_is_waited_for() {
    let (mut io, transport, counters) = stuck(LingerSettings::default()).await;
    let start = Instant::now();
    let closing = tokio::spawn(async move { io.shutdown().await });
    for _ in 0..10 {
        sleep(SECOND * 9 / 10).await;
        transport.takes_something();
    }
    sleep(SECOND / 2).await;
    {
        let mut wakers = transport.0.lock().unwrap();
        (wakers.is_flushed, wakers.half_closes) = (true, true);
    }
    transport.takes_something();
    closing.await.unwrap().unwrap();
    // Then the peer has the whole time to end its side.
    assert_eq!(start.elapsed(), 9 * SECOND + SECOND / 2 + SECOND);
    assert_eq!(
        (counters.counts().stalled, counters.counts().timed_out),
        (0, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_close_that_goes_on_in_another_task_is_woken_there() {
    let (io, transport, counters) = stuck(LingerSettings::default()).await;
    let (give, mut heirs) = mpsc::unbounded_channel();
    let mut io = io.with_spawner(move |lingering| give.send(lingering).unwrap());
    // The owner's task is dropped at the deadline, in the middle of the flush.
    let mut closing = task::spawn(async { io.shutdown().await });
    assert_pending!(closing.poll());
    drop(closing);
    drop(io);
    let mut lingering = task::spawn(heirs.recv().await.unwrap());
    assert_pending!(lingering.poll());
    {
        let mut wakers = transport.0.lock().unwrap();
        (wakers.is_flushed, wakers.half_closes) = (true, true);
    }
    transport.takes_something();
    assert!(lingering.is_woken());
    lingering.await;
    assert_eq!(
        (counters.counts().stalled, counters.counts().timed_out),
        (0, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_half_close_that_fails_is_an_abort() {
    let (io, transport, counters) = stuck(LingerSettings::default()).await;
    let mut io = io.with_spawner(|_| panic!("nothing more can be delivered"));
    {
        let mut wakers = transport.0.lock().unwrap();
        (wakers.is_flushed, wakers.fails) = (true, true);
    }
    assert_eq!(
        io.shutdown().await.unwrap_err().kind(),
        io::ErrorKind::BrokenPipe
    );
    assert_eq!(counters.counts().aborted, 1);
    // It is counted once.
    drop(io);
    assert_eq!(counters.counts().aborted, 1);
}

/// A connection with a response on it, and its client.
async fn answered(
    settings: LingerSettings,
    counters: &CloseCounters,
) -> (LingerIo<DuplexStream>, DuplexStream) {
    let (server, client) = duplex(1024);
    let mut io = LingerIo::new(server, settings, counters.clone());
    io.write_all(b"response").await.unwrap();
    (io, client)
}

#[tokio::test(start_paused = true)]
async fn no_more_linger_at_a_time_than_may() {
    let settings = LingerSettings::default().with_max_lingering(2);
    let counters = CloseCounters::new();
    let (give, mut heirs) = mpsc::unbounded_channel::<Lingering<DuplexStream>>();
    let mut clients = Vec::new();
    for _ in 0..2 {
        let (io, client) = answered(settings, &counters).await;
        let give = give.clone();
        drop(io.with_spawner(move |lingering| give.send(lingering).unwrap()));
        clients.push(client);
    }
    assert_eq!(counters.lingering(), 2);

    // One more is dropped, another one is shut down by its owner: both are closed at once.
    let (io, mut third) = answered(settings, &counters).await;
    drop(io.with_spawner(|_| panic!("no place")));
    let mut response = String::new();
    third.read_to_string(&mut response).await.unwrap();
    assert_eq!(response, "response");
    let (mut io, _fourth) = answered(settings, &counters).await;
    let start = Instant::now();
    io.shutdown().await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!((counters.counts().refused, counters.lingering()), (2, 2));

    // A place that is free again is taken again.
    drop(clients.pop());
    drop(clients.pop());
    for _ in 0..2 {
        heirs.recv().await.unwrap().await;
    }
    assert_eq!((counters.counts().staged, counters.lingering()), (2, 0));
    let (mut io, fifth) = answered(settings, &counters).await;
    let mut closing = task::spawn(async { io.shutdown().await });
    assert_pending!(closing.poll());
    assert_eq!(counters.lingering(), 1);
    drop(fifth);
    assert_ready!(closing.poll()).unwrap();
    assert_eq!((counters.counts().staged, counters.lingering()), (3, 0));
}

/// Fills a TLS connection until nothing more is taken, and gives its client.
async fn full_tls(
    counters: &CloseCounters,
) -> (
    LingerIo<tokio_rustls::server::TlsStream<tokio::net::TcpStream>>,
    tokio_rustls::client::TlsStream<tokio::net::TcpStream>,
) {
    let settings = LingerSettings::default().with_delayed_close_timeout(Duration::from_millis(100));
    let (client, server) = sockets::tls_connection().await;
    let mut io =
        LingerIo::new(server, settings, counters.clone()).with_tcp(|tls| Some(tls.get_ref().0));
    let block = vec![b'r'; 64 * 1024];
    // Taken without end by nobody: the kernels' buffers and that of TLS are full when a write waits
    // that long.
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(300), io.write(&block)).await
    {
        written.unwrap();
    }
    (io, client)
}

#[tokio::test]
async fn tls_clients_that_do_not_read_leave_nothing_behind() {
    const CLIENTS: u64 = 20;
    let counters = CloseCounters::new();
    let (give, mut heirs) = mpsc::unbounded_channel();
    let mut opened = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let counters = counters.clone();
        opened.spawn(async move { full_tls(&counters).await });
    }
    let mut clients = Vec::new();
    while let Some(open) = opened.join_next().await {
        let (io, client) = open.unwrap();
        let give = give.clone();
        // The deadline drops half of them; the other half is being closed by their servers.
        let io = io.with_spawner(move |lingering| give.send(tokio::spawn(lingering)).unwrap());
        if clients.len() % 2 == 0 {
            drop(io);
        } else {
            let mut io = io;
            let closed = tokio::time::timeout(PATIENCE, io.shutdown()).await.unwrap();
            assert_eq!(closed.unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
        clients.push(client);
    }
    for _ in 0..CLIENTS / 2 {
        let task = heirs.recv().await.unwrap();
        tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap();
    }
    assert_eq!(
        (counters.counts().stalled, counters.lingering()),
        (CLIENTS, 0)
    );
    // Nor in the kernel: each was reset, and sees that its response is not whole.
    for mut client in clients {
        let end = client.read_to_end(&mut Vec::new()).await;
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}
