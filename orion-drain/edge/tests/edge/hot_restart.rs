//! Hot restart: a new process takes the sockets of the one that serves. Whichever of the two
//! is killed, and when, one process serves, and no connection is refused.

mod site;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use orion_drain::listener_versions::handover::{HandoverOptions, take_over};
use site::{Site, Waiting};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::alerts::Alert;
use crate::support::{End, H1, discovery};

const DRAIN: &str = "--drain-time-s 600 --drain-strategy immediate";

#[tokio::test]
async fn the_new_process_serves_what_comes_and_the_old_one_what_it_has() {
    let mut site = Site::new().await;
    site.update(1);
    let mut old = site.first(DRAIN).await;
    let (mut idle, version) = site.ask().await;
    assert_eq!(version, "v1");
    let mut busy = H1::connect(site.http()).await;
    busy.ask("/held").await;
    let held = site.upstream.held().await;
    // An operator reads from the old process.
    let mut operator = H1::connect(site.admin()).await;
    assert_eq!(operator.get("/ready").await.status, 200);

    let mut new = site.next(&mut old, DRAIN).await;
    site.update(2);
    new.until("lds: version \"2\"").await;
    assert_eq!(site.ask().await.1, "v2");
    let response = idle.get("/version").await;
    assert_eq!(
        (response.ok().as_str(), response.says_close()),
        ("v1", true)
    );
    assert_eq!(idle.end().await, End::Fin);
    // The admin port is the new process's. A client that was connected to the old one still is.
    let info = H1::connect(site.admin())
        .await
        .get("/server_info")
        .await
        .ok();
    let info: serde_json::Value = serde_json::from_str(&info).expect("JSON");
    assert_eq!(info["command_line_options"]["restart_epoch"], 1);
    let stats = H1::connect(site.admin()).await.get("/stats").await.ok();
    assert!(stats.contains("server.hot_restart_epoch: 1\n"), "{stats}");
    assert!(
        stats.contains("listener_manager.listener_modified: 1\n"),
        "{stats}"
    );
    let drains = operator.get("/drain").await.ok();
    assert!(drains.contains("hot_restart"), "{drains}");
    let stats = operator.get("/stats").await.ok();
    assert!(
        stats.contains("listener_manager.listener_stopped: 1\n"),
        "{stats}"
    );

    held.answer("done");
    let response = busy.response().await;
    assert_eq!(
        (response.ok().as_str(), response.says_close()),
        ("done", true)
    );
    let pid = old.pid();
    assert_eq!(old.exit().await.code(), Some(0));
    new.until(&format!("process {pid} is done")).await;
    assert!(new.is_running());
}

#[tokio::test]
async fn the_old_process_is_asked_to_end_after_the_parent_shutdown_time() {
    let mut site = Site::new().await;
    site.update(1);
    let mut old = site.first(DRAIN).await;
    let mut busy = H1::connect(site.http()).await;
    busy.ask("/held").await;
    let _held = site.upstream.held().await;
    let pid = old.pid();
    let alert = Alert::silent("HandoverWaits", site.admin()).await;
    let mut new = site
        .next(&mut old, &format!("{DRAIN} --parent-shutdown-time-s 5"))
        .await;
    alert.until_it_is(true).await;
    old.until("wants this one gone").await;
    assert_eq!(old.exit().await.code(), Some(0));
    new.until(&format!("process {pid} was asked to end")).await;
    alert.until_it_is(false).await;
}

#[tokio::test]
async fn what_cannot_serve_everything_leaves_the_old_process_serving() {
    let site = Site::new().await;
    site.update(1);
    let mut old = site.first(DRAIN).await;
    let bad = site
        .listener(2)
        .replace("codec_type: AUTO", "codec_type: NONSENSE");
    let refused = [bad, "resources: nonsense".to_owned()];
    for listeners in refused {
        let mut new = site.next_with(&discovery("2", &[listeners]), DRAIN).await;
        new.until("not all listeners can be served").await;
        assert_eq!(new.exit().await.code(), Some(1));
        old.until("serving on").await;
        assert_eq!(site.ask().await.1, "v1");
    }
    site.update(3);
    old.until("lds: version \"3\"").await;
    assert_eq!(site.ask().await.1, "v3");
}

