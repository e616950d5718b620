//! A TCP relay that is drained: quiet connections leave one by one, busy ones when they fall quiet
//! or at the deadline.
//!
//! `cargo run -p proto-drain-tcp --example relay -- 127.0.0.1:9000 127.0.0.1:9001`, then press
//! Ctrl-C: the relay stops accepting, drains for up to 30 s, and exits when the last connection has
//! gone.

use drain_signal::{DrainEvent, DrainReason, drive};
use proto_drain_tcp::{CopyOptions, DrainCopy, TcpDrainPolicy};
use std::{env, io, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};

#[tokio::main]
async fn main() -> io::Result<()> {
    let mut args = env::args().skip(1);
    let (Some(listen), Some(upstream)) = (args.next(), args.next()) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "usage: relay LISTEN UPSTREAM",
        ));
    };
    let listener = TcpListener::bind(listen).await?;
    let (trigger, signal) = drain_signal::channel();
    let options = CopyOptions::new().with_policy(TcpDrainPolicy::WhenQuiet(Duration::from_secs(1)));

    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            interrupted = tokio::signal::ctrl_c() => break interrupted?,
        };
        let Ok((client, peer)) = accepted else {
            // Out of file descriptors, most likely: connections that end give some back.
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (upstream, watch) = (upstream.clone(), signal.watch().map_err(io::Error::other)?);
        tokio::spawn(async move {
            match TcpStream::connect(upstream).await {
                Ok(upstream) => {
                    let closed = drive(
                        DrainCopy::new(client, upstream).with_options(options),
                        watch,
                    )
                    .await;
                    println!("{peer}: {:?}, {:?}", closed.cause, closed.output);
                }
                Err(error) => eprintln!("{peer}: no upstream: {error}"),
            }
        });
    }
    drop(listener);

    let start = Instant::now().into_std();
    let draining = trigger.start(DrainEvent::new(
        start,
        Duration::from_secs(30),
        DrainReason::ProcessShutdown,
    ));
    println!("draining {} connections", draining.open_watches());
    match draining.pace().await {
        0 => println!("all gone"),
        left => println!("time is over, {left} left"),
    }
    Ok(())
}
