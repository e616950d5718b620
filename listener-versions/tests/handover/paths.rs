//! What is at the path, and who may be there.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::common::wire::{ask, bounded, free, lds, port};
use crate::common::{Config, at};
use crate::meeting::*;
use listener_versions::handover::{
    HandoverError, HandoverOptions, Offer, Successor, SuccessorEvent, start, take_over,
};
use listener_versions::{Listeners, socket2};

/// Begins where no process serves.
async fn begin_afresh(meeting: &Meeting, listeners: &Listeners<Config>) -> Offer {
    let begun = start(&meeting.path(), &HandoverOptions::default()).await;
    let mut begun = begun.expect("no process is there");
    assert_eq!((begun.pid(), begun.sockets().len()), (None, 0));
    let mut offer = begun.serving(listeners).await.expect("none has to agree");
    let ended = offer.predecessor_ends(std::future::pending()).await;
    ended.expect("there is none");
    offer
}

/// `path.ext` in the folder, so long.
fn path_of(meeting: &Meeting, length: usize) -> std::path::PathBuf {
    let folder = meeting.0.as_os_str().len();
    meeting.0.join("x".repeat(length - folder - 1))
}

#[tokio::test]
async fn a_path_of_107_bytes_works_and_a_longer_one_is_refused_with_the_limit() {
    bounded(async {
        let meeting = Meeting::new("long");
        for length in [105, 107] {
            let path = path_of(&meeting, length);
            let options = HandoverOptions::default();
            let old = process(0);
            let a = free();
            lds(&old, [at("a", a.clone(), 0)]).await;
            let attempt = offering(Offer::bind(&path).await.expect("it is short enough"), &old);
            let mut takeover = take_over(&path, &options)
                .await
                .expect("it is not refused")
                .expect("somebody is there");
            let new = process(0);
            new.inherit(takeover.sockets());
            lds(&new, [at("a", a, 0)]).await;
            let _served = takeover.serving(&new).await.expect("the old one agrees");
            let _successor = replaced(attempt).await;
            // It can be found there.
            UnixStream::connect(&path).expect("it listens");
        }
        let path = path_of(&meeting, 108);
        let told = Offer::bind(&path)
            .await
            .expect_err("it is too long")
            .to_string();
        assert!(
            told.ends_with("has 108 bytes, the path of a Unix socket has at most 107"),
            "{told}"
        );
        let told = start(&path, &HandoverOptions::default())
            .await
            .expect_err("it is too long");
        assert!(told.to_string().ends_with("at most 107"), "{told}");
    })
    .await;
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    bounded(async {
        let meeting = Meeting::new("file");
        std::fs::write(meeting.path(), "precious").expect("a file");
        let error = Offer::bind(&meeting.path())
            .await
            .expect_err("it is no socket");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(
            std::fs::read(meeting.path()).expect("it is there"),
            b"precious"
        );
    })
    .await;
}

#[tokio::test]
async fn a_path_that_was_replaced_meanwhile_is_an_error_and_the_old_process_goes_on() {
    bounded(async {
        let meeting = Meeting::new("moved");
        let a = free();
        let old = process(1);
        lds(&old, [at("a", a.clone(), 0)]).await;
        let attempt = offered(&meeting, &old).await;
        let mut takeover = meeting.take_over().await;
        let new = process(0);
        new.inherit(takeover.sockets());
        lds(&new, [at("a", a, 0)]).await;
        std::fs::remove_file(meeting.path()).expect("it is there");
        std::fs::create_dir(meeting.path()).expect("a folder");
        let error = takeover
            .serving(&new)
            .await
            .expect_err("nobody would find it");
        assert!(matches!(error, HandoverError::Moved { .. }), "{error}");
        let (_, error) = failed(attempt).await;
        assert!(matches!(error, HandoverError::Lost), "{error}");
        assert_eq!(ask(port(&old, "a")).await.expect("it serves"), 1);
    })
    .await;
}

#[tokio::test]
async fn sockets_that_were_not_asked_for_are_not_taken() {
    bounded(async {
        let meeting = Meeting::new("unasked");
        let old = process(1);
        lds(&old, [at("a", free(), 0)]).await;
        let at_a = port(&old, "a");
        let attempt = offered(&meeting, &old).await;
        let parked = park(at_a);
        let takeover = meeting.take_over().await;
        let new = process(1);
        let _served = takeover.serving(&new).await.expect("the old one agrees");
        let _successor = replaced(attempt).await;
        // As if its listener were removed: what waited is served, and later connections are
        // refused.
        answered(parked).await;
        refused(at_a).await;
    })
    .await;
}

