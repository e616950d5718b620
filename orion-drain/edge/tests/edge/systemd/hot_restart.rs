//! A service whose process is replaced by another one: what is the unit's stays the unit's, and
//! what is stored stays stored.

use super::*;

#[tokio::test]
async fn a_hot_restart_changes_the_main_process_and_stops_nothing() {
    let manager = Manager::start();
    let path = manager.folder.path().join("hot-restart");
    let flags = format!(
        "--hot-restart-path {} --drain-time-s 300 --drain-strategy immediate",
        path.display()
    );
    let mut old = manager.edge(&flags, &http(1, 0), vec![], "").await;
    manager.hears("READY=1\nSTATUS=serving").await;
    let mut client = H1::connect(old.address("http").await).await;
    client.ask("/held").await;
    let held = old.upstream.held().await;
    let new = manager.edge(&flags, &http(2, 0), vec![], "").await;
    let told = manager.told().await.text;
    let pid = told.strip_prefix("MAINPID=").expect("a process");
    assert_eq!(pid.parse().ok(), Some(new.pid()));
    manager.hears("READY=1\nSTATUS=serving").await;
    old.until("draining 1 connections").await;
    held.answer("done");
    assert!(client.response().await.says_close());
    drop(client);
    assert_eq!(old.exit().await.code(), Some(0));
    // The old one has said nothing: this comes next.
    new.signal("HUP").await;
    assert!(manager.told().await.text.starts_with("RELOADING=1"));
    end(new).await;
}

/// Starts the next process while this one serves.
async fn replaced(manager: &Manager, flags: &str, mut old: Edge, next: &str) -> Edge {
    let new = manager.edge(flags, next, vec![], "").await;
    assert_eq!(old.exit().await.code(), Some(0));
    new
}

fn hot_restart(manager: &Manager) -> String {
    let path = manager.folder.path().join("hot-restart");
    format!(
        "--hot-restart-path {} --drain-time-s 5 --shutdown-minimum-s 0",
        path.display()
    )
}

#[tokio::test]
async fn the_socket_of_a_unit_listens_on_when_a_process_stops_that_took_it_over() {
    let manager = Manager::start();
    let (socket, address) = socket();
    let unit = socket.try_clone().expect("a descriptor");
    let flags = hot_restart(&manager);
    let flags = format!("{flags} --systemd-fd-store");
    let first = http(1, address.port());
    let old = manager
        .edge(&flags, &first, vec![socket], "edge.socket")
        .await;
    manager.hears("READY=1\nSTATUS=serving").await;
    let mut new = replaced(&manager, &flags, old, &http(2, address.port())).await;
    assert!(manager.told().await.text.starts_with("MAINPID="));
    // It is the unit's, and is not stored.
    manager.hears("READY=1\nSTATUS=serving").await;
    new.signal("TERM").await;
    new.exit().await;
    let mut client = H1::connect(address).await;
    client.ask("/version").await;
    let next = http(3, address.port());
    let _edge = manager.edge(&flags, &next, vec![unit], "edge.socket").await;
    assert_eq!(client.response().await.ok(), "v3");
}

#[tokio::test]
async fn what_is_stored_stays_stored_when_the_process_that_stored_it_is_replaced() {
    let manager = Manager::start();
    let (free, address) = socket();
    drop(free);
    let flags = format!("{} --systemd-fd-store", hot_restart(&manager));
    let stored = format!("FDSTORE=1\nFDNAME=listen-127.0.0.1={}", address.port());
    let old = manager
        .edge(&flags, &http(1, address.port()), vec![], "")
        .await;
    manager.hears(&stored).await;
    manager.hears("READY=1\nSTATUS=serving").await;
    let new = replaced(&manager, &flags, old, &http(2, address.port())).await;
    // Of the old one there is not a word.
    manager.hears(&stored).await;
    assert!(manager.told().await.text.starts_with("MAINPID="));
    manager.hears("READY=1\nSTATUS=serving").await;
    new.signal("HUP").await;
    assert!(manager.told().await.text.starts_with("RELOADING=1"));
    end(new).await;
}
