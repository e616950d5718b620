//! Changes of the configuration under the crowd: what was lost, and how soon the new configuration
//! answered.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::clients::{Running, Summary};
use crate::noise::Noise;
use crate::proxies::Kind;
use crate::stage::Stage;

/// How long the crowd runs before the first change.
const BEFORE: Duration = Duration::from_secs(1);
/// And after the last old connection must be gone.
const AFTER: Duration = Duration::from_millis(500);

/// One proxy under one number of changes, once.
#[derive(Debug, Clone)]
pub(crate) struct Storm {
    pub(crate) kind: Kind,
    pub(crate) changes: u32,
    pub(crate) classes: Vec<Summary>,
    /// From a change to the first new answer, in ms; of all changes.
    pub(crate) first_new: Vec<f64>,
    /// Of requests on new connections, in ms.
    pub(crate) p99: f64,
    /// Cores that other work used.
    pub(crate) others: f64,
}

/// So many changes, spread evenly over this time.
pub(crate) async fn storm(
    stage: &Stage,
    kind: Kind,
    changes: u32,
    lasts: Duration,
) -> anyhow::Result<Storm> {
    let folder = tempfile::tempdir()?;
    let mut proxy = stage.proxy(kind, folder.path()).await?;
    let noise = Noise::since_now();
    let crowd = Running::start(proxy.doors());
    sleep(BEFORE).await;
    let begun = Instant::now();
    let mut made = Vec::new();
    for change in 0..changes {
        sleep_until(begun + lasts * change / changes).await;
        let at = Instant::now();
        made.push((at, proxy.change().await?));
    }
    sleep_until(begun + lasts).await;
    sleep(stage.drain_time + AFTER).await;
    let others = noise.others();
    let tally = std::sync::Arc::clone(&crowd.tally);
    let classes = crowd.end().await;
    proxy.stop().await;
    Ok(Storm {
        kind,
        changes,
        classes,
        first_new: tally.first_new(&made),
        p99: tally.p99(),
        others,
    })
}
