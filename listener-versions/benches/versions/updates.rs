//! What an update costs that changes one listener of many, from `apply` until the old version is
//! reaped.

use std::time::{Duration, Instant};

use listener_versions::{Listeners, Update};

use crate::config::{Config, listeners, runtime};
use measure::{Row, Target, median};

struct Many {
    count: usize,
    listeners: Listeners<Config>,
    content: u64,
}

impl Many {
    async fn new(count: usize) -> Self {
        let (listeners, driver) = listeners(Duration::from_secs(600));
        tokio::spawn(driver);
        let many = Self {
            count,
            listeners,
            content: 0,
        };
        let report = many.listeners.apply(Update::lds("v", many.all())).await;
        assert!(report.is_success(), "{:?}", report.errors().next());
        many
    }

    fn config(&self, index: usize) -> Config {
        Config::new(format!("listener-{index}"), self.content)
    }

    fn all(&self) -> Vec<Config> {
        (0..self.count).map(|index| self.config(index)).collect()
    }

    /// Microseconds for each of some updates of one listener.
    async fn incremental(&mut self, times: u64) -> f64 {
        let mut took = Duration::ZERO;
        for _ in 0..times {
            self.content += 1;
            // Ten in turn, spread over the set, so that what differs is the size of the set and not
            // that of the caches.
            let index = self.content as usize % 10 * (self.count / 10);
            let update = Update::delta("v", [self.config(index)], [""; 0]);
            let began = Instant::now();
            let report = self.listeners.apply(update).await;
            // The driver sees that nothing is left of the old version.
            tokio::task::yield_now().await;
            took += began.elapsed();
            assert!(report.is_success());
        }
        assert!(
            self.listeners.snapshot().len() <= self.count + 1,
            "old versions are reaped"
        );
        took.as_secs_f64() * 1e6 / times as f64
    }

    /// Microseconds for an update that names all listeners, of which one has changed.
    async fn whole(&mut self, all: &[std::sync::Arc<Config>], changed: u64) -> f64 {
        let mut all = all.to_vec();
        all[0] = Config::new("listener-0", changed).into();
        let began = Instant::now();
        let report = self.listeners.apply(Update::lds("v", all)).await;
        tokio::task::yield_now().await;
        let took = began.elapsed();
        assert!(report.is_success());
        took.as_secs_f64() * 1e6
    }
}

pub(crate) fn rows(quick: bool) -> Vec<Row> {
    let counts = if quick {
        [10, 20, 50]
    } else {
        [10, 1_000, 10_000]
    };
    let (rounds, times) = if quick { (1, 5) } else { (15, 200) };
    runtime().block_on(async {
        let mut sets = Vec::new();
        for count in counts {
            sets.push(Many::new(count).await);
        }
        let mut values = [vec![], vec![], vec![]];
        for round in 0..=rounds {
            for (many, values) in sets.iter_mut().zip(&mut values) {
                let value = many.incremental(times).await;
                // The first round warms up.
                if round > 0 {
                    values.push(value);
                }
            }
        }
        let ratio = |of: usize| {
            values[of]
                .iter()
                .zip(&values[0])
                .map(|(value, floor)| value / floor)
                .collect()
        };
        let ratios = [0, 1, 2].map(|of| median(ratio(of)));
        let medians = values.map(median);
        let mut rows: Vec<Row> = (1..3)
            .map(|of| Row {
                row: format!("apply: update of 1 of {} listeners", counts[of]),
                unit: "us",
                value: medians[of],
                floor_name: "1 of 10",
                floor: medians[0],
                ratio: ratios[of],
                target: Target::Ratio(1.5),
                peers: vec![],
            })
            .collect();
        // What names all has to look at all: for information.
        let many = sets.last_mut().expect("three");
        let all: Vec<_> = (0..many.count)
            .map(|index| many.config(index).into())
            .collect();
        let mut whole = vec![];
        for round in 0..=rounds {
            let took = many.whole(&all, round + 1_000_000).await;
            // The first round brings all to the same content.
            if round > 0 {
                whole.push(took);
            }
        }
        let value = median(whole);
        rows.push(Row {
            row: format!(
                "apply: update that names all {} listeners, 1 changed",
                many.count
            ),
            unit: "us",
            value,
            floor_name: "1 of 10",
            floor: medians[0],
            ratio: value / medians[0],
            target: Target::None,
            peers: vec![],
        });
        rows
    })
}
