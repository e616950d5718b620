//! What an accept reads to find the version of a connection, against one load of an `ArcSwap` that
//! is kept.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use listener_versions::__bench::AcceptRead;
use listener_versions::Update;

use crate::config::{Config, listeners, runtime};
use measure::{Row, Target, median};

fn nanoseconds<R>(times: u32, read: impl Fn() -> R) -> f64 {
    let began = Instant::now();
    for _ in 0..times {
        black_box(read());
    }
    began.elapsed().as_secs_f64() * 1e9 / f64::from(times)
}

pub(crate) fn rows(quick: bool) -> Vec<Row> {
    let (rounds, times) = if quick { (1, 1000) } else { (51, 200_000) };
    let (listeners, _driver) = listeners(Duration::from_secs(600));
    let update = Update::lds("v", [Config::new("ingress", 0)]);
    assert!(runtime().block_on(listeners.apply(update)).is_success());
    let ours = AcceptRead::of(&listeners, "ingress").expect("it listens");
    let version = ours.read().expect("it is active");
    let floor = ArcSwap::new(Arc::clone(&version));
    let proposal = RwLock::new(HashMap::from([("ingress".to_owned(), version)]));
    let read_proposal = || {
        proposal
            .read()
            .expect("no panic")
            .get(black_box("ingress"))
            .cloned()
    };

    let mut values: [Vec<f64>; 5] = Default::default();
    for _ in 0..rounds {
        let floor_now = nanoseconds(times, || floor.load_full());
        let ours_now = nanoseconds(times, || ours.read());
        values[0].push(floor_now);
        values[1].push(ours_now);
        values[2].push(ours_now / floor_now);
        values[3].push(nanoseconds(times, || floor.load().number()));
        values[4].push(nanoseconds(times, read_proposal));
    }
    let [floor, value, ratio, guard, proposal] = values.map(median);
    vec![Row {
        row: "accept: which version takes it".to_owned(),
        unit: "ns",
        value,
        floor_name: "one ArcSwap load, kept",
        floor,
        ratio,
        target: Target::Ratio(1.5),
        peers: vec![
            ("one ArcSwap load, not kept", guard),
            ("RwLock and HashMap of String, as in the proposal", proposal),
        ],
    }]
}