#[tokio::test]
async fn workers_that_run_early_accept_nothing_before_the_old_process_has_stopped() {
    bounded(async {
        let meeting = Meeting::new("early");
        let (a, b) = (free(), free());
        let old = process(0);
        lds(&old, [at("a", a.clone(), 0)]).await;
        let at_a = port(&old, "a");
        let attempt = offered(&meeting, &old).await;
        let mut takeover = meeting.take_over().await;
        let new = process(1);
        new.inherit(takeover.sockets());
        lds(&new, [at("a", a, 0), at("b", b, 0)]).await;
        work(&new, 1);
        let at_b = port(&new, "b");
        for address in [at_a, at_b] {
            let early = tokio::time::timeout(Duration::from_millis(50), ask(address)).await;
            assert!(early.is_err(), "{address}: {early:?}");
        }
        let _served = takeover.serving(&new).await.expect("the old one agrees");
        let _successor = replaced(attempt).await;
        assert_eq!(ask(at_a).await.expect("it serves"), 1);
        assert_eq!(ask(at_b).await.expect("it serves"), 2);
    })
    .await;
}

#[tokio::test]
async fn an_offer_says_which_process_in_a_row_it_is() {
    bounded(async {
        let meeting = Meeting::new("epochs");
        let a = free();
        let first = process(0);
        lds(&first, [at("a", a.clone(), 0)]).await;
        let offer = begin_afresh(&meeting, &first).await;
        assert_eq!(offer.epoch(), 0);
        let since = offer.since();
        let attempt = offering(offer, &first);
        let (second, offer) = restart(&meeting, vec![at("a", a.clone(), 0)]).await;
        let _successor = replaced(attempt).await;
        assert_eq!(offer.epoch(), 1);
        let attempt = offering(offer, &second);
        let (_third, offer) = restart(&meeting, vec![at("a", a, 0)]).await;
        let _successor = replaced(attempt).await;
        assert_eq!(offer.epoch(), 2);
        // Milliseconds are said, and some pass.
        let drift = offer.since().saturating_duration_since(since);
        assert!(drift < Duration::from_secs(5), "{drift:?}");
    })
    .await;
}

/// Removes files as an operator or a cleaner of temporary files does.
fn remove(meeting: &Meeting, names: &[&str]) {
    for name in names {
        std::fs::remove_file(meeting.0.join(name)).expect("it is there");
    }
}

/// The path, the lock file, and both in either order.
#[cfg(target_os = "linux")]
const REMOVED: [&[&str]; 4] = [
    &["edge.sock"],
    &["edge.sock.lock"],
    &["edge.sock.lock", "edge.sock"],
    &["edge.sock", "edge.sock.lock"],
];

/// The process that waits for a new one makes anew what is removed.
#[cfg(target_os = "linux")]
async fn removed_and_made_anew(meeting: &Meeting, names: &[&str]) {
    // It waits by now.
    tokio::task::yield_now().await;
    remove(meeting, names);
    let lock = meeting.0.join("edge.sock.lock");
    while !(meeting.path().exists() && lock.exists()) {
        tokio::task::yield_now().await;
    }
}

/// A second process takes over, serves and dies; the first one keeps its sockets.
#[cfg(target_os = "linux")]
async fn replaced_by_one_that_dies(
    meeting: &Meeting,
    attempt: Offering,
    a: &listener_versions::ListenAddress,
) -> Successor {
    let (second, offer) = restart(meeting, vec![at("a", a.clone(), 0)]).await;
    let mut successor = replaced(attempt).await;
    assert_eq!(ask(port(&second, "a")).await.expect("it serves"), 1);
    let sockets = second.share_sockets().expect("descriptors");
    killed((offer, sockets, second)).await;
    assert_eq!(successor.next().await, SuccessorEvent::Died);
    successor
}

