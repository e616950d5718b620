//! `docs/orion.md`: its lines are those of the stand-in, and the stand-in loses nothing.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use orion_drain::drain_tree::{DrainSettings, DrainStrategy};
use orion_drain::listener_versions::VersionState;
use orion_drain::stats::Stats;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::stand_in::{
    FilterChainConfig, FilterChainMatch, FilterchainType, Listener, ListenersManager, shut_down,
};
use super::support::{closes, connect, ends, get, within};

/// Lines without their indentation.
fn lines(text: &str) -> Vec<&str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect()
}

#[test]
fn every_block_of_the_page_is_in_the_stand_in() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/orion.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let code = lines(include_str!("stand_in.rs"));
    let blocks: Vec<_> = page.split("```rust\n").skip(1).collect();
    assert!(blocks.len() >= 7, "{}", blocks.len());
    for block in blocks {
        let block = lines(block.split("```").next().expect("its end"));
        let found = code.windows(block.len()).any(|part| part == block);
        assert!(found, "not in the stand-in:\n{}", block.join("\n"));
    }
}

fn listener(to: SocketAddr, manager: &ListenersManager, drain_timeout: u64) -> Listener {
    let stats = Stats::new();
    let http = FilterChainConfig::Http {
        drain_timeout: Duration::from_secs(drain_timeout),
    };
    let chains = [("http", http), ("tcp", FilterChainConfig::Tcp)];
    let chains =
        chains.map(|(name, config)| (FilterChainMatch(name), FilterchainType::new(config, &stats)));
    Listener::new(to, HashMap::from(chains), manager.routes.watch("shop"))
}

async fn echoes(client: &mut TcpStream) {
    client.write_all(b"Text").await.expect("it is open");
    let mut got = [0; 4];
    within("the echo", client.read_exact(&mut got))
        .await
        .expect("it is open");
    assert_eq!(&got, b"Text");
}

#[tokio::test]
async fn the_stand_in_warms_updates_in_place_and_shuts_down_without_a_loss() {
    let settings = DrainSettings::default()
        .with_strategy(DrainStrategy::Immediate)
        .with_drain_time(Duration::from_secs(5))
        .with_shutdown_minimum(Duration::ZERO);
    let manager = ListenersManager::new(settings, &Stats::new());
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let to = free.expect("a port");

    // It waits for its routes.
    let started = manager.start_listener(listener(to, &manager, 5), "1").await;
    started.expect("it is taken");
    assert_eq!(
        manager.listeners.versions()[0].state(),
        VersionState::Warming
    );
    manager.process_route_update("shop", Some("one".to_owned()));
    let active = async {
        while manager.listeners.active("ingress").is_none() {
            tokio::task::yield_now().await;
        }
    };
    within("the routes", active).await;
    let (mut web, mut tcp) = (connect(to).await, connect(to).await);
    assert_eq!(get(&mut web).await.1, "one");
    echoes(&mut tcp).await;

    // Routes change on open connections.
    manager.process_route_update("shop", Some("two".to_owned()));
    let answer = get(&mut web).await;
    assert!(!closes(&answer) && answer.1 == "two");

    // Only the HTTP chain differs: its connections are asked to finish, the tunnel stays.
    let changed = manager.start_listener(listener(to, &manager, 6), "2").await;
    changed.expect("it is taken");
    assert!(closes(&get(&mut web).await));
    ends(&mut web).await;
    echoes(&mut tcp).await;
    assert_eq!(manager.get_configuration().len(), 1);
    let mut web = connect(to).await;
    assert_eq!(get(&mut web).await.1, "two");

    // The process ends: both are asked, and both end.
    let listeners = [manager.listeners.clone()];
    let ending = async {
        assert!(closes(&get(&mut web).await));
        ends(&mut web).await;
        ends(&mut tcp).await;
        drop((web, tcp));
    };
    let (outcomes, ()) = tokio::join!(shut_down(&listeners), async {
        while !listeners[0].root().is_draining() {
            tokio::task::yield_now().await;
        }
        within("the end of the clients", ending).await;
    });
    assert_eq!(outcomes[0].left, 0);
    assert!(TcpStream::connect(to).await.is_err(), "it listens no more");
    manager.stop_listener("ingress").await;
    manager.process_route_update("shop", None);
}
