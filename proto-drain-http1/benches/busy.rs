//! What does taking part in a drain cost a busy HTTP/1 connection, per request, while nothing
//! drains?
//!
//! One kept-alive connection per case, one client that knows only how long an answer is. Over
//! loopback TCP, as a server does it; and over a pipe in memory, where nothing but hyper, the
//! client and the wrapper is left to measure. In turns of a few hundred requests, so that a busy
//! neighbour disturbs all cases alike; the result is the median of the ratios of neighbouring
//! turns. `cargo bench -p proto-drain-http1 --bench busy --features hyper,tower -- [--json FILE]
//! [--quick]`.
//!
//! Instructions do not depend on the neighbours: the part `instructions` starts this program as
//! `--count CASE N`, which serves N requests over the pipe, under callgrind; the difference of two
//! runs, divided by the difference of their N, is the cost, with that of the client in it.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use drain_signal::{DrainSignal, Goodbye, GracefulClose, drive};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proto_drain_http1::{
    CloseCounters, DrainService, GracefulShutdown, Http1Connection, Http1Settings, LingerIo,
    LingerSettings,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use measure::{Program, Row, Target, instructions, median};

const REQUEST: &[u8] =
    b"GET /some/path?with=query HTTP/1.1\r\nhost: example.test\r\nuser-agent: bench\r\naccept: */*\r\n\r\n";

#[derive(Clone, Copy)]
enum Case {
    /// hyper alone.
    Plain,
    /// hyper under drain-signal's driver, asked to shut down and nothing else.
    Driven,
    /// The same with everything of this crate.
    Whole,
}

const CASES: [(&str, Case); 3] = [
    ("plain hyper", Case::Plain),
    ("drive", Case::Driven),
    ("whole wrapper", Case::Whole),
];

async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(
        b"hello, world",
    ))))
}

/// hyper's connection with no more than its own graceful shutdown.
struct ShutDown<C>(C);

impl<C: Future + Unpin> Future for ShutDown<C> {
    type Output = C::Output;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<C: GracefulShutdown + Unpin> GracefulClose for ShutDown<C> {
    fn start(mut self: Pin<&mut Self>, _: &Goodbye) {
        Pin::new(&mut self.0).graceful_shutdown();
    }
    fn finish(self: Pin<&mut Self>) {}
    fn abort(self: Pin<&mut Self>) {}
}

/// What the bytes go over.
#[derive(Clone, Copy)]
enum Over {
    Loopback,
    Pipe,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

fn serve(case: Case, server: impl Stream + 'static, signal: &DrainSignal) {
    let builder = http1::Builder::new();
    match case {
        Case::Plain => {
            let connection = builder.serve_connection(TokioIo::new(server), service_fn(hello));
            tokio::spawn(connection);
        }
        Case::Driven => {
            let connection = builder.serve_connection(TokioIo::new(server), service_fn(hello));
            tokio::spawn(drive(ShutDown(connection), signal.watch().unwrap()));
        }
        Case::Whole => {
            let watch = signal.watch().unwrap();
            let io = LingerIo::new(server, LingerSettings::default(), CloseCounters::new())
                .with_spawner(|lingering| drop(tokio::spawn(lingering)));
            let exchanges = io.exchanges().clone();
            let service = DrainService::new(service_fn(hello), watch.handle(), exchanges.clone());
            let connection = builder.serve_connection(TokioIo::new(io), service);
            let connection = Http1Connection::new(connection, exchanges, Http1Settings::default());
            tokio::spawn(drive(connection, watch));
        }
    }
}

/// A connection that is being served, from the client's side.
struct Client {
    io: Box<dyn Stream>,
    answer: Vec<u8>,
}

impl Client {
    async fn connect(over: Over, case: Case, signal: &DrainSignal) -> Self {
        let io: Box<dyn Stream> = match over {
            Over::Pipe => {
                let (io, server) = duplex(16 * 1024);
                serve(case, server, signal);
                Box::new(io)
            }
            Over::Loopback => {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let io = TcpStream::connect(listener.local_addr().unwrap())
                    .await
                    .unwrap();
                let server = listener.accept().await.unwrap().0;
                io.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                serve(case, server, signal);
                Box::new(io)
            }
        };
        let mut client = Self {
            io,
            answer: Vec::new(),
        };
        client.learn().await;
        client
    }

