//! The clients are checked themselves: who changes nothing loses nothing, and who drops connections is found out.

use std::sync::Mutex;
use std::time::Duration;

use crate::clients::Summary;
use crate::programs::Programs;
use crate::proxies::Kind;
use crate::stage::Stage;
use crate::storm::storm;
use crate::upstream::Upstreams;

async fn stage() -> Stage {
    let programs = tokio::task::spawn_blocking(Programs::peers)
        .await
        .unwrap()
        .unwrap();
    Stage {
        programs,
        upstreams: Upstreams::start().await.unwrap(),
        drain_time: Duration::from_secs(2),
        rounds: 1,
        kinds: Vec::new(),
        again: false,
        failed: Mutex::default(),
    }
}

fn lost(classes: &[Summary]) -> u64 {
    classes.iter().map(Summary::losses).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_changes_nothing_is_lost_and_of_dropped_connections_every_class_hears() {
    let stage = stage().await;
    let second = Duration::from_secs(2);
    let calm = storm(&stage, Kind::Broken, 0, second).await.unwrap();
    assert!(calm.classes.iter().all(|class| class.ok > 0), "{calm:#?}");
    assert_eq!(lost(&calm.classes), 0, "{calm:#?}");

    let broken = storm(&stage, Kind::Broken, 8, second).await.unwrap();
    assert_eq!(broken.first_new.len(), 8, "{broken:#?}");
    for class in &broken.classes {
        use crate::clients::Class::{KeepAlive, New, Pauses, WebSocket};
        // Between two requests a close is visible, and a new connection is seldom hit. An upgraded connection is no more
        // among those that are dropped.
        if !matches!(class.class, KeepAlive | New | Pauses | WebSocket) {
            assert!(class.losses() > 0, "{class:?} of {broken:#?}");
        }
    }
}
