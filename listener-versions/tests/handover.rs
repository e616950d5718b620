//! A new process takes the sockets of an old one; both are in this test. Whatever becomes of either, somebody serves.
#![cfg(unix)]

mod common;

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::wire::{answer, ask, bounded, free, lds, listeners, port};
use common::{Config, at};
use drain_tree::DrainReason;
use listener_versions::handover::{
    Ended, HandoverError, HandoverOptions, Offer, Predecessor, Successor, Takeover, take_over,
};
use listener_versions::{Inherited, Listeners, Update};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// A folder with the path at which they meet.
struct Meeting(PathBuf);

impl Meeting {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("handover-{}-{name}", std::process::id()));
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.join("edge.sock")
    }

    async fn ask(&self) -> Result<Option<Takeover>, HandoverError> {
        take_over(&self.path(), &HandoverOptions::default()).await
    }

    async fn take_over(&self) -> Takeover {
        self.ask()
            .await
            .expect("it is not refused")
            .expect("somebody is there")
    }
}

impl Drop for Meeting {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn process(workers: usize) -> Listeners<Config> {
    let (listeners, driver) = listeners();
    tokio::spawn(driver);
    work(&listeners, workers);
    listeners
}

fn work(listeners: &Listeners<Config>, workers: usize) {
    for _ in 0..workers {
        tokio::spawn(listeners.worker().run(answer));
    }
}

type Offering = JoinHandle<(Offer, Result<Successor, HandoverError>)>;

/// Waits for one attempt.
fn offering(mut offer: Offer, listeners: &Listeners<Config>) -> Offering {
    let listeners = listeners.clone();
    tokio::spawn(async move {
        let next = offer
            .next(&listeners, &HandoverOptions::default(), &Inherited::new())
            .await;
        (offer, next)
    })
}

async fn offered(meeting: &Meeting, listeners: &Listeners<Config>) -> Offering {
    offering(
        Offer::bind(&meeting.path()).await.expect("nobody is there"),
        listeners,
    )
}

async fn failed(attempt: Offering) -> (Offer, HandoverError) {
    let (offer, outcome) = attempt.await.expect("no panic");
    (offer, outcome.expect_err("nothing came of it"))
}

async fn replaced(attempt: Offering) -> Successor {
    attempt.await.expect("no panic").1.expect("it is replaced")
}

/// The whole of a new process.
async fn restart(meeting: &Meeting, configs: Vec<Config>) -> (Listeners<Config>, Predecessor, Offer) {
    let mut takeover = meeting.take_over().await;
    let new = process(0);
    new.inherit(takeover.sockets());
    lds(&new, configs).await;
    let (predecessor, offer) = takeover.serving(&new).await.expect("the old one agrees");
    work(&new, 1);
    (new, predecessor, offer)
}

fn park(address: SocketAddr) -> Vec<std::net::TcpStream> {
    let connect = |_| std::net::TcpStream::connect(address).expect("the kernel takes it");
    (0..32).map(connect).collect()
}

async fn answered(parked: Vec<std::net::TcpStream>) {
    for client in parked {
        client.set_nonblocking(true).expect("a socket");
        let mut client = TcpStream::from_std(client).expect("a socket");
        client.read_u64().await.expect("it is served");
    }
}

async fn refused(address: SocketAddr) {
    let error = TcpStream::connect(address).await.expect_err("nobody listens");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn the_new_process_goes_on_with_what_it_took_and_the_old_one_drains() {
    bounded(async {
        let meeting = Meeting::new("whole");
        let (a, b) = (free(), free());
        let old = process(0);
        let worker = old.worker();
        lds(&old, [at("a", a.clone(), 0), at("b", b, 0)]).await;
        let (at_a, at_b) = (port(&old, "a"), port(&old, "b"));
        // One connection is the old one's.
        let drained = old
            .active("a")
            .expect("it is there")
            .drain()
            .watch()
            .expect("it does not drain");
        let attempt = offered(&meeting, &old).await;
        let mode = std::fs::metadata(meeting.path())
            .expect("the path")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        // Nobody accepts: these wait while the sockets change hands.
        let (parked_at_a, parked_at_b) = (park(at_a), park(at_b));
        let (new, predecessor, _offer) = restart(&meeting, vec![at("a", a, 0)]).await;
        let mut successor = replaced(attempt).await;
        assert_eq!(
            (successor.pid(), predecessor.pid()),
            (std::process::id(), std::process::id())
        );
        answered(parked_at_a).await;
        answered(park(at_a)).await;
        let event = drained.event().expect("it drains");
        assert_eq!(event.reason, DrainReason::HotRestart);
        // What nobody wants any more is closed by the old one, which serves what waited.
        refused(at_b).await;
        tokio::spawn(worker.run(answer));
        answered(parked_at_b).await;
        let (ended, ()) = tokio::join!(predecessor.ends(sleep(Duration::ZERO)), async {
            successor.terminated().await;
            drop(successor);
        });
        assert_eq!(ended, Ended::Terminated);
        // Ours alone now.
        lds(&new, []).await;
        refused(at_a).await;
    })
    .await;
}

#[tokio::test]
async fn as_many_listeners_as_do_not_fit_into_one_message_change_hands() {
    bounded(async {
        let meeting = Meeting::new("many");
        let names: Vec<String> = (0..100).map(|number| format!("listener-{number}")).collect();
        let configs: Vec<_> = names.iter().map(|name| at(name, free(), 0)).collect();
        let old = process(0);
        lds(&old, configs.clone()).await;
        let attempt = offered(&meeting, &old).await;
        let parked: Vec<_> = names
            .iter()
            .map(|name| park(port(&old, name)).swap_remove(0))
            .collect();
        let (new, _predecessor, _offer) = restart(&meeting, configs).await;
        let _successor = replaced(attempt).await;
        answered(parked).await;
        assert_eq!(new.unclaimed(), []);
    })
    .await;
}

#[tokio::test]
async fn a_new_process_that_goes_away_leaves_the_old_one_as_it_was() {
    bounded(async {
        let meeting = Meeting::new("gone");
        let a = free();
        let old = process(1);
        lds(&old, [at("a", a.clone(), 0)]).await;
        let at_a = port(&old, "a");
        let attempt = offered(&meeting, &old).await;
        let takeover = meeting.take_over().await;
        // It is not decided who goes on: an update waits.
        let update = tokio::spawn({
            let (old, a) = (old.clone(), a.clone());
            async move { old.apply(Update::lds("v", [at("a", a, 1)])).await.is_success() }
        });
        assert_eq!(ask(at_a).await.expect("it serves"), 1);
        assert!(!update.is_finished());
        drop(takeover);
        let (offer, error) = failed(attempt).await;
        assert!(matches!(error, HandoverError::Lost), "{error}");
        assert!(update.await.expect("no panic"));
        assert_eq!(ask(at_a).await.expect("it serves"), 2);
        // And it may be asked again.
        let attempt = offering(offer, &old);
        let (new, _predecessor, _offer) = restart(&meeting, vec![at("a", a, 0)]).await;
        let _successor = replaced(attempt).await;
        assert_eq!(ask(at_a).await.expect("it serves"), 1);
        drop(new);
        refused(at_a).await;
    })
    .await;
}

#[tokio::test]
async fn what_was_handed_out_in_vain_is_the_old_ones_alone_again() {
    bounded(async {
        let meeting = Meeting::new("vain");
        let old = process(1);
        lds(&old, [at("a", free(), 0)]).await;
        let at_a = port(&old, "a");
        let attempt = offered(&meeting, &old).await;
        let mut takeover = meeting.take_over().await;
        // The new one keeps its descriptors although it has given up.
        let kept = takeover.sockets();
        drop(takeover);
        failed(attempt).await;
        let parked = park(at_a);
        lds(&old, []).await;
        refused(at_a).await;
        answered(parked).await;
        drop(kept);
    })
    .await;
}

#[tokio::test]
async fn an_old_process_that_dies_before_it_was_told_to_drain_leaves_its_sockets_to_the_new_one() {
    bounded(async {
        let meeting = Meeting::new("dies");
        let a = free();
        let old = process(0);
        lds(&old, [at("a", a.clone(), 0)]).await;
        let at_a = port(&old, "a");
        let attempt = offered(&meeting, &old).await;
        let mut takeover = meeting.take_over().await;
        let parked = park(at_a);
        attempt.abort();
        drop(attempt.await);
        // As the kernel closes them.
        drop(old.share_sockets());
        drop(old);
        let new = process(0);
        new.inherit(takeover.sockets());
        lds(&new, [at("a", a, 0)]).await;
        let (predecessor, _offer) = takeover.serving(&new).await.expect("it is alone");
        work(&new, 1);
        answered(parked).await;
        assert_eq!(
            predecessor.ends(sleep(Duration::from_secs(900))).await,
            Ended::ByItself
        );
    })
    .await;
}

#[tokio::test]
async fn an_old_process_that_has_hung_up_and_lives_is_not_replaced() {
    bounded(async {
        let meeting = Meeting::new("lives");
        let a = free();
        let old = process(1);
        lds(&old, [at("a", a.clone(), 0)]).await;
        let attempt = offered(&meeting, &old).await;
        let mut takeover = meeting.take_over().await;
        // The attempt is given up, the offer stands.
        attempt.abort();
        drop(attempt.await);
        let _again = offered(&meeting, &old).await;
        let new = process(0);
        new.inherit(takeover.sockets());
        lds(&new, [at("a", a, 0)]).await;
        let error = takeover.serving(&new).await.expect_err("the old one goes on");
        assert!(matches!(error, HandoverError::Lost), "{error}");
        drop(new);
        assert_eq!(ask(port(&old, "a")).await.expect("it serves"), 1);
    })
    .await;
}

#[tokio::test]
async fn of_two_new_processes_one_wins_and_the_other_is_told_who() {
    bounded(async {
        let meeting = Meeting::new("two");
        let old = process(1);
        lds(&old, [at("a", free(), 0)]).await;
        let attempt = offered(&meeting, &old).await;
        let winner = meeting.take_over().await;
        let error = meeting.ask().await.expect_err("another one is first");
        let pid = std::process::id();
        assert_eq!(error.to_string(), format!("process {pid} is taking over already"));
        drop(winner);
        failed(attempt).await;
    })
    .await;
}

#[tokio::test]
async fn a_third_process_finds_the_second_one_while_the_first_drains() {
    bounded(async {
        let meeting = Meeting::new("chain");
        let a = free();
        let first = process(1);
        lds(&first, [at("a", a.clone(), 0)]).await;
        let at_a = port(&first, "a");
        let attempt = offered(&meeting, &first).await;
        let (second, _predecessor, offer) = restart(&meeting, vec![at("a", a.clone(), 0)]).await;
        let mut successor = replaced(attempt).await;
        // The third one comes before the second waits for it, while the first drains.
        let third = tokio::spawn({
            let path = meeting.path();
            async move { take_over(&path, &HandoverOptions::default()).await }
        });
        let told = tokio::spawn(async move { successor.terminated().await });
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let attempt = offering(offer, &second);
        let mut takeover = third
            .await
            .expect("no panic")
            .expect("not refused")
            .expect("somebody is there");
        let third = process(0);
        third.inherit(takeover.sockets());
        lds(&third, [at("a", a, 0), at("b", free(), 0)]).await;
        let _second = takeover.serving(&third).await.expect("the second one agrees");
        replaced(attempt).await.terminated_not_yet();
        work(&third, 1);
        assert_eq!(ask(at_a).await.expect("it serves"), 1);
        // The first one drains in its own time: nobody cut it short.
        assert!(!told.is_finished());
        told.abort();
    })
    .await;
}

#[tokio::test]
async fn when_the_new_process_dies_the_old_one_keeps_its_sockets_for_another() {
    bounded(async {
        let meeting = Meeting::new("keeps");
        let (a, b) = (free(), free());
        let first = process(0);
        lds(&first, [at("a", a.clone(), 0), at("b", b.clone(), 0)]).await;
        let (at_a, at_b) = (port(&first, "a"), port(&first, "b"));
        let attempt = offered(&meeting, &first).await;
        let (second, predecessor, offer) =
            restart(&meeting, vec![at("a", a.clone(), 0), at("b", b, 0)]).await;
        let mut successor = replaced(attempt).await;
        let told = tokio::spawn(async move { successor.terminated().await });
        // As the kernel ends it: no socket is shut down.
        drop((predecessor, offer, second.share_sockets()));
        drop(second);
        let parked = park(at_a);
        // One that comes to nothing, as soon as the first one has noticed; then one that has no use for all of them.
        while meeting.ask().await.expect("it is not refused").is_none() {
            tokio::task::yield_now().await;
        }
        let mut takeover = meeting.take_over().await;
        let third = process(0);
        third.inherit(takeover.sockets());
        lds(&third, [at("a", a, 0)]).await;
        let (predecessor, _offer) = takeover
            .serving(&third)
            .await
            .expect("the first one has kept them");
        work(&third, 1);
        answered(parked).await;
        refused(at_b).await;
        // It is the first one's successor in every respect.
        let (ended, told) = tokio::join!(predecessor.ends(sleep(Duration::ZERO)), told);
        told.expect("no panic");
        assert_eq!(ended, Ended::Terminated);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn sockets_that_nobody_comes_for_are_closed() {
    let meeting = Meeting::new("keeps-not");
    let a = free();
    let first = process(0);
    lds(&first, [at("a", a.clone(), 0)]).await;
    let at_a = port(&first, "a");
    let attempt = offered(&meeting, &first).await;
    let (second, predecessor, offer) = restart(&meeting, vec![at("a", a, 0)]).await;
    let mut successor = replaced(attempt).await;
    drop((predecessor, offer, second.share_sockets()));
    drop(second);
    // Only time makes it do anything.
    let keep = HandoverOptions::default().keep;
    let waited = tokio::time::timeout(keep + Duration::from_secs(1), successor.terminated()).await;
    assert!(waited.is_err());
    refused(at_a).await;
}

trait NotYet {
    fn terminated_not_yet(self);
}

impl NotYet for Successor {
    fn terminated_not_yet(mut self) {
        let mut terminated = tokio_test::task::spawn(self.terminated());
        assert!(terminated.poll().is_pending());
    }
}

#[tokio::test]
async fn a_path_without_a_process_is_a_fresh_start_and_one_with_a_process_is_not_taken() {
    bounded(async {
        let meeting = Meeting::new("stale");
        assert!(meeting.ask().await.expect("nobody refuses").is_none());
        let offer = Offer::bind(&meeting.path()).await.expect("nobody is there");
        let error = Offer::bind(&meeting.path()).await.expect_err("somebody is there");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(offer);
        assert!(meeting.path().exists());
        assert!(meeting.ask().await.expect("nobody refuses").is_none());
        let _offer = Offer::bind(&meeting.path()).await.expect("nobody is there");
        let left: Vec<_> = std::fs::read_dir(&meeting.0).expect("the folder").collect();
        assert_eq!(left.len(), 1, "nothing is left beside it: {left:?}");
        let error = Offer::bind(Path::new("/proc/none/edge.sock"))
            .await
            .expect_err("no such folder");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    })
    .await;
}

/// What a process that is none of ours says, and what is heard of it.
const NONSENSE: [(&[u8], &str); 6] = [
    (
        b"GET / HTTP/1.1\r\n\r\n",
        "it does not speak the handover protocol",
    ),
    (
        b"LVHO\0\x02\x01\0\0\0\0\x04\0\0\0\x01",
        "speaks version 2 of the handover protocol, this one version 1",
    ),
    (b"LVHO\0\x01\x01\0\0\xff\0\0", "a message is too long"),
    (
        b"LVHO\0\x01\x01\x01\0\0\0\x04\0\0\0\x01",
        "a message has no meaning",
    ),
    (
        b"LVHO\0\x01\x02\x01\0\0\0\x12\0\x01\x0b127.0.0.1:1\0\0\0\0",
        "descriptors are missing",
    ),
    (b"LVHO\0\x01\x05\0\0\0\0\0", "it did not say hello"),
];

#[tokio::test]
async fn nonsense_is_refused_and_the_old_process_goes_on() {
    bounded(async {
        let meeting = Meeting::new("nonsense");
        let old = process(1);
        lds(&old, [at("a", free(), 0)]).await;
        let mut attempt = offered(&meeting, &old).await;
        for (nonsense, said) in NONSENSE {
            let mut stream = UnixStream::connect(meeting.path()).expect("it listens");
            stream.write_all(nonsense).expect("it is taken");
            let (offer, error) = failed(attempt).await;
            assert!(error.to_string().contains(said), "{error}");
            stream.read_to_end(&mut Vec::new()).expect("it is closed");
            attempt = offering(offer, &old);
        }
        assert_eq!(ask(port(&old, "a")).await.expect("it serves"), 1);
        drop(meeting.take_over().await);
        failed(attempt).await;
    })
    .await;
}

#[tokio::test]
async fn who_claims_a_socket_that_was_not_offered_gets_none() {
    bounded(async {
        let meeting = Meeting::new("claims");
        let old = process(1);
        lds(&old, [at("a", free(), 0)]).await;
        let attempt = offered(&meeting, &old).await;
        let mut stream = UnixStream::connect(meeting.path()).expect("it listens");
        stream
            .write_all(b"LVHO\0\x01\x01\0\0\0\0\x04\0\0\0\x01")
            .expect("hello");
        stream
            .write_all(b"LVHO\0\x01\x03\0\0\0\0\x05\0\0\0\0\x07")
            .expect("drain");
        let (_, error) = failed(attempt).await;
        assert!(
            error.to_string().contains("a socket that was not offered"),
            "{error}"
        );
        assert_eq!(ask(port(&old, "a")).await.expect("it serves"), 1);
    })
    .await;
}

#[tokio::test]
async fn who_says_drain_and_is_gone_before_it_is_heard_does_not_end_the_old_process() {
    bounded(async {
        let meeting = Meeting::new("late");
        let old = process(1);
        lds(&old, [at("a", free(), 0)]).await;
        let attempt = offered(&meeting, &old).await;
        let mut stream = UnixStream::connect(meeting.path()).expect("it listens");
        stream.set_nonblocking(true).expect("a socket");
        stream
            .write_all(b"LVHO\0\x01\x01\0\0\0\0\x04\0\0\0\x01")
            .expect("hello");
        while stream.read(&mut [0; 1024]).is_err() {
            tokio::task::yield_now().await;
        }
        // The sockets have come. As if it were killed while the old one had no time to look.
        stream
            .write_all(b"LVHO\0\x01\x03\0\0\0\0\x05\0\0\0\0\0")
            .expect("drain");
        drop(stream);
        let (_, error) = failed(attempt).await;
        assert!(matches!(error, HandoverError::Lost), "{error}");
        assert_eq!(ask(port(&old, "a")).await.expect("it serves"), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn neither_side_waits_for_ever() {
    let meeting = Meeting::new("silent");
    let old = process(1);
    lds(&old, [at("a", free(), 0)]).await;
    // A new process that says nothing, and one that is never ready.
    let mut attempt = offered(&meeting, &old).await;
    for hello in [&b""[..], b"LVHO\0\x01\x01\0\0\0\0\x04\0\0\0\x01"] {
        let mut stream = UnixStream::connect(meeting.path()).expect("it listens");
        stream.write_all(hello).expect("it is taken");
        let (offer, error) = failed(attempt).await;
        assert!(matches!(error, HandoverError::TimedOut), "{error}");
        drop(stream);
        attempt = offering(offer, &old);
    }
    attempt.abort();
    // An old process that says nothing.
    let silent = std::os::unix::net::UnixListener::bind(meeting.0.join("silent.sock")).expect("a socket");
    let error = take_over(&meeting.0.join("silent.sock"), &HandoverOptions::default()).await;
    assert!(matches!(error, Err(HandoverError::TimedOut)), "{error:?}");
    drop(silent);
}

#[tokio::test]
async fn a_socket_of_another_kind_goes_along() {
    bounded(async {
        let meeting = Meeting::new("more");
        let old = process(1);
        let admin = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut more = Inherited::new();
        let address = more.add(admin).expect("it listens");
        let mut offer = Offer::bind(&meeting.path()).await.expect("nobody is there");
        let attempt = tokio::spawn(async move {
            offer
                .next(&old, &HandoverOptions::default(), &more)
                .await
                .map(|successor| (successor, more))
        });
        let mut takeover = meeting.take_over().await;
        let mut sockets = takeover.sockets();
        let admin = std::net::TcpListener::from(sockets.remove(&address).expect("it came along"));
        assert!(sockets.is_empty());
        let new = process(0);
        takeover.serving(&new).await.expect("the old one agrees");
        drop(attempt.await.expect("no panic").expect("it is replaced"));
        let client = std::net::TcpStream::connect(address.as_socket().expect("TCP")).expect("it listens");
        admin.accept().expect("it is accepted");
        drop(client);
    })
    .await;
}

/// All descriptors are counted, so no other test may run in this process.
#[test]
#[cfg(target_os = "linux")]
fn nothing_is_left_of_twenty_handovers() {
    let test = std::env::current_exe().expect("this program");
    let output = std::process::Command::new(test)
        .args(["--ignored", "--exact", "twenty_handovers"])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
#[ignore = "run by the test above, in a process of its own"]
#[cfg(target_os = "linux")]
async fn twenty_handovers() {
    let meeting = Meeting::new("leaks");
    let (a, b) = (free(), free());
    let configs = || {
        let a = at("a", a.clone(), 0).reuse_port(listener_versions::ReusePort::PerWorker);
        vec![a, at("b", b.clone(), 0)]
    };
    let mut serving = process(1);
    lds(&serving, configs()).await;
    let mut attempt = offered(&meeting, &serving).await;
    let mut counts = Vec::new();
    for _ in 0..20 {
        // One that comes to nothing, and one that does.
        drop(meeting.take_over().await);
        let (offer, _) = failed(attempt).await;
        attempt = offering(offer, &serving);
        let (new, predecessor, offer) = restart(&meeting, configs()).await;
        drop(replaced(attempt).await);
        attempt = offering(offer, &new);
        assert_eq!(
            predecessor.ends(sleep(Duration::from_secs(1))).await,
            Ended::ByItself
        );
        serving = new;
        assert_eq!(ask(port(&serving, "a")).await.expect("it serves"), 1);
        // The workers of the one before have gone by the time when this one has answered some.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        counts.push(std::fs::read_dir("/proc/self/fd").expect("Linux").count());
    }
    assert_eq!(counts[2..].iter().min(), counts[2..].iter().max(), "{counts:?}");
}