    /// The first exchange tells how long an answer is.
    async fn learn(&mut self) {
        self.io.write_all(REQUEST).await.unwrap();
        while !self.answer.ends_with(b"hello, world") {
            self.io.read_buf(&mut self.answer).await.unwrap();
        }
    }

    async fn exchange(&mut self, times: usize) {
        for _ in 0..times {
            self.io.write_all(REQUEST).await.unwrap();
            self.io.read_exact(&mut self.answer).await.unwrap();
        }
    }
}

/// Each case in turn, over the same kind of stream.
fn compare(runtime: &Runtime, over: (&str, Over), signal: &DrainSignal, quick: bool) -> Vec<Row> {
    let (turns, times) = if quick { (3, 10) } else { (1500, 250) };
    let connect =
        |(_, case): &(&str, Case)| runtime.block_on(Client::connect(over.1, *case, signal));
    let mut clients: Vec<Client> = CASES.iter().map(connect).collect();
    let mut took = vec![Vec::with_capacity(turns); CASES.len()];
    for turn in 0..turns {
        // Each case is the first in its turn: what one finds in the caches is not always the same
        // one's.
        for at in (0..CASES.len()).map(|at| (at + turn) % CASES.len()) {
            let began = Instant::now();
            runtime.block_on(clients[at].exchange(times));
            took[at].push(began.elapsed().as_secs_f64() * 1e9 / times as f64);
        }
    }
    let floor = median(took[0].clone());
    let target = match over.1 {
        Over::Loopback => Target::Ratio(1.02),
        Over::Pipe => Target::None,
    };
    (1..CASES.len())
        .map(|at| {
            let ratios = took[at]
                .iter()
                .zip(&took[0])
                .map(|(ours, floor)| ours / floor);
            Row {
                row: format!(
                    "a request of a busy HTTP/1 connection, {}, {}",
                    CASES[at].0, over.0
                ),
                unit: "ns",
                value: median(took[at].clone()),
                floor_name: CASES[0].0,
                floor,
                ratio: median(ratios.collect()),
                target,
                peers: vec![],
            }
        })
        .collect()
}

/// Over the pipe, the client included.
fn counted(runtime: &Runtime, signal: &DrainSignal, quick: bool) -> Vec<Row> {
    if quick {
        (0..CASES.len()).for_each(|case| count(runtime, signal, case, 10));
        return vec![];
    }
    let (few, many): (usize, usize) = (200, 2_200);
    let counts: Vec<f64> = (0..CASES.len())
        .map(|case| {
            let count = |times: usize| {
                instructions(["--count", &case.to_string(), &times.to_string()]).unwrap_or(f64::NAN)
            };
            (count(many) - count(few)) / (many - few) as f64
        })
        .collect();
    let row = |case: usize, target| Row {
        row: format!(
            "a request of a busy HTTP/1 connection, {}, client included: instructions",
            CASES[case].0
        ),
        unit: "instructions",
        value: counts[case],
        floor_name: CASES[0].0,
        floor: counts[0],
        ratio: counts[case] / counts[0],
        target,
        peers: vec![],
    };
    vec![row(1, Target::None), row(2, Target::Ratio(1.03))]
}

fn count(runtime: &Runtime, signal: &DrainSignal, case: usize, times: usize) {
    runtime.block_on(async {
        let mut client = Client::connect(Over::Pipe, CASES[case].1, signal).await;
        client.exchange(times).await;
    });
}

type Part<'a> = Box<dyn FnOnce() -> Vec<Row> + 'a>;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (_trigger, signal) = drain_signal::channel();
    let after = |flag: &str| args.iter().position(|arg| arg == flag).map(|at| at + 1);
    if let Some(at) = after("--count") {
        let number = |at: usize| args[at].parse().unwrap();
        count(&runtime, &signal, number(at), number(at + 1));
        return;
    }
    let program = Program::from_args();
    let (runtime, signal, quick) = (&runtime, &signal, program.quick);
    let timed = |over| move || compare(runtime, over, signal, quick);
    let parts: [(_, Part<'_>); 3] = [
        (
            "loopback",
            Box::new(timed(("loopback TCP", Over::Loopback))),
        ),
        ("pipe", Box::new(timed(("pipe in memory", Over::Pipe)))),
        ("instructions", Box::new(|| counted(runtime, signal, quick))),
    ];
    program.report(parts);
}
