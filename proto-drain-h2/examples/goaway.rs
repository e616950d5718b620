//! Serves HTTP/2 (and HTTP/1) on a port, drains on Enter, and prints what each connection goes
//! through.
//!
//! ```text
//! cargo run -p proto-drain-h2 --example goaway --features hyper-util
//! curl --http2-prior-knowledge http://127.0.0.1:8080/   # or: nghttp -v http://127.0.0.1:8080/
//! ```

use bytes::Bytes;
use drain_signal::{DrainEvent, DrainReason, drive};
use http::Response;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use proto_drain_h2::{H2Drain, H2DrainSettings, H2Phase};
use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::time::Instant;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let listener = TcpListener::bind(&address).await?;
    println!("serving {address}; Enter drains");
    let drain = H2Drain::new(H2DrainSettings::default());
    let (trigger, signal) = drain_signal::channel();
    let mut enter = BufReader::new(tokio::io::stdin()).lines();

    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _line = enter.next_line() => break,
        };
        let Ok((socket, peer)) = accepted else {
            // Out of file descriptors, most likely: connections that end give some back.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let connection = drain.connection(socket, |io, parts| {
            let service = parts.service(service_fn(|_request| async {
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello\n"))))
            }));
            auto::Builder::new(TokioExecutor::new())
                .serve_connection_with_upgrades(TokioIo::new(io), service)
                .into_owned()
        });
        let handle = connection.handle().clone();
        let watch = signal.watch()?;
        tokio::spawn(async move {
            let closed = drive(connection, watch).await;
            println!("{peer}: {}", closed.cause.as_str());
        });
        tokio::spawn(async move {
            println!("{peer}: speaks {:?}", handle.protocol_known().await);
            for phase in [H2Phase::Noticed, H2Phase::GoingAway, H2Phase::Closed] {
                println!("{peer}: {}", handle.reached(phase).await);
            }
        });
    }

    // No more connections; the present ones get their first GOAWAY over the next 7.5 s and have 30
    // s altogether.
    drop(listener);
    let event = DrainEvent::new(
        Instant::now().into_std(),
        Duration::from_secs(30),
        DrainReason::ProcessShutdown,
    );
    match trigger.start(event).pace().await {
        0 => println!("drained"),
        left => println!("deadline, {left} left"),
    }
    Ok(())
}
