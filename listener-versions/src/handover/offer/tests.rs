//! What keeps on is said once: a lock file that cannot be written, as on a full disk, and a path at
//! which nothing can listen.

use std::fs::File;
use std::time::Duration;

use conn_tracker::ConnTracker;
use drain_tree::{DrainManager, DrainSettings};
use rustix::fs::{FlockOperation, flock};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixStream;
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

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

fn listeners() -> Listeners<Config> {
    let root = DrainManager::root(DrainSettings::default());
    Listeners::new(root, ConnTracker::new(), ListenersOptions::default(), ()).0
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
    let listeners = listeners();
    let (options, more) = (HandoverOptions::default(), Inherited::new());
    let next = timeout(HOUR, offer.next(&listeners, &options, &more)).await;
    let next = next.expect("it does not wait");
    let told = next.expect_err("it cannot be written").to_string();
    let start = format!("{} cannot be written: ", Lock::file(&path).display());
    assert!(told.starts_with(&start), "{told}");
    // Not once more, and it waits for the next process.
    let next = offer.next(&listeners, &options, &more);
    timeout(HOUR, next).await.expect_err("it waits");
}

#[tokio::test]
async fn a_process_that_cannot_write_that_it_lives_on_keeps_the_lock() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut offer, path) = offer(&folder).await;
    offer.own().expect_err("it cannot be written");
    drop(offer);
    assert!(Lock::try_get(&path).expect("a file").is_none(), "it lives");
}

#[tokio::test(start_paused = true)]
async fn a_path_at_which_nothing_can_listen_is_an_error_once_and_is_listened_at_once_it_is_free() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("edge.sock");
    let mut offer = Offer::bind(&path).await.expect("no process is there");
    // As when the old process died while something else was at the path.
    (offer.listener, offer.file) = (None, None);
    std::fs::remove_file(&path).expect("it is there");
    std::fs::write(&path, "no socket").expect("a file");
    let listeners = listeners();
    let (options, more) = (HandoverOptions::default(), Inherited::new());
    let next = timeout(HOUR, offer.next(&listeners, &options, &more)).await;
    let next = next.expect("it does not wait");
    let told = next.expect_err("something is there").to_string();
    let start = format!("nothing listens at {}: ", path.display());
    assert!(told.starts_with(&start), "{told}");
    let mut next = pin!(offer.next(&listeners, &options, &more));
    timeout(MINUTE, &mut next).await.expect_err("it waits");
    std::fs::remove_file(&path).expect("it is there");
    let found = async {
        while UnixStream::connect(&path).await.is_err() {
            sleep(PAUSE).await;
        }
    };
    match select(next, pin!(timeout(HOUR, found))).await {
        Either::Left((next, _)) => panic!("no process asked: {next:?}"),
        Either::Right((found, _)) => found.expect("it listens"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_listener_of_the_path_that_fails_is_an_error_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("edge.sock");
    let mut offer = Offer::bind(&path).await.expect("no process is there");
    // It does not listen, so that `accept` fails.
    std::fs::remove_file(&path).expect("it is there");
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
    socket.set_nonblocking(true).expect("a socket");
    let address = SockAddr::unix(&path).expect("a path");
    socket.bind(&address).expect("it is free");
    let listener = UnixListener::from_std(OwnedFd::from(socket).into()).expect("a socket");
    (offer.listener, offer.file) = (Some(listener), path::file_at(&path));
    let listeners = listeners();
    let (options, more) = (HandoverOptions::default(), Inherited::new());
    let next = timeout(HOUR, offer.next(&listeners, &options, &more)).await;
    next.expect("it does not wait").expect_err("accept fails");
    // Not once more.
    let next = offer.next(&listeners, &options, &more);
    timeout(MINUTE, next).await.expect_err("it waits");
}
