//! A hundred connections leave one after the other in the first quarter of a two-second drain.
//!
//! `cargo run -p drain-signal --features tokio --example slots`

use std::time::Duration;

use drain_signal::{DrainCompleted, DrainEvent, DrainReason};
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
    match draining.pace().await {
        0 => println!("{:>4} ms: drained", start.elapsed().as_millis()),
        left => println!("deadline, {left} left"),
    }
    Ok(())
}
