//! A hundred connections leave one after the other in the first quarter of a two-second drain.
//!
//! `cargo run -p drain-signal --example slots`

use std::time::Duration;

use drain_signal::{DrainCompleted, DrainEvent, DrainReason, Draining};
use tokio::time::Instant;

#[tokio::main]
async fn main() -> Result<(), DrainCompleted> {
    let (trigger, signal) = drain_signal::channel();
    let start = Instant::now();
    for number in 0..100 {
        let connection = signal.watch()?;
        tokio::spawn(async move {
            connection.signaled().await;
            println!(
                "{:>4} ms: connection {number} says goodbye",
                start.elapsed().as_millis()
            );
        });
    }
    let event = DrainEvent::new(
        start.into_std(),
        Duration::from_secs(2),
        DrainReason::ProcessShutdown,
    );
    let draining = trigger.start(event);
    tokio::select! {
        () = draining.drained() => println!("{:>4} ms: drained", start.elapsed().as_millis()),
        () = pace(&draining) => println!("deadline, {} left", draining.open_watches()),
    }
    Ok(())
}

/// Whoever owns time drives the drain; with tokio this is all it takes.
async fn pace(draining: &Draining) {
    loop {
        let step = draining.advance(Instant::now().into_std());
        match step.next {
            _ if step.more => tokio::task::yield_now().await,
            Some(next) => tokio::time::sleep_until(next.into()).await,
            None => return,
        }
    }
}
