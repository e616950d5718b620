//! A hyper connection in a drain: what it says, what it finishes, when it closes.
#![cfg(feature = "hyper")]

use crate::rig;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use drain_signal::CloseCause;
use futures_util::FutureExt;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proto_drain_http1::{
    Activity, CloseCounters, DrainService, ExchangeBody, Http1Connection, Http1Settings,
    IdlePolicy, LingerIo, LingerSettings, Outcome,
};
use rig::{Answer, DRAIN_TIME, GET, Rig, full, ok, settle, streaming};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

const SECOND: Duration = Duration::from_secs(1);

fn serve_ok() -> Rig {
    Rig::serve(Http1Settings::default(), ok)
}

#[tokio::test(start_paused = true)]
async fn the_next_response_says_close_and_the_connection_ends() {
    let mut rig = serve_ok();
    assert!(!rig.exchanges.took_head());
    assert!(!rig.exchange().await.contains("connection"));
    assert!(rig.exchanges.took_head() && !rig.exchanges.took_head());
    rig.drain().await;
    assert!(rig.exchange().await.contains("connection: close\r\n"));
    assert_eq!(rig.rest().await, "");
    let (closed, counters) = rig.end().await;
    assert!(matches!(closed.output, Some(Outcome::Ended(Ok(())))));
    assert_eq!(
        (closed.cause, counters.counts().staged),
        (CloseCause::Drained, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn requests_pipelined_behind_a_closing_response_are_not_processed() {
    let seen = Arc::new(AtomicU32::new(0));
    let calls = Arc::clone(&seen);
    let mut rig = Rig::serve(Http1Settings::default(), move |request| {
        calls.fetch_add(1, Ordering::Relaxed);
        ok(request)
    });
    rig.drain().await;
    rig.send(&GET.repeat(3)).await;
    let all = rig.rest().await;
    assert_eq!(
        (
            all.matches("HTTP/1.1 200").count(),
            all.matches("connection: close").count()
        ),
        (1, 1)
    );
    assert_eq!(seen.load(Ordering::Relaxed), 1);
    let (closed, counters) = rig.end().await;
    assert_eq!(closed.cause, CloseCause::Drained);
    // What was behind it is not lost: the client knows that it was not processed.
    assert_eq!(
        (counters.counts().staged, counters.counts().aborted),
        (1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_untouched_until_the_deadline_and_closes_there_in_good_order() {
    let mut rig = serve_ok();
    rig.exchange().await;
    rig.drain().await;
    assert_eq!(rig.rest().await, "");
    assert_eq!(rig.elapsed(), DRAIN_TIME);
    let (closed, counters) = rig.end().await;
    assert_eq!(closed.cause, CloseCause::Aborted);
    assert!(matches!(closed.output, Some(Outcome::Ended(Ok(())))));
    assert_eq!(
        (counters.counts().staged, counters.counts().aborted),
        (1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_lies_in_the_socket_at_the_deadline_is_served() {
    let mut rig = serve_ok();
    rig.exchange().await;
    rig.drain().await;
    tokio::time::sleep_until(rig.start + DRAIN_TIME).await;
    rig.client.write_all(GET.as_bytes()).await.unwrap();
    assert!(
        rig.read_until("\r\n\r\nok")
            .await
            .contains("connection: close\r\n")
    );
}

#[tokio::test(start_paused = true)]
async fn what_came_with_a_body_is_no_request_under_way() {
    let mut rig = Rig::serve(Http1Settings::default(), count);
    rig.exchange_post_head().await;
    rig.send("12345").await;
    rig.read_until("got 5.").await;
    assert!(!rig.exchanges.is_receiving());
    rig.drain().await;
    assert_eq!(rig.rest().await, "");
    let (closed, counters) = rig.end().await;
    assert!(matches!(closed.output, Some(Outcome::Ended(Ok(())))));
    assert_eq!(counters.counts().aborted, 0);
}

#[tokio::test(start_paused = true)]
async fn after_grace_closes_an_idle_connection_at_its_slot() {
    let grace = Duration::from_millis(50);
    let mut rig = Rig::serve(
        Http1Settings::default().with_idle(IdlePolicy::AfterGrace(grace)),
        ok,
    );
    rig.exchange().await;
    rig.drain().await;
    assert_eq!(rig.rest().await, "");
    assert_eq!(rig.elapsed(), grace);
    assert_eq!(rig.end().await.0.cause, CloseCause::Drained);
}

#[tokio::test(start_paused = true)]
async fn half_a_request_within_the_grace_keeps_the_connection() {
    let grace = Duration::from_millis(50);
    let mut rig = Rig::serve(
        Http1Settings::default().with_idle(IdlePolicy::AfterGrace(grace)),
        ok,
    );
    rig.exchange().await;
    rig.drain().await;
    let (first, rest) = GET.split_at(7);
    rig.send(first).await;
    tokio::time::sleep(SECOND).await;
    rig.send(rest).await;
    assert!(
        rig.read_until("\r\n\r\nok")
            .await
            .contains("connection: close\r\n")
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_lies_in_the_socket_when_the_grace_ends_is_served() {
    let grace = Duration::from_millis(50);
    let mut rig = Rig::serve(
        Http1Settings::default().with_idle(IdlePolicy::AfterGrace(grace)),
        ok,
    );
    rig.exchange().await;
    rig.drain().await;
    // Written in the instant the grace ends, before the connection's task has run.
    tokio::time::sleep_until(rig.start + grace).await;
    rig.client.write_all(GET.as_bytes()).await.unwrap();
    assert!(
        rig.read_until("\r\n\r\nok")
            .await
            .contains("connection: close\r\n")
    );
}

#[tokio::test(start_paused = true)]
async fn an_empty_line_behind_a_request_begins_no_other() {
    let grace = Duration::from_millis(50);
    let policies = [
        (IdlePolicy::WhenItSpeaks, DRAIN_TIME),
        (IdlePolicy::AfterGrace(grace), grace),
    ];
    for (idle, closed) in policies {
        let mut rig = Rig::serve(Http1Settings::default().with_idle(idle), ok);
        rig.exchange().await;
        rig.send("\r\n").await;
        assert!(!rig.exchanges.is_receiving());
        rig.exchange().await;
        rig.send("\r\n").await;
        rig.drain().await;
        assert_eq!(rig.rest().await, "");
        assert_eq!(rig.elapsed(), closed);
        let (closed, counters) = rig.end().await;
        assert!(matches!(closed.output, Some(Outcome::Ended(Ok(())))));
        assert_eq!(counters.counts().aborted, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_whole_head_is_no_half_of_the_next_however_it_comes_and_whatever_its_line_ends() {
    for end in ["\r\n\r\n", "\n\n", "\r\n\n", "\n\r\n"] {
        let head = format!("GET / HTTP/1.1\r\nhost: a{end}");
        for last in 1..8 {
            let mut rig = serve_ok();
            let (first, last) = head.split_at(head.len() - last);
            rig.send(first).await;
            rig.send(last).await;
            rig.read_until("\r\n\r\nok").await;
            assert!(!rig.exchanges.is_receiving(), "{first:?} {last:?}");
            rig.drain().await;
            assert_eq!(rig.rest().await, "");
            let output = rig.end().await.0.output;
            assert!(
                matches!(output, Some(Outcome::Ended(Ok(())))),
                "{first:?} {last:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_request_head_at_the_slot_is_served_with_close() {
    for first_of_the_connection in [true, false] {
        let mut rig = serve_ok();
        if !first_of_the_connection {
            rig.exchange().await;
        }
        let (first, rest) = GET.split_at(9);
        rig.send(first).await;
        rig.drain().await;
        tokio::time::sleep(20 * SECOND).await;
        rig.send(rest).await;
        assert!(
            rig.read_until("\r\n\r\nok")
                .await
                .contains("connection: close\r\n")
        );
        assert_eq!(rig.end().await.0.cause, CloseCause::Drained);
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_request_head_at_the_last_word_is_not_lost() {
    // The second request of the connection: here hyper's own graceful shutdown would drop what has
    // come.
    let mut rig = serve_ok();
    rig.exchange().await;
    rig.drain().await;
    tokio::time::sleep(DRAIN_TIME - 2 * SECOND).await;
    let (first, rest) = GET.split_at(9);
    rig.send(first).await;
    tokio::time::sleep(SECOND + SECOND / 2).await; // past finish, before abort
    rig.send(rest).await;
    assert!(
        rig.read_until("\r\n\r\nok")
            .await
            .contains("connection: close\r\n")
    );
    assert_eq!(rig.end().await.0.cause, CloseCause::Finished);
}

#[tokio::test(start_paused = true)]
async fn half_a_head_that_came_with_the_request_before_is_not_lost() {
    let mut rig = serve_ok();
    let (first, rest) = GET.split_at(9);
    rig.send(&format!("{GET}{first}")).await;
    rig.read_until("\r\n\r\nok").await;
    rig.drain().await;
    tokio::time::sleep(DRAIN_TIME - SECOND / 2).await;
    rig.send(rest).await;
    assert!(
        rig.read_until("\r\n\r\nok")
            .await
            .contains("connection: close\r\n")
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_lies_in_the_socket_at_the_last_word_is_served() {
    let mut rig = serve_ok();
    rig.exchange().await;
    rig.drain().await;
    // Written in the instant of finish, before the connection's task has run.
    tokio::time::sleep_until(rig.start + DRAIN_TIME - SECOND).await;
    rig.client.write_all(GET.as_bytes()).await.unwrap();
    assert!(
        rig.read_until("\r\n\r\nok")
            .await
            .contains("connection: close\r\n")
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_never_spoke_has_a_bound_of_its_own() {
    let mut rig = serve_ok();
    rig.drain().await;
    assert_eq!(rig.rest().await, "");
    assert_eq!(rig.elapsed(), 10 * SECOND);
    let (closed, counters) = rig.end().await;
    assert_eq!(
        (closed.cause, counters.counts().timed_out),
        (CloseCause::Drained, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_first_request_within_that_bound_is_served() {
    let mut rig = serve_ok();
    rig.drain().await;
    tokio::time::sleep(9 * SECOND).await;
    assert!(rig.exchange().await.contains("connection: close\r\n"));
}

#[tokio::test(start_paused = true)]
async fn half_a_first_request_outlives_that_bound() {
    let mut rig = serve_ok();
    rig.drain().await;
    let (first, rest) = GET.split_at(3);
    rig.send(first).await;
    tokio::time::sleep(30 * SECOND).await;
    rig.send(rest).await;
    assert!(
        rig.read_until("\r\n\r\nok")
            .await
            .contains("connection: close\r\n")
    );
}

#[tokio::test(start_paused = true)]
async fn without_that_bound_a_silent_connection_is_an_idle_one() {
    let mut rig = Rig::serve(Http1Settings::default().with_pre_session_timeout(None), ok);
    rig.drain().await;
    assert_eq!(rig.rest().await, "");
    assert_eq!(rig.elapsed(), DRAIN_TIME);
}

/// Answers with the number of body bytes.
async fn count(request: Request<Incoming>) -> Answer {
    let body = request
        .into_body()
        .collect()
        .await
        .map_err(std::io::Error::other)?
        .to_bytes();
    Ok(Response::new(full(format!("got {}.", body.len()))))
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_runs_when_the_drain_starts_is_taken_whole() {
    let mut rig = Rig::serve(Http1Settings::default(), count);
    rig.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n")
        .await;
    rig.drain().await;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        rig.client.write_all(&[b'x'; 1000]).await.unwrap();
    }
    let response = rig.read_until("got 100000.").await;
    assert!(response.contains("connection: close\r\n"));
    assert_eq!(rig.end().await.0.cause, CloseCause::Drained);
}

#[tokio::test(start_paused = true)]
async fn an_upload_still_running_at_the_last_word_is_taken_whole() {
    let mut rig = Rig::serve(Http1Settings::default(), count);
    rig.exchange_post_head().await;
    rig.drain().await;
    tokio::time::sleep(DRAIN_TIME - SECOND / 2).await;
    rig.send("12345").await;
    assert!(
        rig.read_until("got 5.")
            .await
            .contains("connection: close\r\n")
    );
    assert_eq!(rig.end().await.0.cause, CloseCause::Finished);
}

impl Rig {
    async fn exchange_post_head(&mut self) {
        self.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n")
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_interim_100_says_nothing_and_the_final_response_says_close() {
    let mut rig = Rig::serve(Http1Settings::default(), count);
    rig.drain().await;
    rig.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n")
        .await;
    assert_eq!(
        rig.read_until("\r\n\r\n").await,
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    rig.send("12345").await;
    assert!(
        rig.read_until("got 5.")
            .await
            .contains("connection: close\r\n")
    );
}

/// Upgrades, echoes one word, half-closes and passes on the word that comes after that.
async fn upgrade(mut request: Request<Incoming>, late: mpsc::UnboundedSender<[u8; 4]>) -> Answer {
    tokio::spawn(async move {
        let upgraded = hyper::upgrade::on(&mut request).await.unwrap();
        let mut io = TokioIo::new(upgraded);
        let mut word = [0; 4];
        io.read_exact(&mut word).await.unwrap();
        io.write_all(&word).await.unwrap();
        io.shutdown().await.unwrap();
        io.read_exact(&mut word).await.unwrap();
        late.send(word).unwrap();
    });
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header("connection", "upgrade")
        .header("upgrade", "echo");
    Ok(response.body(full("")).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_response_that_switches_protocols_is_not_touched_and_its_tunnel_half_closes() {
    let (late, mut heard) = mpsc::unbounded_channel();
    let mut rig = Rig::serve(Http1Settings::default(), move |request| {
        upgrade(request, late.clone())
    });
    rig.drain().await;
    rig.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
        .await;
    let head = rig.read_until("\r\n\r\n").await;
    assert!(
        head.starts_with("HTTP/1.1 101 ") && head.contains("connection: upgrade\r\n"),
        "{head}"
    );
    rig.send("ping").await;
    assert_eq!(rig.rest().await, "ping");
    rig.send("late").await;
    assert_eq!(
        tokio::time::timeout(SECOND, heard.recv()).await.unwrap(),
        Some(*b"late")
    );
    assert!(rig.exchanges.is_tunnel());
    let activities = rig.activities.lock().unwrap().clone();
    assert_eq!(
        activities,
        [Activity::InRequest { streams: 1 }, Activity::Tunnel]
    );
    assert_eq!(rig.end().await.1.counts().aborted, 0);
}

#[tokio::test(start_paused = true)]
async fn an_http_1_0_client_is_told_close_alone() {
    let mut rig = serve_ok();
    let get = "GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n";
    rig.send(get).await;
    assert!(
        rig.read_until("\r\n\r\nok")
            .await
            .contains("connection: keep-alive\r\n")
    );
    rig.drain().await;
    rig.send(get).await;
    let response = rig.rest().await;
    assert!(
        response.contains("connection: close\r\n") && !response.contains("keep-alive"),
        "{response}"
    );
}

#[tokio::test(start_paused = true)]
async fn head_and_204_say_close_too() {
    let mut rig = serve_ok();
    rig.drain().await;
    rig.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let head = rig.rest().await;
    assert!(
        head.contains("content-length: 2\r\n") && head.contains("connection: close\r\n"),
        "{head}"
    );

    let mut rig = Rig::serve(Http1Settings::default(), async |_| {
        Ok(Response::builder()
            .status(204)
            .header("connection", "x-hop")
            .body(full(""))
            .unwrap())
    });
    rig.drain().await;
    rig.send(GET).await;
    assert!(rig.rest().await.contains("connection: x-hop, close\r\n"));
}

#[tokio::test(start_paused = true)]
async fn an_observer_learns_of_requests_and_idleness_with_the_body() {
    let (frames, receiver) = mpsc::unbounded_channel();
    let receiver = std::sync::Mutex::new(Some(receiver));
    let exchanges = Arc::new(std::sync::OnceLock::<proto_drain_http1::Exchanges>::new());
    let shared = Arc::clone(&exchanges);
    let mut rig = Rig::serve(Http1Settings::default(), move |_| {
        let body = streaming(receiver.lock().unwrap().take().unwrap());
        let body = BodyExt::boxed(ExchangeBody::new(body, shared.get().unwrap()));
        async { Ok(Response::new(body)) }
    });
    exchanges.set(rig.exchanges.clone()).unwrap();
    rig.send(GET).await;
    rig.read_until("\r\n\r\n").await;
    let busy = Activity::InRequest { streams: 1 };
    assert_eq!(*rig.activities.lock().unwrap(), [busy]);
    frames.send("half of it").unwrap();
    rig.read_until("half of it").await;
    settle().await;
    assert_eq!(*rig.activities.lock().unwrap(), [busy]);
    drop(frames);
    settle().await;
    assert_eq!(*rig.activities.lock().unwrap(), [busy, Activity::Idle]);
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_a_head_that_holds_up_a_close_gets_a_response_with_close() {
    let grace = IdlePolicy::AfterGrace(SECOND);
    let policies = [IdlePolicy::WhenItSpeaks, grace];
    for (idle, answered) in policies.into_iter().flat_map(|p| [(p, true), (p, false)]) {
        let (_trigger, signal) = drain_signal::channel();
        let (mut client, server) = tokio::io::duplex(1024);
        let watch = signal.watch().unwrap();
        let io = LingerIo::new(server, LingerSettings::default(), CloseCounters::new());
        let exchanges = io.exchanges().clone();
        let service = DrainService::new(service_fn(ok), watch.handle(), exchanges.clone());
        let server = http1::Builder::new().serve_connection(TokioIo::new(io), service);
        let settings = Http1Settings::default().with_idle(idle);
        let mut connection = Box::pin(Http1Connection::new(server, exchanges, settings));
        let first = if answered { &[GET, "G"].concat() } else { "G" };
        client.write_all(first.as_bytes()).await.unwrap();
        assert!((&mut connection).now_or_never().is_none());
        let mut before = [0; 1024];
        let before = if answered {
            client.read(&mut before).await.unwrap()
        } else {
            0
        };
        assert_eq!(before > 0, answered);
        connection.as_mut().close_when_idle();
        let served = tokio::spawn(connection);
        tokio::time::sleep(5 * SECOND).await;
        client.write_all(&GET.as_bytes()[1..]).await.unwrap();
        let mut response = String::new();
        client.read_to_string(&mut response).await.unwrap();
        assert!(
            response.contains("connection: close\r\n") && response.ends_with("ok"),
            "{idle:?}, answered: {answered}: {response}"
        );
        assert!(matches!(served.await, Ok(Outcome::Ended(Ok(())))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_leaves_the_grace_to_those_that_have_spoken() {
    for spoken in [true, false] {
        let (mut client, server) = tokio::io::duplex(1024);
        let (_trigger, signal) = drain_signal::channel();
        let watch = signal.watch().unwrap();
        let io = LingerIo::new(server, LingerSettings::default(), CloseCounters::new());
        let exchanges = io.exchanges().clone();
        let service = DrainService::new(service_fn(ok), watch.handle(), exchanges.clone());
        let server = http1::Builder::new().serve_connection(TokioIo::new(io), service);
        let settings = Http1Settings::default().with_idle(IdlePolicy::AfterGrace(5 * SECOND));
        let mut connection = Box::pin(Http1Connection::new(server, exchanges, settings));
        if spoken {
            client.write_all(GET.as_bytes()).await.unwrap();
        }
        assert!((&mut connection).now_or_never().is_none());
        connection.as_mut().close_when_idle();
        let start = tokio::time::Instant::now();
        let served = tokio::spawn(connection);
        client.read_to_end(&mut Vec::new()).await.unwrap();
        let grace = if spoken { 5 * SECOND } else { Duration::ZERO };
        assert_eq!(
            start.elapsed().as_secs(),
            grace.as_secs(),
            "spoken: {spoken}"
        );
        drop(client);
        assert!(matches!(served.await, Ok(Outcome::Ended(Ok(())))));
    }
}

/// Nothing that an RST could answer is to come: only a client that may send more is waited for.
#[tokio::test(start_paused = true)]
async fn a_client_that_said_close_is_not_waited_for() {
    for (field, waited) in [("connection: close\r\n", Duration::ZERO), ("", SECOND)] {
        let mut rig = serve_ok();
        if field.is_empty() {
            rig.drain().await;
        }
        rig.send(&format!("GET / HTTP/1.1\r\nhost: a\r\n{field}\r\n"))
            .await;
        let start = tokio::time::Instant::now();
        assert!(rig.rest().await.contains("connection: close\r\n"));
        rig.served.await.unwrap();
        assert_eq!(start.elapsed().as_secs(), waited.as_secs(), "{field}");
    }
}
