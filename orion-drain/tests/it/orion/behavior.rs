//! `protocol_handling` on live connections, on pipes under paused time.

use std::time::Duration;

use orion_drain::conn_tracker::Peer;
use orion_drain::orion::{ConnectionState, ProtocolDrainBehavior};
use orion_drain::proto_drain_tcp::CopyOptions;
use orion_drain::serve::{TcpServer, serve_tcp};
use orion_drain::stats::Stats;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::Instant;

use super::signaling::{client, context, signaling, update};
use super::support::{closes, ends, get};

const SILENT: ProtocolDrainBehavior = ProtocolDrainBehavior::Http1 {
    connection_close: false,
};

#[tokio::test(start_paused = true)]
async fn http1_without_connection_close_is_served_to_the_deadline_without_a_word() {
    let manager = signaling();
    let context = context(&manager);
    let mut client = client(&context);
    get(&mut client).await;
    let start = Instant::now();
    let sequence = manager.start_listener_draining(update().with_protocol_behavior(SILENT));
    tokio::spawn(sequence.expect("it is paced"));
    while start.elapsed() < Duration::from_secs(59) {
        assert!(!closes(&get(&mut client).await));
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    ends(&mut client).await;
    assert_eq!(start.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_behavior_of_another_protocol_changes_nothing() {
    let manager = signaling();
    let context = context(&manager);
    let mut client = client(&context);
    get(&mut client).await;
    let goaway = ProtocolDrainBehavior::Http2 { send_goaway: false };
    let sequence = manager.start_listener_draining(update().with_protocol_behavior(goaway));
    tokio::spawn(sequence.expect("it is paced"));
    assert!(closes(&get(&mut client).await));
}

#[tokio::test(start_paused = true)]
async fn tcp_is_cut_so_long_after_its_slot_however_busy() {
    let manager = signaling();
    let context = context(&manager);
    let (mut client, accepted) = duplex(1024);
    let (upstream, mut far) = duplex(1024);
    let connection = context
        .connection(Peer::Unknown)
        .expect("it is not drained");
    let seen = connection.downgrade();
    let server = TcpServer::new(CopyOptions::new(), Stats::new().tcp("tcp"));
    tokio::spawn(async move { serve_tcp(accepted, upstream, connection, &server).await });
    let start = Instant::now();
    let soon = ProtocolDrainBehavior::Tcp {
        force_close_after: Duration::from_secs(3),
    };
    let sequence = manager.start_listener_draining(update().with_protocol_behavior(soon));
    tokio::spawn(sequence.expect("it is paced"));
    let mut got = [0; 3];
    for _ in 0..29 {
        client.write_all(b"abc").await.expect("it is open");
        far.read_exact(&mut got).await.expect("it is relayed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let draining = seen.upgrade().map(|connection| connection.guard().state());
    assert_eq!(draining, Some(ConnectionState::Draining));
    ends(&mut client).await;
    assert_eq!(start.elapsed().as_secs(), 3);
}
