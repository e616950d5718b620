//! The tower service: one question per HTTP/1 response, none for HTTP/2.
#![cfg(feature = "tower")]

use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use drain_signal::DrainDecision;
use http::{Method, Request, Response, StatusCode, Version};
use proto_drain_http1::{
    CloseCounters, DrainLayer, Exchanges, GracefulShutdown, Http1Connection, Http1Settings,
    LingerIo, LingerSettings,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower_layer::Layer;
use tower_service::Service;

/// Says yes, and how often it was asked.
#[derive(Clone, Default)]
struct Counting(Arc<AtomicU32>);

impl DrainDecision for Counting {
    fn is_due(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed);
        true
    }
}

/// Answers, takes what switches, or fails if the request asks for it.
#[derive(Clone)]
struct Inner;

impl Service<Request<()>> for Inner {
    type Response = Response<String>;
    type Error = &'static str;
    type Future = Ready<Result<Response<String>, &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        ready(if request.uri() == "/fail" {
            Err("asked to")
        } else {
            let mut response = Response::new(String::new());
            if request.uri() == "/switch" {
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            }
            Ok(response)
        })
    }
}

#[tokio::test]
async fn the_decision_is_asked_once_per_http1_response_and_never_for_http2() {
    let decision = Counting::default();
    let mut service = DrainLayer::new(decision.clone(), Exchanges::new()).layer(Inner);
    for (asked, version, said) in [(0, Version::HTTP_11, true), (1, Version::HTTP_2, false)] {
        let future = service.call(Request::builder().version(version).body(()).unwrap());
        assert_eq!(
            decision.0.load(Ordering::Relaxed),
            asked,
            "asked before the response is there"
        );
        let response = future.await.unwrap();
        assert_eq!(response.headers().contains_key("connection"), said);
        assert_eq!(decision.0.load(Ordering::Relaxed), 1, "{version:?}");
    }
    assert!(
        service
            .call(Request::get("/fail").body(()).unwrap())
            .await
            .is_err()
    );
    assert_eq!(
        decision.0.load(Ordering::Relaxed),
        1,
        "an error is no response"
    );
}

/// Says this when it is asked whether it is ready.
struct Says(Poll<Result<(), &'static str>>);

impl Service<Request<()>> for Says {
    type Response = Response<String>;
    type Error = &'static str;
    type Future = Ready<Result<Response<String>, &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        self.0
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Err("not asked here"))
    }
}

#[test]
fn a_service_is_ready_when_the_one_inside_is() {
    let waker = std::task::Waker::noop();
    for said in [Poll::Pending, Poll::Ready(Ok(())), Poll::Ready(Err("full"))] {
        let mut service = DrainLayer::new(Counting::default(), Exchanges::new()).layer(Says(said));
        let ready = service.poll_ready(&mut Context::from_waker(waker));
        assert_eq!(ready, said);
    }
}

#[tokio::test]
async fn a_response_that_makes_a_tunnel_is_not_asked_about() {
    for (method, path) in [(Method::GET, "/switch"), (Method::CONNECT, "a:1")] {
        let (decision, exchanges) = (Counting::default(), Exchanges::new());
        let mut service = DrainLayer::new(decision.clone(), exchanges.clone()).layer(Inner);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(())
            .unwrap();
        let response = service.call(request).await.unwrap();
        assert!(exchanges.is_tunnel() && !response.headers().contains_key("connection"));
        assert_eq!(decision.0.load(Ordering::Relaxed), 0, "{path}");
    }
}

#[tokio::test]
async fn a_request_is_open_until_its_response_is_handed_on() {
    let exchanges = Exchanges::new();
    let mut service = DrainLayer::new(Counting::default(), exchanges.clone()).layer(Inner);
    let future = service.call(Request::new(()));
    assert!(exchanges.is_answering());
    future.await.unwrap();
    assert!(!exchanges.is_answering());

    drop(service.call(Request::new(())));
    assert!(!exchanges.is_answering());

    let stream = service.call(
        Request::builder()
            .version(Version::HTTP_2)
            .body(())
            .unwrap(),
    );
    assert!(!exchanges.is_answering());
    drop(stream);
}

/// A connection that notes whether it was asked to leave.
struct Noting(Arc<AtomicU32>);

impl Future for Noting {
    type Output = ();
    fn poll(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl GracefulShutdown for Noting {
    fn graceful_shutdown(self: std::pin::Pin<&mut Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn the_bytes_of_an_http2_connection_are_no_half_a_request() {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let (server, mut client) = tokio::io::duplex(64);
        let mut io = LingerIo::new(server, LingerSettings::default(), CloseCounters::new());
        let mut service = DrainLayer::new(Counting::default(), io.exchanges().clone()).layer(Inner);
        service
            .call(Request::builder().version(version).body(()).unwrap())
            .await
            .unwrap();
        // Half a head in HTTP/1, any frame in HTTP/2.
        client.write_all(b"GET").await.unwrap();
        io.read_exact(&mut [0; 3]).await.unwrap();
        let asked = Arc::new(AtomicU32::new(0));
        let exchanges = io.exchanges().clone();
        let connection = Http1Connection::new(
            Noting(Arc::clone(&asked)),
            exchanges,
            Http1Settings::default(),
        );
        let mut connection = std::pin::pin!(connection);
        connection.as_mut().close_when_idle();
        let waker = std::task::Waker::noop();
        assert!(
            connection
                .poll(&mut Context::from_waker(waker))
                .is_pending()
        );
        let is_http2 = version == Version::HTTP_2;
        assert_eq!(
            asked.load(Ordering::Relaxed),
            u32::from(is_http2),
            "{version:?}"
        );
    }
}
