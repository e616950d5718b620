//! hyper-util's auto connection in a drain: also one that does not know its client's version yet.
#![cfg(feature = "hyper-util")]

use crate::rig;

use std::error::Error;
use std::time::Duration;

use drain_signal::{CloseCause, Closed, DrainTrigger, drive};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use proto_drain_http1::{
    CleanEnd, CloseCounters, DrainService, Http1Connection, Http1Settings, LingerIo,
    LingerSettings, Outcome,
};
use rig::{DRAIN_TIME, GET, ok, settle};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::Instant;

type Served = Closed<Outcome<Result<(), Box<dyn Error + Send + Sync>>>>;

fn serve() -> (DuplexStream, DrainTrigger, JoinHandle<Served>) {
    serve_counted(&CloseCounters::new(), true)
}

fn serve_counted(
    counters: &CloseCounters,
    upgrades: bool,
) -> (DuplexStream, DrainTrigger, JoinHandle<Served>) {
    let (client, server) = duplex(4096);
    let (trigger, signal) = drain_signal::channel();
    let watch = signal.watch().unwrap();
    let io = LingerIo::new(server, LingerSettings::default(), counters.clone());
    let io = io.with_spawner(|lingering| {
        tokio::spawn(lingering);
    });
    let exchanges = io.exchanges().clone();
    let service = DrainService::new(service_fn(ok), watch.handle(), exchanges.clone());
    let served = tokio::spawn(async move {
        let builder = Builder::new(TokioExecutor::new());
        let (io, settings) = (TokioIo::new(io), Http1Settings::default());
        if upgrades {
            let connection = builder.serve_connection_with_upgrades(io, service);
            let connection = CleanEnd::new(connection);
            drive(Http1Connection::new(connection, exchanges, settings), watch).await
        } else {
            let connection = CleanEnd::new(builder.serve_connection(io, service));
            drive(Http1Connection::new(connection, exchanges, settings), watch).await
        }
    });
    (client, trigger, served)
}

async fn rest(client: &mut DuplexStream) -> String {
    let mut rest = String::new();
    client.read_to_string(&mut rest).await.unwrap();
    rest
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_still_waits_for_its_first_byte_ends_without_an_error() {
    let (mut client, trigger, served) = serve();
    settle().await;
    rig::begin(trigger);
    let start = Instant::now();
    assert_eq!(rest(&mut client).await, "");
    assert_eq!(
        start.elapsed(),
        Duration::from_secs(10),
        "pre_session_timeout"
    );
    let closed = served.await.unwrap();
    assert!(
        matches!(closed.output, Some(Outcome::Ended(Ok(())))),
        "{closed:?}"
    );
    assert_eq!(closed.cause, CloseCause::Drained);
}

#[tokio::test(start_paused = true)]
async fn a_first_byte_that_both_versions_begin_with_is_not_lost_at_the_last_word() {
    // "P" may become POST or the preface of HTTP/2.
    let (mut client, trigger, served) = serve();
    client.write_all(b"P").await.unwrap();
    settle().await;
    rig::begin(trigger);
    tokio::time::sleep(DRAIN_TIME - Duration::from_millis(500)).await;
    client
        .write_all(b"OST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
        .await
        .unwrap();
    let response = rest(&mut client).await;
    assert!(
        response.contains("connection: close\r\n") && response.ends_with("\r\n\r\nok"),
        "{response}"
    );
    drop(client);
    assert_eq!(served.await.unwrap().cause, CloseCause::Finished);
}

#[tokio::test(start_paused = true)]
async fn an_http1_client_of_it_is_told_by_its_next_response() {
    let (mut client, trigger, served) = serve();
    settle().await;
    rig::begin(trigger);
    client.write_all(GET.as_bytes()).await.unwrap();
    assert!(rest(&mut client).await.contains("connection: close\r\n"));
    drop(client);
    let closed = served.await.unwrap();
    assert!(
        matches!(closed.output, Some(Outcome::Ended(Ok(())))),
        "{closed:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_idle_auto_connection_closes_at_the_deadline_in_good_order() {
    for upgrades in [true, false] {
        let counters = CloseCounters::new();
        let (mut client, trigger, served) = serve_counted(&counters, upgrades);
        client.write_all(GET.as_bytes()).await.unwrap();
        settle().await;
        rig::begin(trigger);
        let start = Instant::now();
        assert!(rest(&mut client).await.ends_with("\r\n\r\nok"));
        assert_eq!(start.elapsed(), DRAIN_TIME, "upgrades: {upgrades}");
        drop(client);
        let output = served.await.unwrap().output.and_then(Outcome::ended);
        assert!(matches!(output, Some(Ok(()))), "upgrades: {upgrades}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_auto_connection_lingers_until_its_client_has_what_was_sent() {
    let counters = CloseCounters::new();
    let (mut client, _trigger, served) = serve_counted(&counters, true);
    client.write_all(GET.as_bytes()).await.unwrap();
    settle().await;
    served.abort();
    assert!(served.await.unwrap_err().is_cancelled());
    // It still talks, and is still listened to.
    client.write_all(GET.as_bytes()).await.unwrap();
    settle().await;
    assert!(rest(&mut client).await.ends_with("\r\n\r\nok"));
    client.write_all(b"more").await.unwrap();
    drop(client);
    settle().await;
    let counts = counters.counts();
    assert_eq!((counts.staged, counts.aborted), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_auto_connection_cancelled_while_it_sniffs_just_ends() {
    let counters = CloseCounters::new();
    let (mut client, _trigger, served) = serve_counted(&counters, true);
    client.write_all(b"P").await.unwrap();
    settle().await;
    served.abort();
    assert!(served.await.unwrap_err().is_cancelled());
    // Nothing was ever sent that could be destroyed.
    assert_eq!(rest(&mut client).await, "");
    assert_eq!(counters.counts().aborted, 0);
}
