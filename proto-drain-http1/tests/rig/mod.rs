//! One hyper connection over a pipe, under a drain of its own, with the clock in the test's hands.
//! What the client reads is compared as text and in parts, which is why the HTTP/1 reader of
//! `xtask/lab/rig` is not used.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use drain_signal::{
    Closed, DrainEvent, DrainReason, DrainSignal, DrainStrategy, DrainTrigger, drive,
};
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proto_drain_http1::{
    Activity, ActivityObserver, CloseCounters, DrainService, Exchanges, Http1Connection,
    Http1Settings, LingerIo, LingerSettings, Outcome,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub type Body = BoxBody<Bytes, std::io::Error>;
pub type Answer = Result<Response<Body>, std::io::Error>;
pub type Served = Closed<Outcome<hyper::Result<()>>>;

/// Longer than anything else here: 60 s, so finish is at 59 s and abort at 60 s after the start.
pub const DRAIN_TIME: Duration = Duration::from_secs(60);

pub struct Rig {
    pub client: DuplexStream,
    pub served: JoinHandle<Served>,
    pub counters: CloseCounters,
    pub exchanges: Exchanges,
    pub signal: DrainSignal,
    pub activities: Arc<Mutex<Vec<Activity>>>,
    trigger: Option<DrainTrigger>,
    pub start: Instant,
}

#[derive(Clone)]
struct Noted(Arc<Mutex<Vec<Activity>>>);

impl ActivityObserver for Noted {
    fn activity(&self, activity: Activity) {
        self.0.lock().unwrap().push(activity);
    }
}

impl Rig {
    /// Serves with `answer`; hyper's defaults.
    pub fn serve<F>(
        settings: Http1Settings,
        answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        Self::serve_with(&http1::Builder::new(), settings, answer)
    }

    pub fn serve_with<F>(
        builder: &http1::Builder,
        settings: Http1Settings,
        answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        Self::serve_over(builder, settings, |io| io, answer)
    }

    /// With a transport that lingers in a task when it is dropped.
    pub fn serve_lingering<F>(
        builder: &http1::Builder,
        settings: Http1Settings,
        answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let spawning = |io: LingerIo<DuplexStream>| {
            io.with_spawner(|lingering| {
                tokio::spawn(lingering);
            })
        };
        Self::serve_over(builder, settings, spawning, answer)
    }

    fn serve_over<F>(
        builder: &http1::Builder,
        settings: Http1Settings,
        transport: impl FnOnce(LingerIo<DuplexStream>) -> LingerIo<DuplexStream>,
        answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let (trigger, signal) = drain_signal::channel();
        let (client, server) = duplex(64 * 1024);
        let counters = CloseCounters::new();
        let activities = Arc::new(Mutex::new(Vec::new()));
        let exchanges = Exchanges::with_observer(Noted(Arc::clone(&activities)));
        let watch = signal.watch().unwrap();
        let io = LingerIo::new(server, LingerSettings::default(), counters.clone())
            .with_exchanges(exchanges.clone());
        let io = transport(io);
        let service = DrainService::new(service_fn(answer), watch.handle(), exchanges.clone());
        let connection = builder
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades();
        let served = tokio::spawn(drive(
            Http1Connection::new(connection, exchanges.clone(), settings),
            watch,
        ));
        let start = Instant::now();
        Self {
            client,
            served,
            counters,
            exchanges,
            signal,
            activities,
            trigger: Some(trigger),
            start,
        }
    }

    /// Starts a drain whose slots are all now, and lets it be advanced by the clock.
    pub async fn drain(&mut self) {
        settle().await;
        self.start = Instant::now();
        begin(self.trigger.take().unwrap());
        settle().await;
    }

    pub async fn send(&mut self, bytes: &str) {
        self.client.write_all(bytes.as_bytes()).await.unwrap();
        settle().await;
    }

    /// Reads up to and with `end`.
    pub async fn read_until(&mut self, end: &str) -> String {
        let mut got = Vec::new();
        while !got.ends_with(end.as_bytes()) {
            let byte = self.client.read_u8().await;
            match byte {
                Ok(byte) => got.push(byte),
                Err(_) => panic!("end of stream after {:?}", String::from_utf8_lossy(&got)),
            }
        }
        String::from_utf8(got).unwrap()
    }

    /// One request with the answer `ok`, which must come.
    pub async fn exchange(&mut self) -> String {
        self.send(GET).await;
        self.read_until("\r\n\r\nok").await
    }

    /// Everything up to the server's FIN.
    pub async fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.client.read_to_string(&mut rest).await.unwrap();
        rest
    }

    /// Time since the drain began.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Closes the client's side and gives the connection's end.
    pub async fn end(self) -> (Served, CloseCounters) {
        drop(self.client);
        (self.served.await.unwrap(), self.counters)
    }
}

/// Starts a drain whose slots are all now, and lets it be advanced by the clock.
pub fn begin(trigger: DrainTrigger) {
    let event = DrainEvent::new(
        Instant::now().into_std(),
        DRAIN_TIME,
        DrainReason::ListenerModify,
    )
    .with_strategy(DrainStrategy::Immediate);
    let draining = trigger.start(event);
    tokio::spawn(async move {
        loop {
            let advance = draining.advance(Instant::now().into_std());
            match advance.next {
                _ if advance.more => tokio::task::yield_now().await,
                Some(next) => tokio::time::sleep_until(next.into()).await,
                None => break,
            }
        }
    });
}

pub const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// Answers everything with `ok`.
pub async fn ok(_: Request<Incoming>) -> Answer {
    Ok(Response::new(full("ok")))
}

pub fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into())
        .map_err(|never| match never {})
        .boxed()
}

/// Lets every task that can run do so, without moving the clock.
pub async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// `bytes` of body, then an error that makes hyper drop the connection.
pub fn failing_after(bytes: usize) -> Body {
    struct Failing(Option<Bytes>, usize);
    impl hyper::body::Body for Failing {
        type Data = Bytes;
        type Error = std::io::Error;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
            if let Some(bytes) = self.0.take() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            // Some polls in between: hyper flushes before it hears of the error.
            self.1 += 1;
            if self.1 < 10 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(Some(Err(std::io::Error::other("the upstream is gone"))))
        }
    }
    BodyExt::boxed(Failing(Some(vec![b'r'; bytes].into()), 0))
}

/// A body that never ends by itself, fed by the test.
pub fn streaming(frames: mpsc::UnboundedReceiver<&'static str>) -> Body {
    let stream = futures_util::stream::unfold(frames, |mut frames| async move {
        frames
            .recv()
            .await
            .map(|text| (Ok::<_, std::io::Error>(Frame::data(text.into())), frames))
    });
    BodyExt::boxed(StreamBody::new(SyncStream(Box::pin(stream))))
}

/// `BoxBody` wants `Sync`, which the stream of this test is.
struct SyncStream<S>(Pin<Box<S>>);
impl<S: futures_util::Stream> futures_util::Stream for SyncStream<S> {
    type Item = S::Item;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}