#[tokio::test]
async fn of_two_new_processes_the_second_one_ends_and_names_the_first() {
    let site = Site::new().await;
    site.update(1);
    let mut old = site.first(DRAIN).await;
    let winner = site.next_that_waits(DRAIN).await;
    let pid = winner.process.pid();
    let mut loser = site.start(DRAIN);
    loser
        .until(&format!("process {pid} is taking over already"))
        .await;
    assert_eq!(loser.exit().await.code(), Some(1));
    let mut new = winner.go_on(&site, 2).await;
    new.until("drains").await;
    assert_eq!(old.exit().await.code(), Some(0));
    assert_eq!(site.ask().await.1, "v2");
}

#[tokio::test]
async fn killed_before_it_is_ready_the_new_process_leaves_everything_to_the_old_one() {
    let site = Site::new().await;
    site.update(1);
    let mut old = site.first(DRAIN).await;
    let mut new = site.next_that_waits(DRAIN).await;
    let parked = site.park(16).await;
    // An update that comes meanwhile waits until it is decided who serves.
    site.update(2);
    new.process.kill().await;
    // Two tasks write these lines: either may be the first.
    let ended = "the other process ended the handover; serving on";
    old.until_all(&[ended, "lds: version \"2\""]).await;
    answered(parked).await;
    assert_eq!(site.ask().await.1, "v2");
    assert!(old.is_running());
}

#[tokio::test]
async fn told_to_end_before_it_is_ready_the_new_process_ends_at_once_and_the_old_one_serves_on() {
    let site = Site::new().await;
    site.update(1);
    let mut old = site.first(DRAIN).await;
    let Waiting {
        process: mut new, ..
    } = site.next_that_waits(DRAIN).await;
    new.until("admin: listening on").await;
    let parked = site.park(16).await;
    new.process.signal("TERM").await.expect("it is running");
    new.until("the process before goes on").await;
    assert_eq!(new.exit().await.code(), Some(0));
    old.until("the other process ended the handover; serving on")
        .await;
    answered(parked).await;
    assert_eq!(site.ask().await.1, "v1");
}

#[tokio::test]
async fn killed_before_the_new_process_is_ready_the_old_one_leaves_its_sockets_to_it() {
    let site = Site::new().await;
    site.update(1);
    let mut old = site.first(DRAIN).await;
    let new = site.next_that_waits(DRAIN).await;
    old.kill().await;
    // No process accepts now; the kernel keeps them.
    let parked = site.park(16).await;
    let mut new = new.go_on(&site, 2).await;
    new.until("is done").await;
    answered(parked).await;
    assert_eq!(site.ask().await.1, "v2");
    // And it can be replaced like any other.
    let _third = site.next(&mut new, DRAIN).await;
    assert_eq!(site.ask().await.1, "v1");
}

#[tokio::test]
async fn stopped_before_the_new_process_is_ready_the_old_one_answers_it_before_it_ends() {
    let site = Site::new().await;
    site.update(1);
    let mut old = site.first(&format!("{DRAIN} --shutdown-minimum-s 0")).await;
    let new = site.next_that_waits(DRAIN).await;
    let term = Command::new("kill").arg(old.pid().to_string()).status();
    assert!(term.await.expect("kill").success());
    // It has nothing to wait for but the new process, which has the sockets.
    old.until("drained after").await;
    let parked = site.park(16).await;
    let mut new = new.go_on(&site, 2).await;
    new.until("drains").await;
    answered(parked).await;
    assert_eq!(site.ask().await.1, "v2");
    assert!(old.exit().await.success());
}

