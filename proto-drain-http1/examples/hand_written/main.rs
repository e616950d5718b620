//! A hand-written HTTP/1 server on a real socket that drains: the rule, the staged close and the
//! one driver.
//!
//! Run it, then in another terminal: `curl -v http://127.0.0.1:8080/ http://127.0.0.1:8080/`.
//! Ctrl-C drains; connections are told with their next response, idle ones are closed one second
//! before the end of the ten.

mod server;

use std::io;
use std::time::Duration;

use drain_signal::{DrainEvent, DrainReason, DrainStrategy, drive};
use proto_drain_http1::{CloseCounters, Http1Connection, Http1Settings, LingerIo, LingerSettings};
use server::Connection;
use tokio::net::TcpListener;
use tokio::time::Instant;

const DRAIN_TIME: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    let counters = CloseCounters::new();
    let (trigger, signal) = drain_signal::channel();
    let accept = async {
        loop {
            let Ok((socket, peer)) = listener.accept().await else {
                // Out of file descriptors, most likely: connections that end give some back.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let Ok(watch) = signal.watch() else { continue };
            let io = LingerIo::new(socket, LingerSettings::default(), counters.clone())
                .with_spawner(|lingering| {
                    tokio::spawn(lingering);
                });
            let exchanges = io.exchanges().clone();
            let connection = Connection::new(io, watch.handle());
            let driven = drive(
                Http1Connection::new(connection, exchanges, Http1Settings::default()),
                watch,
            );
            tokio::spawn(async move { println!("{peer} ended: {:?}", driven.await) });
        }
    };
    tokio::select! {
        () = accept => {}
        signal = tokio::signal::ctrl_c() => signal?,
    }
    drop(listener);

    let start = Instant::now().into_std();
    let event = DrainEvent::new(start, DRAIN_TIME, DrainReason::ProcessShutdown);
    let draining = trigger.start(event.with_strategy(DrainStrategy::Immediate));
    println!("draining {} connections", draining.open_watches());
    let left = draining.pace().await;
    println!("{left} left: {counters:?}");
    Ok(())
}
