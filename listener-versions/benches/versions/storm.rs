//! How long a new connection takes until it is answered, while its listener's updates come one after
//! the other, against as many updates of listeners that have no clients, and against none.
//!
//! Client, worker and updates have a thread each. Where there are fewer processors than threads, an
//! update of any listeners keeps a connection waiting, as everything does that needs a processor.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use listener_versions::{Accepted, Listeners, Update};

use crate::config::{Config, listeners, port, runtime};
use measure::{Row, Target, median};

/// Time between two updates of a storm: 500 a second.
const PAUSE: Duration = Duration::from_millis(2);

/// Says one byte to each client.
fn greet(accepted: Accepted<Config>) {
    if let Ok(stream) = accepted.stream.into_tcp() {
        stream.try_write(b"!").expect("there is room for a byte");
    }
}

/// What is updated.
#[derive(Clone, Copy)]
enum Blows {
    Nowhere,
    /// On listeners that have no clients.
    Elsewhere,
    Here,
}

struct Storm {
    listeners: Listeners<Config>,
    /// A [`Blows`].
    blows: Arc<AtomicUsize>,
    ends: Arc<AtomicBool>,
    updater: JoinHandle<u64>,
    worker: JoinHandle<()>,
}

impl Storm {
    fn new() -> Self {
        let time = Duration::from_secs(600);
        let ((listeners, driver), (others, driver_of_others)) = (listeners(time), listeners(time));
        let worker = listeners.worker();
        let (blows, ends) = (
            Arc::new(AtomicUsize::new(Blows::Nowhere as usize)),
            Arc::new(AtomicBool::new(false)),
        );
        let updater = runtime();
        updater.spawn(driver);
        updater.spawn(driver_of_others);
        updater.block_on(update(&listeners, 0));
        let updates = {
            let (listeners, blows, ends) =
                (listeners.clone(), Arc::clone(&blows), Arc::clone(&ends));
            async move {
                let mut content = 0;
                while !ends.load(Ordering::Relaxed) {
                    tokio::time::sleep(PAUSE).await;
                    let blows = blows.load(Ordering::Relaxed);
                    if blows == Blows::Nowhere as usize {
                        continue;
                    }
                    let is_here = blows == Blows::Here as usize;
                    let updated = if is_here { &listeners } else { &others };
                    content += 1;
                    update(updated, content).await;
                }
                content
            }
        };
        Self {
            listeners,
            blows,
            ends,
            updater: std::thread::spawn(move || updater.block_on(updates)),
            worker: std::thread::spawn(move || runtime().block_on(worker.run(greet))),
        }
    }

    /// Microseconds from `connect` to the first byte, of so many connections one after the other,
    /// spread over the loopback network.
    fn connections(&self, count: usize) -> Vec<f64> {
        let port = port(&self.listeners, "ingress");
        let one = |index: usize| {
            let address = SocketAddr::from(([127, 0, 1, (index % 250 + 1) as u8], port));
            let began = Instant::now();
            let mut client = TcpStream::connect(address).expect("neither refused nor reset");
            client.read_exact(&mut [0]).expect("it is answered");
            began.elapsed().as_secs_f64() * 1e6
        };
        (0..count).map(one).collect()
    }

    fn end(self) -> u64 {
        self.ends.store(true, Ordering::Relaxed);
        let updates = self.updater.join().expect("no update failed");
        drop(self.listeners);
        self.worker.join().expect("it ends");
        updates
    }
}

async fn update(listeners: &Listeners<Config>, content: u64) {
    let update = Update::lds("v", [Config::new("ingress", content)]);
    assert!(listeners.apply(update).await.is_success());
}

fn p99(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() * 99 / 100]
}

pub(crate) fn rows(quick: bool) -> Vec<Row> {
    let (rounds, count) = if quick { (1, 200) } else { (21, 5_000) };
    let storm = Storm::new();
    let mut values: [Vec<f64>; 3] = Default::default();
    for round in 0..=rounds {
        let all = [Blows::Nowhere, Blows::Elsewhere, Blows::Here];
        for (blows, values) in all.into_iter().zip(&mut values) {
            storm.blows.store(blows as usize, Ordering::Relaxed);
            let value = p99(storm.connections(count));
            // The first round warms up.
            if round > 0 {
                values.push(value);
            }
        }
    }
    let updates = storm.end();
    assert!(updates > 0);
    let row = |row: &str, floor_name, floor: Blows| {
        let (with, without) = (&values[Blows::Here as usize], &values[floor as usize]);
        let ratios = with
            .iter()
            .zip(without)
            .map(|(with, without)| with / without);
        Row {
            row: format!("storm: {row}"),
            unit: "us",
            value: median(with.clone()),
            floor_name,
            floor: median(without.clone()),
            ratio: median(ratios.collect()),
            target: Target::Ratio(1.2),
            peers: vec![],
        }
    };
    vec![
        row(
            "p99 of a new connection, 500 updates a second",
            "no update",
            Blows::Nowhere,
        ),
        row(
            "the same beside updates of others",
            "as many of other listeners",
            Blows::Elsewhere,
        ),
    ]
}