#[tokio::test]
async fn killed_while_it_drains_the_old_process_takes_nothing_of_the_new_one_along() {
    let mut site = Site::new().await;
    site.update(1);
    let mut old = site.first(DRAIN).await;
    let mut busy = H1::connect(site.http()).await;
    busy.ask("/held").await;
    let _held = site.upstream.held().await;
    let mut new = site.next(&mut old, DRAIN).await;
    old.kill().await;
    new.until("is done").await;
    busy.try_response().await.expect_err("it was the old one's");
    assert_eq!(site.ask().await.1, "v1");
    assert!(new.is_running());
}

#[tokio::test]
async fn killed_after_the_handover_the_new_process_leaves_its_sockets_to_the_next_one() {
    let mut site = Site::new().await;
    site.update(1);
    let mut old = site.first(DRAIN).await;
    let mut busy = H1::connect(site.http()).await;
    busy.ask("/held").await;
    let held = site.upstream.held().await;
    let mut new = site.next(&mut old, DRAIN).await;
    new.kill().await;
    old.until("has died").await;
    // No process accepts now; the old one keeps the queue.
    let parked = site.park(16).await;
    site.update(2);
    let mut third = site.start(DRAIN);
    third.until("drains").await;
    answered(parked).await;
    assert_eq!(site.ask().await.1, "v2");
    assert_eq!(
        H1::connect(site.admin()).await.get("/ready").await.status,
        200
    );
    held.answer("done");
    assert_eq!(busy.response().await.ok(), "done");
    assert_eq!(old.exit().await.code(), Some(0));
    third.until("is done").await;
}

