//! When `close_when_idle` closes, and what it leaves alone.
#![cfg(feature = "hyper")]

use crate::rig;

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use drain_signal::{DrainDecision, GracefulClose};
use futures_util::FutureExt;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proto_drain_http1::{
    CloseCounters, DrainService, Exchanges, GracefulShutdown, Http1Connection, Http1Settings,
    IdlePolicy, LingerIo, LingerSettings, Outcome,
};
use rig::{Answer, GET, full, ok};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, timeout};

const SECOND: Duration = Duration::from_secs(1);

/// Nothing drains.
struct Never;

impl DrainDecision for Never {
    fn is_due(&self) -> bool {
        false
    }
}

/// A connection, and its client.
fn serve<F>(
    idle: IdlePolicy,
    answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
) -> (
    DuplexStream,
    Pin<Box<Http1Connection<impl GracefulShutdown<Output = hyper::Result<()>>>>>,
)
where
    F: Future<Output = Answer> + Send + 'static,
{
    let (client, server) = duplex(1024);
    let io = LingerIo::new(server, LingerSettings::default(), CloseCounters::new());
    let exchanges = io.exchanges().clone();
    let service = DrainService::new(service_fn(answer), Never, exchanges.clone());
    let server = http1::Builder::new().serve_connection(TokioIo::new(io), service);
    let settings = Http1Settings::default().with_idle(idle);
    let connection = Http1Connection::new(server, exchanges, settings);
    (client, Box::pin(connection))
}

#[tokio::test(start_paused = true)]
async fn a_first_head_that_does_not_end_holds_up_a_close_for_ten_seconds() {
    for (first, held_up) in [("G", 10), ("\r\n", 0)] {
        let (mut client, mut connection) = serve(IdlePolicy::WhenItSpeaks, ok);
        client.write_all(first.as_bytes()).await.unwrap();
        assert!((&mut connection).now_or_never().is_none());
        let start = Instant::now();
        connection.as_mut().close_when_idle();
        let early = timeout(9 * SECOND, &mut connection).await;
        assert_eq!(early.is_ok(), held_up == 0, "{first:?}");
        // Once more changes nothing.
        connection.as_mut().close_when_idle();
        let outcome = match early {
            Ok(outcome) => outcome,
            Err(_) => timeout(60 * SECOND, &mut connection).await.unwrap(),
        };
        assert!(outcome.ended().is_none(), "{first:?}");
        assert_eq!(start.elapsed().as_secs(), held_up, "{first:?}");
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_request_that_is_being_answered_gets_its_response_before_the_close() {
    let (mut client, mut connection) = serve(IdlePolicy::WhenItSpeaks, async |_| {
        tokio::time::sleep(SECOND).await;
        Ok(Response::new(full("ok")))
    });
    client.write_all(GET.as_bytes()).await.unwrap();
    assert!((&mut connection).now_or_never().is_none());
    connection.as_mut().close_when_idle();
    let served = tokio::spawn(connection);
    let mut response = String::new();
    client.read_to_string(&mut response).await.unwrap();
    assert!(
        response.contains("connection: close\r\n") && response.ends_with("\r\n\r\nok"),
        "{response}"
    );
    drop(client);
    assert!(matches!(served.await.unwrap().ended(), Some(Ok(()))));
}

#[tokio::test(start_paused = true)]
async fn a_grace_that_runs_goes_on() {
    let (mut client, mut connection) = serve(IdlePolicy::AfterGrace(5 * SECOND), ok);
    client.write_all(GET.as_bytes()).await.unwrap();
    assert!((&mut connection).now_or_never().is_none());
    let start = Instant::now();
    connection.as_mut().close_when_idle();
    assert!(timeout(3 * SECOND, &mut connection).await.is_err());
    connection.as_mut().close_when_idle();
    let served = tokio::spawn(connection);
    client.read_to_end(&mut Vec::new()).await.unwrap();
    assert_eq!(start.elapsed(), 5 * SECOND);
    drop(client);
    assert!(matches!(served.await.unwrap().ended(), Some(Ok(()))));
}

/// A connection that counts how often it is asked to leave.
struct Asked(u32);

impl Future for Asked {
    type Output = ();
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl GracefulShutdown for Asked {
    fn graceful_shutdown(mut self: Pin<&mut Self>) {
        self.0 += 1;
    }
}

#[test]
fn a_connection_is_asked_once_and_dropped_by_an_abort() {
    let mut cx = Context::from_waker(Waker::noop());
    let settings = Http1Settings::default();
    let mut connection = pin!(Http1Connection::new(Asked(0), Exchanges::new(), settings));
    for _ in 0..2 {
        connection.as_mut().close_when_idle();
        assert!(connection.as_mut().poll(&mut cx).is_pending());
        assert_eq!(connection.as_mut().get_pin_mut().unwrap().0, 1);
    }
    connection.as_mut().abort();
    // Too late: the deadline has come.
    connection.as_mut().close_when_idle();
    assert_eq!(connection.as_mut().get_pin_mut().unwrap().0, 1);
    assert_eq!(
        connection.as_mut().poll(&mut cx),
        Poll::Ready(Outcome::Aborted)
    );
    assert!(connection.get_pin_mut().is_none());
}

#[test]
fn a_connection_shares_its_exchanges() {
    let exchanges = Exchanges::new();
    let connection = Http1Connection::new(Asked(0), exchanges.clone(), Http1Settings::default());
    exchanges.switch_to_tunnel();
    assert!(connection.exchanges().is_tunnel());
}
