//! What is allocated while 26 versions of a listener drain, each for one connection, against one
//! that is merely active.

use std::time::Duration;

use listener_versions::Update;

use crate::config::{Config, listeners, runtime};
use measure::{Row, Target};

const VERSIONS: u64 = 26;

pub(crate) fn rows(_: bool) -> Vec<Row> {
    // Bytes that are allocated for this many versions, and still are at the end of the measurement.
    let held = |versions: u64| {
        let runtime = runtime();
        let (listeners, driver) = listeners(Duration::from_secs(600));
        runtime.spawn(driver);
        let mut connections = Vec::with_capacity(versions as usize);
        let counted = allocation_counter::measure(|| {
            runtime.block_on(async {
                for content in 0..versions {
                    let update = Update::lds("v", [Config::new("ingress", content)]);
                    assert!(listeners.apply(update).await.is_success());
                    let version = listeners.active("ingress").expect("it is active");
                    connections.push(version.drain().watch().expect("it is not drained"));
                    tokio::task::yield_now().await;
                }
            });
        });
        assert_eq!(listeners.snapshot().len(), versions as usize);
        counted.bytes_current as f64
    };
    // What is made once is made by now.
    held(1);
    let one = held(1);
    let more = held(VERSIONS + 1) - one;
    vec![
        Row {
            row: format!("memory: a listener of which {VERSIONS} versions drain"),
            unit: "KiB",
            value: (one + more) / 1024.0,
            floor_name: "one that is active",
            floor: one / 1024.0,
            ratio: (one + more) / one,
            target: Target::None,
            peers: vec![],
        },
        Row {
            row: "memory: each version that drains".to_owned(),
            unit: "bytes",
            value: more / VERSIONS as f64,
            floor_name: "a listener that is active",
            floor: one,
            ratio: more / VERSIONS as f64 / one,
            target: Target::None,
            peers: vec![],
        },
    ]
}
