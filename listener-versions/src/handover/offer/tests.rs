//! A lock file that cannot be written, as on a full disk.

use std::fs::File;
use std::time::Duration;

use conn_tracker::ConnTracker;
use drain_tree::{DrainManager, DrainSettings};
use rustix::fs::{FlockOperation, flock};
use tokio::time::timeout;

use super::*;
use crate::{ListenAddress, ListenersOptions};

struct Config(ListenAddress);

impl ListenerConfig for Config {
    type Chain = ();

    fn name(&self) -> &str {
        "a"
    }

    fn address(&self) -> &ListenAddress {
        &self.0
    }

    fn same_content(&self, _: &Self) -> bool {
        true
    }
}

/// An offer that has the lock by a descriptor for reading only.
async fn offer(folder: &tempfile::TempDir) -> (Offer, PathBuf) {
    let path = folder.path().join("edge.sock");
    let mut offer = Offer::bind(&path).await.expect("no process is there");
    offer.lock = None;
    let file = File::open(Lock::file(&path)).expect("it is there");
    flock(&file, FlockOperation::NonBlockingLockExclusive).expect("it is free");
    offer.lock = Some(Lock::given(file.into()));
    (offer, path)
}

#[tokio::test(start_paused = true)]
async fn a_lock_file_that_cannot_be_written_is_an_error_once_and_the_process_hands_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut offer, path) = offer(&folder).await;
    let root = DrainManager::root(DrainSettings::default());
    let (listeners, _driver) =
        Listeners::<Config>::new(root, ConnTracker::new(), ListenersOptions::default(), ());
    let (options, more) = (HandoverOptions::default(), Inherited::new());
    let hour = Duration::from_secs(3600);
    let next = timeout(hour, offer.next(&listeners, &options, &more)).await;
    let next = next.expect("it does not wait");
    let told = next.expect_err("it cannot be written").to_string();
    let start = format!("{} cannot be written: ", Lock::file(&path).display());
    assert!(told.starts_with(&start), "{told}");
    // Not once more, and it waits for the next process.
    let next = offer.next(&listeners, &options, &more);
    timeout(hour, next).await.expect_err("it waits");
}

#[tokio::test]
async fn a_process_that_cannot_write_that_it_lives_on_keeps_the_lock() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut offer, path) = offer(&folder).await;
    offer.own().expect_err("it cannot be written");
    drop(offer);
    assert!(Lock::try_get(&path).expect("a file").is_none(), "it lives");
}
