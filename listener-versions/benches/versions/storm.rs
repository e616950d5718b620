//! How long a new connection takes until it is answered, while updates come one after the other,
//! against the same without.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

struct Storm {
    listeners: Listeners<Config>,
    blows: Arc<AtomicBool>,
    ends: Arc<AtomicBool>,
    updater: JoinHandle<u64>,
    worker: JoinHandle<()>,
}

impl Storm {
    fn new() -> Self {
        let (listeners, driver) = listeners(Duration::from_secs(600));
        let worker = listeners.worker();
        let (blows, ends) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(false)),
        );
        let updater = runtime();
        updater.spawn(driver);
        updater.block_on(async {
            assert!(
                listeners
                    .apply(Update::lds("v", [Config::new("ingress", 0)]))
                    .await
                    .is_success()
            );
        });
        let update = {
            let (listeners, blows, ends) =
                (listeners.clone(), Arc::clone(&blows), Arc::clone(&ends));
            async move {
                let mut content = 0;
                while !ends.load(Ordering::Relaxed) {
                    tokio::time::sleep(PAUSE).await;
                    if blows.load(Ordering::Relaxed) {
                        content += 1;
                        let update = Update::lds("v", [Config::new("ingress", content)]);
                        assert!(listeners.apply(update).await.is_success());
                    }
                }
                content
            }
        };
        Self {
            listeners,
            blows,
            ends,
            updater: std::thread::spawn(move || updater.block_on(update)),
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

fn p99(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() * 99 / 100]
}

pub(crate) fn rows(quick: bool) -> Vec<Row> {
    let (rounds, count) = if quick { (1, 200) } else { (21, 5_000) };
    let storm = Storm::new();
    let (mut without, mut with) = (vec![], vec![]);
    for round in 0..=rounds {
        for (blows, values) in [(false, &mut without), (true, &mut with)] {
            storm.blows.store(blows, Ordering::Relaxed);
            let value = p99(storm.connections(count));
            // The first round warms up.
            if round > 0 {
                values.push(value);
            }
        }
    }
    let updates = storm.end();
    assert!(updates > 0);
    let ratios = with
        .iter()
        .zip(&without)
        .map(|(with, without)| with / without)
        .collect();
    vec![Row {
        row: "storm: p99 of a new connection, 500 updates a second".to_owned(),
        unit: "us",
        value: median(with),
        floor_name: "no update",
        floor: median(without),
        ratio: median(ratios),
        target: Target::Ratio(1.2),
        peers: vec![],
    }]
}