/// A third process finds the first one, and serves what waits.
#[cfg(target_os = "linux")]
async fn replaced_again(
    meeting: &Meeting,
    mut successor: Successor,
    a: listener_versions::ListenAddress,
) {
    let next = async { while successor.next().await != SuccessorEvent::Replaced {} };
    let third = restart(meeting, vec![at("a", a, 0)]);
    let ((), _third) = tokio::join!(next, third);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_process_whose_path_or_lock_file_is_removed_is_found_all_the_same() {
    bounded(async {
        for names in REMOVED {
            let meeting = Meeting::new("removed");
            let a = free();
            let first = process(1);
            lds(&first, [at("a", a.clone(), 0)]).await;
            let at_a = port(&first, "a");
            let attempt = offered(&meeting, &first).await;
            // What is made anew is watched too.
            for _ in 0..3 {
                removed_and_made_anew(&meeting, names).await;
            }
            // The second one's death is known by the new lock file.
            let successor = replaced_by_one_that_dies(&meeting, attempt, &a).await;
            let parked = park(at_a);
            replaced_again(&meeting, successor, a).await;
            answered(parked).await;
        }
    })
    .await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_process_that_keeps_a_dead_ones_sockets_is_found_after_its_path_or_lock_file_is_removed()
{
    bounded(async {
        for names in REMOVED {
            let meeting = Meeting::new("removed-kept");
            let a = free();
            let first = process(1);
            lds(&first, [at("a", a.clone(), 0)]).await;
            let at_a = port(&first, "a");
            let attempt = offered(&meeting, &first).await;
            let mut successor = replaced_by_one_that_dies(&meeting, attempt, &a).await;
            let parked = park(at_a);
            tokio::select! {
                event = successor.next() => panic!("{event:?}"),
                () = async {
                    for _ in 0..3 {
                        removed_and_made_anew(&meeting, names).await;
                    }
                } => {}
            }
            replaced_again(&meeting, successor, a).await;
            answered(parked).await;
        }
    })
    .await;
}

/// The process that waits for a new one has noticed what was done meanwhile.
#[cfg(target_os = "linux")]
async fn noticed() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_process_whose_folder_is_gone_for_a_while_is_found_once_it_is_there_again() {
    bounded(async {
        for is_moved in [false, true] {
            let around = Meeting::new("folder");
            let above = around.0.join("run");
            let meeting = Meeting(above.join("edge"));
            std::fs::create_dir_all(&meeting.0).expect("a folder");
            let a = free();
            let first = process(1);
            lds(&first, [at("a", a.clone(), 0)]).await;
            let attempt = offered(&meeting, &first).await;
            noticed().await;
            match is_moved {
                true => std::fs::rename(&above, around.0.join("old")),
                false => std::fs::remove_dir_all(&above),
            }
            .expect("it is there");
            noticed().await;
            std::fs::create_dir(around.0.join("another")).expect("a folder");
            noticed().await;
            std::fs::create_dir(&above).expect("it is gone");
            noticed().await;
            std::fs::create_dir(&meeting.0).expect("it is gone");
            while !meeting.path().exists() {
                tokio::task::yield_now().await;
            }
            let _second = restart(&meeting, vec![at("a", a, 0)]).await;
            let _successor = replaced(attempt).await;
        }
    })
    .await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_path_that_is_removed_while_a_process_configures_itself_is_made_anew_by_the_new_one() {
    bounded(async {
        let meeting = Meeting::new("removed-late");
        let a = free();
        let old = process(1);
        lds(&old, [at("a", a.clone(), 0)]).await;
        let attempt = offered(&meeting, &old).await;
        let mut takeover = meeting.take_over().await;
        let new = process(1);
        new.inherit(takeover.sockets());
        lds(&new, [at("a", a.clone(), 0)]).await;
        remove(&meeting, &["edge.sock"]);
        let offer = takeover.serving(&new).await.expect("the old one agrees");
        let _successor = replaced(attempt).await;
        let attempt = offering(offer, &new);
        while !meeting.path().exists() {
            tokio::task::yield_now().await;
        }
        let _third = restart(&meeting, vec![at("a", a, 0)]).await;
        let _successor = replaced(attempt).await;
    })
    .await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_process_that_too_many_others_ask_is_asked_again() {
    bounded(async {
        let meeting = Meeting::new("full");
        let a = free();
        let old = process(1);
        lds(&old, [at("a", a.clone(), 0)]).await;
        let offer = Offer::bind(&meeting.path())
            .await
            .expect("no process is there");
        // It does not accept yet.
        let connect = || {
            let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            socket.connect(&socket2::SockAddr::unix(meeting.path())?)?;
            io::Result::Ok(socket)
        };
        let mut queue = Vec::new();
        let full = loop {
            match connect() {
                Ok(socket) => queue.push(socket),
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        let error = Offer::bind(&meeting.path()).await.expect_err("it serves");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let short = HandoverOptions::default().with_patience(Duration::from_millis(30));
        let error = take_over(&meeting.path(), &short)
            .await
            .expect_err("it is full");
        assert!(matches!(error, HandoverError::TimedOut), "{error}");
        let second = restart(&meeting, vec![at("a", a, 0)]);
        let first = async {
            tokio::task::yield_now().await;
            drop(queue);
            replaced(offering(offer, &old)).await
        };
        let (_second, _successor) = tokio::join!(second, first);
    })
    .await;
}

#[tokio::test]
async fn a_socket_file_that_a_process_bound_and_died_before_it_listened_is_replaced() {
    bounded(async {
        let meeting = Meeting::new("bound");
        let bound = |path: &std::path::Path| {
            let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
            let socket = socket.expect("a socket");
            let address = socket2::SockAddr::unix(path).expect("short enough");
            socket.bind(&address).expect("no file is there");
        };
        bound(&meeting.path());
        let path = meeting.0.join("a.sock");
        bound(&path);
        let old = process(1);
        let address = listener_versions::ListenAddress::Unix(path.clone());
        lds(&old, [at("a", address.clone(), 0)]).await;
        let offer = begin_afresh(&meeting, &old).await;
        let attempt = offering(offer, &old);
        let _second = restart(&meeting, vec![at("a", address, 0)]).await;
        let _successor = replaced(attempt).await;
        UnixStream::connect(path).expect("it listens");
    })
    .await;
}
