//! A version that warms takes an address over only when it is warm: until then the version that was
//! there before it goes on accepting.

use std::net::SocketAddr;

use crate::common::wire::{answer, ask, bounded, connect, free, lds, listeners, port};
use crate::common::{Config, at};
use listener_versions::{Listeners, VersionState};
use tokio::io::AsyncReadExt;
use tokio_test::{assert_pending, assert_ready, task};

fn process() -> Listeners<Config> {
    let (listeners, driver) = listeners();
    tokio::spawn(driver);
    tokio::spawn(listeners.worker().run(answer));
    listeners
}

fn version(listeners: &Listeners<Config>, name: &str) -> u64 {
    let versions = listeners.snapshot();
    let newest = versions.iter().rev().find(|version| &*version.name == name);
    newest.expect("it is listed").number
}

/// `a` listens at an address, gives it up, and `b` takes it and warms. Where `a` listened, and the
/// number of its first version.
async fn given_up(listeners: &Listeners<Config>, removed: bool) -> (SocketAddr, u64) {
    let (x, y) = (free(), free());
    lds(listeners, [at("a", x.clone(), 0)]).await;
    let (at_x, first) = (port(listeners, "a"), version(listeners, "a"));
    let b = at("b", x, 0).warming();
    if removed {
        lds(listeners, [b]).await;
    } else {
        lds(listeners, [at("a", y, 0), b]).await;
        let at_y = port(listeners, "a");
        assert_eq!(
            ask(at_y).await.expect("a is there"),
            version(listeners, "a")
        );
    }
    (at_x, first)
}

#[tokio::test]
async fn the_version_before_it_serves_until_it_is_warm_then_drains() {
    for removed in [true, false] {
        let listeners = process();
        let (at_x, first) = given_up(&listeners, removed).await;
        let mut clients = Vec::new();
        for _ in 0..3 {
            let mut client = connect(at_x).await;
            assert_eq!(
                bounded(client.read_u64()).await.expect("it is served"),
                first
            );
            clients.push(client);
        }
        let b = version(&listeners, "b");
        listeners.warmed(b).expect("it is warming");
        assert_eq!(bounded(ask(at_x)).await.expect("it is served"), b);
        let views = listeners.snapshot();
        let before = views.iter().find(|version| version.number == first);
        assert_eq!(
            before.expect("it has connections").state,
            VersionState::Draining
        );
        drop(clients);
    }
}

#[tokio::test]
async fn the_version_before_it_goes_with_the_address_if_it_never_gets_warm() {
    let listeners = process();
    let (at_x, first) = given_up(&listeners, true).await;
    let mut client = connect(at_x).await;
    assert_eq!(
        bounded(client.read_u64()).await.expect("it is served"),
        first
    );
    lds(&listeners, []).await;
    assert!(ask(at_x).await.is_err(), "no version wants the address");
    drop(client);
    while !listeners.snapshot().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_listener_that_is_added_again_takes_its_address_back() {
    let listeners = process();
    let x = free();
    lds(&listeners, [at("a", x.clone(), 0)]).await;
    let at_x = port(&listeners, "a");
    lds(&listeners, [at("b", x.clone(), 0).warming()]).await;
    lds(&listeners, [at("a", x, 0)]).await;
    assert_eq!(
        bounded(ask(at_x)).await.expect("it is served"),
        version(&listeners, "a")
    );
    assert_eq!(
        listeners.snapshot().iter().filter(|v| v.accepting).count(),
        1
    );
}

/// One thread: a worker that spins would hang everything.
#[tokio::test]
async fn connections_that_come_all_the_time_are_served_by_one_or_the_other() {
    let listeners = process();
    let (at_x, first) = given_up(&listeners, false).await;
    let b = version(&listeners, "b");
    for round in 0..40 {
        let version = bounded(ask(at_x)).await.expect("it is served");
        assert_eq!(version, if round < 20 { first } else { b });
        if round == 19 {
            listeners.warmed(b).expect("it is warming");
        }
    }
}

/// All of thousands were woken for each one: millions of looks in an update.
#[tokio::test]
async fn who_waits_for_a_version_is_not_woken_because_another_one_is_warm() {
    let listeners = process();
    let names: Vec<_> = (0..20).map(|index| format!("l{index}")).collect();
    let configs = names.iter().map(|name| at(name, free(), 0).warming());
    lds(&listeners, configs).await;
    let warming = |name: &String| listeners.warming(name).map(|version| version.number());
    let numbers: Vec<_> = names.iter().filter_map(warming).collect();
    let wait = |version: &u64| task::spawn(listeners.until_warm(*version));
    let mut waits: Vec<_> = numbers.iter().map(wait).collect();
    assert_eq!(waits.len(), names.len());
    for wait in &mut waits {
        assert_pending!(wait.poll());
    }
    listeners.warmed(numbers[7]).expect("it is warming");
    let woken = waits.iter().map(|wait| wait.is_woken());
    let woken: Vec<_> = woken
        .enumerate()
        .filter(|(_, is_woken)| *is_woken)
        .collect();
    assert_eq!(woken, [(7, true)]);
    assert_ready!(waits[7].poll());
    assert_eq!(warming(&names[7]), None);
    assert_eq!(warming(&names[8]), Some(numbers[8]));
}
