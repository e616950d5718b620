//! An unmodified axum router under the layer of one connection.
#![cfg(all(feature = "hyper", feature = "tower"))]

use crate::rig;

use axum::Router;
use axum::body::Body;
use axum::response::sse::{Event, Sse};
use axum::routing::{get, post};
use drain_signal::{CloseCause, Closed, DrainTrigger, drive};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use proto_drain_http1::{
    CloseCounters, DrainLayer, Http1Connection, Http1Settings, LingerIo, LingerSettings, Outcome,
};
use rig::settle;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tower_layer::Layer;

type Served = Closed<Outcome<hyper::Result<()>>>;

fn serve(router: Router) -> (DuplexStream, DrainTrigger, JoinHandle<Served>) {
    let (client, server) = duplex(64 * 1024);
    let (trigger, signal) = drain_signal::channel();
    let watch = signal.watch().unwrap();
    let io = LingerIo::new(server, LingerSettings::default(), CloseCounters::new());
    let exchanges = io.exchanges().clone();
    let service = DrainLayer::new(watch.handle(), exchanges.clone()).layer(router);
    let connection =
        http1::Builder::new().serve_connection(TokioIo::new(io), TowerToHyperService::new(service));
    let connection = Http1Connection::new(connection, exchanges, Http1Settings::default());
    (client, trigger, tokio::spawn(drive(connection, watch)))
}

async fn until(client: &mut DuplexStream, end: &str) -> String {
    let mut got = String::new();
    while !got.ends_with(end) {
        got.push(char::from(client.read_u8().await.unwrap()));
    }
    got
}

#[tokio::test(start_paused = true)]
async fn an_axum_router_says_close_on_its_next_response_and_takes_the_whole_upload() {
    let router = Router::new().route("/", get(async || "hello")).route(
        "/upload",
        post(async |body: String| format!("{} bytes", body.len())),
    );
    let (mut client, trigger, served) = serve(router);
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    assert!(
        !until(&mut client, "\r\n\r\nhello")
            .await
            .contains("connection")
    );
    // The upload has begun when the drain does.
    client
        .write_all(b"POST /upload HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n01234")
        .await
        .unwrap();
    settle().await;
    rig::begin(trigger);
    settle().await;
    client.write_all(b"56789").await.unwrap();
    let mut response = String::new();
    client.read_to_string(&mut response).await.unwrap();
    assert!(
        response.contains("connection: close\r\n") && response.ends_with("10 bytes"),
        "{response}"
    );
    drop(client);
    assert_eq!(served.await.unwrap().cause, CloseCause::Drained);
}

#[tokio::test(start_paused = true)]
async fn an_event_stream_begun_before_the_slot_is_not_cut_by_it() {
    let (events, receiver) = mpsc::unbounded_channel::<&'static str>();
    let receiver = std::sync::Arc::new(std::sync::Mutex::new(Some(receiver)));
    let router = Router::new().route(
        "/events",
        get(async move || {
            let receiver = receiver.lock().unwrap().take().unwrap();
            Sse::new(futures_util::stream::unfold(
                receiver,
                async |mut receiver| {
                    let event = receiver.recv().await?;
                    Some((
                        Ok::<_, std::convert::Infallible>(Event::default().data(event)),
                        receiver,
                    ))
                },
            ))
        }),
    );
    let (mut client, trigger, served) = serve(router);
    client
        .write_all(b"GET /events HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    until(&mut client, "\r\n\r\n").await;
    rig::begin(trigger);
    tokio::time::sleep(rig::DRAIN_TIME / 2).await;
    events.send("still here").unwrap();
    until(&mut client, "data: still here\n\n\r\n").await;
    drop(events);
    assert_eq!(until(&mut client, "0\r\n\r\n").await, "0\r\n\r\n");
    // The next request is the one that is told.
    client
        .write_all(b"GET /none HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    assert!(
        until(&mut client, "\r\n\r\n")
            .await
            .contains("connection: close\r\n")
    );
    drop(client);
    assert_eq!(served.await.unwrap().cause, CloseCause::Drained);
}

#[tokio::test(start_paused = true)]
async fn a_tower_stack_that_connects_is_not_touched_by_the_rule() {
    // 2xx to CONNECT ends HTTP/1: there is nothing to close by a header.
    let router = Router::new().fallback(async || Body::empty());
    let (mut client, trigger, _served) = serve(router);
    settle().await;
    rig::begin(trigger);
    settle().await;
    client
        .write_all(b"CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n")
        .await
        .unwrap();
    let head = until(&mut client, "\r\n\r\n").await;
    assert!(
        head.starts_with("HTTP/1.1 200") && !head.contains("connection"),
        "{head}"
    );
}