#[tokio::test]
async fn drained_while_it_keeps_the_sockets_of_a_dead_process_the_old_one_waits_for_the_next() {
    let mut site = Site::new().await;
    site.update(1);
    let mut old = site.first(DRAIN).await;
    let mut busy = H1::connect(site.http()).await;
    busy.ask("/held").await;
    let held = site.upstream.held().await;
    let mut new = site.next(&mut old, DRAIN).await;
    new.kill().await;
    old.until("has died").await;
    let parked = site.park(16).await;
    held.answer("done");
    assert_eq!(busy.response().await.ok(), "done");
    old.until("drained after").await;
    site.update(2);
    let mut third = site.start(DRAIN);
    third.until("drains").await;
    answered(parked).await;
    assert_eq!(site.ask().await.1, "v2");
    assert_eq!(old.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_third_process_follows_while_the_first_still_drains() {
    let mut site = Site::new().await;
    site.update(1);
    let mut first = site.first(DRAIN).await;
    let mut busy = H1::connect(site.http()).await;
    busy.ask("/held").await;
    let held = site.upstream.held().await;
    let mut second = site.next(&mut first, DRAIN).await;
    let mut third = site.next(&mut second, DRAIN).await;
    assert_eq!(second.exit().await.code(), Some(0));
    assert!(first.is_running());
    held.answer("done");
    assert_eq!(busy.response().await.ok(), "done");
    assert_eq!(first.exit().await.code(), Some(0));
    assert_eq!(site.ask().await.1, "v1");
    assert!(third.is_running());
}

#[tokio::test]
async fn a_stranger_at_the_meeting_point_changes_nothing() {
    let site = Site::new().await;
    site.update(1);
    let mut old = site.first(DRAIN).await;
    let takeover = take_over(&site.meeting(), &HandoverOptions::default()).await;
    let mut takeover = takeover
        .expect("it is not refused")
        .expect("somebody is there");
    // The HTTP port and the admin port.
    assert_eq!(takeover.sockets().len(), 2);
    drop(takeover);
    old.until("serving on").await;
    assert_eq!(site.ask().await.1, "v1");
}

#[tokio::test]
async fn twenty_hot_restarts_under_a_crowd_lose_nothing() {
    restarts(Site::new().await, |_| String::new()).await;
}

#[tokio::test]
async fn hot_restarts_to_more_workers_and_fewer_lose_nothing_of_a_socket_for_each() {
    let workers = |process| {
        format!(
            "--runtime-per-worker --concurrency {}",
            [2, 4, 1, 3][process % 4]
        )
    };
    restarts(Site::new().await.with_reuse_port(), workers).await;
}

/// Twenty processes one after the other, each with flags of its own, and clients that never rest.
async fn restarts(site: Site, flags: impl Fn(usize) -> String) {
    let flags = |process| format!("--drain-time-s 4 {}", flags(process));
    site.update(1);
    let mut serving = site.first(&flags(0)).await;
    let crowd = Crowd::start(site.http());
    crowd.some_more().await;
    let mut drained = Vec::new();
    let mut descriptors = Vec::new();
    for (process, version) in (1..=20).zip(2..) {
        site.update(version);
        serving.until(&format!("lds: version \"{version}\"")).await;
        let next = site.next(&mut serving, &flags(process)).await;
        drained.push(std::mem::replace(&mut serving, next));
        crowd.some_more().await;
        descriptors.push(serving.descriptors());
    }
    crowd.stop().await;
    for mut old in drained {
        assert_eq!(old.exit().await.code(), Some(0));
    }
    // As many as the connections and workers of the moment, however many processes there were.
    let most = descriptors.iter().max().expect("there was one");
    assert!(*most < descriptors[0] + 32, "{descriptors:?}");
}

/// Connections that the kernel has taken, each with a request.
async fn answered(parked: Vec<H1>) {
    for mut client in parked {
        assert!(client.response().await.ok().starts_with('v'));
    }
}

#[tokio::test]
async fn of_attempts_that_come_to_nothing_no_more_is_said_than_anybody_reads() {
    let site = Site::new().await;
    site.update(1);
    let mut old = site.first(DRAIN).await;
    for _ in 0..100 {
        let mut stranger = UnixStream::connect(site.meeting())
            .await
            .expect("it listens");
        stranger.write_all(b"nonsense").await.expect("it is there");
        // Hung up, perhaps before all was read.
        stranger.read_to_end(&mut Vec::new()).await.ok();
    }
    let stats = H1::connect(site.admin()).await.get("/stats").await.ok();
    let withheld = stats
        .lines()
        .find_map(|line| line.strip_prefix("edge.withheld_log_lines: "));
    let withheld: usize = withheld.expect("it is there").parse().expect("a number");
    assert!(withheld > 50, "{withheld}");
    site.next(&mut old, DRAIN).await;
    let said = old.said().iter();
    let said = said.filter(|line| line.contains("serving on")).count();
    // 30 at once, and what becomes free meanwhile.
    assert!((1..50).contains(&said), "{:#?}", old.said());
}

/// Clients that never rest: half of them with a connection for each request.
struct Crowd {
    clients: JoinSet<()>,
    over: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
}

impl Crowd {
    fn start(address: SocketAddr) -> Self {
        let mut crowd = Self {
            clients: JoinSet::new(),
            over: Arc::default(),
            answers: Arc::default(),
        };
        for client in 0..8 {
            let (over, answers) = (Arc::clone(&crowd.over), Arc::clone(&crowd.answers));
            crowd
                .clients
                .spawn(ask_on(address, client % 2 == 0, over, answers));
        }
        crowd
    }

    /// A good many answers later.
    async fn some_more(&self) {
        let enough = self.answers.load(Ordering::Relaxed) + 200;
        while self.answers.load(Ordering::Relaxed) < enough {
            tokio::task::yield_now().await;
        }
    }

    /// Each of them panics over anything that it misses.
    async fn stop(mut self) {
        self.over.store(true, Ordering::Relaxed);
        while let Some(client) = self.clients.join_next().await {
            client.expect("nothing is lost");
        }
    }
}

async fn ask_on(
    address: SocketAddr,
    stays: bool,
    over: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
) {
    while !over.load(Ordering::Relaxed) {
        let mut client = H1::connect(address).await;
        loop {
            let response = client.get("/version").await;
            assert!(response.ok().starts_with('v'));
            answers.fetch_add(1, Ordering::Relaxed);
            if response.says_close() {
                assert_eq!(client.end().await, End::Fin);
                break;
            }
            if !stays || over.load(Ordering::Relaxed) {
                break;
            }
        }
    }
}
