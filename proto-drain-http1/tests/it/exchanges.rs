//! What the parts of a connection tell one another, by their guards.

use std::sync::{Arc, Mutex};

use http::Request;
use proto_drain_http1::{
    Activity, ActivityObserver, CloseCounters, Exchanges, LingerIo, LingerSettings, RequestFacts,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

#[derive(Clone, Default)]
struct Noted(Arc<Mutex<Vec<Activity>>>);

impl Noted {
    fn all(&self) -> Vec<Activity> {
        self.0.lock().unwrap().clone()
    }
}

impl ActivityObserver for Noted {
    fn activity(&self, activity: Activity) {
        self.0.lock().unwrap().push(activity);
    }
}

#[test]
fn an_exchange_lasts_until_its_last_guard() {
    let noted = Noted::default();
    let exchanges = Exchanges::with_observer(noted.clone());
    let request = RequestFacts::of(&Request::get("/").body(()).unwrap());
    let busy = Activity::InRequest { streams: 1 };
    let exchange = exchanges.begin(&request);
    assert!(exchanges.is_answering());
    assert_eq!(noted.all(), [busy]);
    let one_more = exchanges.guard();
    drop(exchange);
    assert!(exchanges.is_answering());
    assert_eq!(noted.all(), [busy]);
    drop(one_more);
    assert!(!exchanges.is_answering());
    assert_eq!(noted.all(), [busy, Activity::Idle]);
}

#[tokio::test]
async fn what_comes_behind_a_response_until_its_requests_body_ends_is_that_body() {
    let (server, mut client) = duplex(64);
    let mut io = LingerIo::new(server, LingerSettings::default(), CloseCounters::new());
    let exchanges = io.exchanges().clone();
    let request = Request::post("/").header("content-length", 8);
    let request = RequestFacts::of(&request.body(()).unwrap());
    let exchange = exchanges.begin(&request);
    assert!(!exchanges.has_open_body());
    let (body, one_more) = (exchanges.body(), exchanges.body());
    drop(exchange);
    client.write_all(b"the ").await.unwrap();
    io.read_exact(&mut [0; 4]).await.unwrap();
    drop(one_more);
    assert!(exchanges.has_open_body());
    client.write_all(b"body").await.unwrap();
    io.read_exact(&mut [0; 4]).await.unwrap();
    drop(body);
    assert!(!exchanges.has_open_body() && !exchanges.is_receiving());
}

#[tokio::test]
async fn a_body_given_up_late_takes_no_bytes_of_the_requests_behind_it() {
    let (server, mut client) = duplex(64);
    let mut io = LingerIo::new(server, LingerSettings::default(), CloseCounters::new());
    let exchanges = io.exchanges().clone();
    let body = exchanges.body();
    // The next request is being answered, and half of one more has come.
    client
        .write_all(b"GET / HTTP/1.1\r\n\r\nGET")
        .await
        .unwrap();
    io.read_exact(&mut [0; 21]).await.unwrap();
    let exchange = exchanges.begin(&RequestFacts::of(&Request::get("/").body(()).unwrap()));
    drop(body);
    assert!(exchanges.is_receiving());
    drop(exchange);
    assert!(exchanges.is_receiving());
}

#[cfg(feature = "hyper")]
#[test]
fn the_body_of_an_exchange_knows_its_length_and_its_end() {
    use crate::rig::full;
    use hyper::body::Body as _;
    use proto_drain_http1::ExchangeBody;

    let exchanges = Exchanges::new();
    let body = ExchangeBody::new(full("ok"), &exchanges);
    assert!(exchanges.is_answering() && !body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(2));
    drop(body);
    let body = ExchangeBody::new(full(""), &exchanges);
    assert!(!exchanges.is_answering() && body.is_end_stream());
}
