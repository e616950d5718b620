//! How a hyper connection comes to its end in a drain: finished, timed out, failed, cut.
#![cfg(feature = "hyper")]

use crate::rig;

use std::time::Duration;

use drain_signal::CloseCause;
use http::Response;
use proto_drain_http1::{AtDeadline, Http1Settings, IdlePolicy, Outcome};
use rig::{DRAIN_TIME, GET, Rig, full, ok, settle, streaming};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_response_begun_before_the_slot_is_finished_and_its_connection_closed_at_the_deadline() {
    let (frames, receiver) = mpsc::unbounded_channel();
    let receiver = std::sync::Mutex::new(Some(receiver));
    let mut rig = Rig::serve(Http1Settings::default(), move |_| {
        let body = streaming(receiver.lock().unwrap().take().unwrap());
        async { Ok(Response::new(body)) }
    });
    rig.send(GET).await;
    assert!(!rig.read_until("\r\n\r\n").await.contains("connection"));
    rig.drain().await;
    tokio::time::sleep(DRAIN_TIME - SECOND / 2).await;
    frames.send("the end").unwrap();
    drop(frames);
    assert_eq!(rig.rest().await, "7\r\nthe end\r\n0\r\n\r\n");
    // Its head said nothing, so its client may send another request until then.
    assert_eq!(rig.elapsed(), DRAIN_TIME);
    assert_eq!(rig.end().await.0.cause, CloseCause::Aborted);
}

#[tokio::test(start_paused = true)]
async fn what_is_still_open_at_the_deadline_is_cut_and_counted() {
    let mut rig = Rig::serve(Http1Settings::default(), async |_| {
        std::future::pending().await
    });
    rig.send(GET).await;
    rig.drain().await;
    assert_eq!(rig.rest().await, "");
    assert_eq!(rig.elapsed(), DRAIN_TIME);
    let (closed, counters) = rig.end().await;
    assert!(matches!(closed.output, Some(Outcome::Aborted)));
    assert_eq!(
        (closed.cause, counters.counts().aborted),
        (CloseCause::Aborted, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn as_envoy_idle_ones_close_after_drain_timeout_and_the_rest_is_cut_at_the_deadline() {
    let envoy = || {
        Http1Settings::default()
            .with_idle(IdlePolicy::AfterGrace(5 * SECOND))
            .with_pre_session_timeout(Some(Duration::ZERO))
            .with_at_deadline(AtDeadline::Cut)
    };
    let mut rig = Rig::serve(envoy(), ok);
    rig.exchange().await;
    rig.drain().await;
    assert_eq!(
        (rig.rest().await, rig.elapsed()),
        (String::new(), 5 * SECOND)
    );

    let mut rig = Rig::serve(envoy(), ok);
    rig.drain().await;
    assert_eq!(
        (rig.rest().await, rig.elapsed()),
        (String::new(), Duration::ZERO)
    );

    // Shortly before the deadline nothing happens: an idle one that was given no grace stays until
    // then.
    let mut rig = Rig::serve(
        Http1Settings::default().with_at_deadline(AtDeadline::Cut),
        ok,
    );
    rig.exchange().await;
    rig.drain().await;
    assert_eq!(
        (rig.rest().await, rig.elapsed()),
        (String::new(), DRAIN_TIME)
    );

    // Half a request when the grace ends: neither then, nor shortly before the deadline, but there.
    let mut rig = Rig::serve(envoy(), ok);
    rig.exchange().await;
    rig.drain().await;
    rig.send(GET.split_at(9).0).await;
    assert_eq!(
        (rig.rest().await, rig.elapsed()),
        (String::new(), DRAIN_TIME)
    );
    let (closed, counters) = rig.end().await;
    assert_eq!(
        (closed.cause, counters.counts().aborted),
        (CloseCause::Aborted, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_cut_does_not_linger_where_the_default_does() {
    for (at_deadline, staged) in [(AtDeadline::Linger, 1), (AtDeadline::Cut, 0)] {
        let settings = Http1Settings::default().with_at_deadline(at_deadline);
        let (_never_ends, receiver) = mpsc::unbounded_channel();
        let receiver = std::sync::Mutex::new(Some(receiver));
        let builder = hyper::server::conn::http1::Builder::new();
        let mut rig = Rig::serve_lingering(&builder, settings, move |_| {
            let body = streaming(receiver.lock().unwrap().take().unwrap());
            async { Ok(Response::new(body)) }
        });
        rig.send(GET).await;
        rig.read_until("\r\n\r\n").await;
        rig.drain().await;
        rig.rest().await;
        let (_, counters) = rig.end().await;
        settle().await;
        assert_eq!(
            (counters.counts().staged, counters.counts().aborted),
            (staged, 1 - staged),
            "{at_deadline:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_framed_by_the_close_is_told_and_ends_with_the_connection() {
    // An HTTP/1.0 client and a body of unknown length: nothing but the close can end it.
    let (frames, receiver) = mpsc::unbounded_channel();
    let receiver = std::sync::Mutex::new(Some(receiver));
    let mut rig = Rig::serve(Http1Settings::default(), move |_| {
        let body = streaming(receiver.lock().unwrap().take().unwrap());
        async { Ok(Response::new(body)) }
    });
    rig.drain().await;
    rig.send("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
        .await;
    let head = rig.read_until("\r\n\r\n").await;
    assert!(
        head.contains("connection: close\r\n") && !head.contains("transfer-encoding"),
        "{head}"
    );
    frames.send("all of it").unwrap();
    drop(frames);
    assert_eq!(rig.rest().await, "all of it");
    assert_eq!(rig.end().await.1.counts().staged, 1);
}

#[tokio::test(start_paused = true)]
async fn a_header_timeout_after_a_response_lingers() {
    // hyper drops the connection without a shutdown; the response before it must not be destroyed
    // by unread data.
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(hyper_util::rt::TokioTimer::new())
        .header_read_timeout(5 * SECOND);
    let mut rig = Rig::serve_lingering(&builder, Http1Settings::default(), ok);
    rig.exchange().await;
    rig.send(GET.split_at(9).0).await;
    rig.rest().await;
    let (_, counters) = rig.end().await;
    settle().await;
    assert_eq!(
        (counters.counts().staged, counters.counts().aborted),
        (1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_half_closes_is_answered_if_hyper_is_told_to() {
    for half_close in [true, false] {
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.half_close(half_close);
        let mut rig = Rig::serve_with(&builder, Http1Settings::default(), async |_| {
            tokio::time::sleep(SECOND).await;
            Ok(Response::new(full("ok")))
        });
        rig.drain().await;
        rig.send(GET).await;
        rig.client.shutdown().await.unwrap();
        let response = rig.rest().await;
        let (_, counters) = rig.end().await;
        assert_eq!(response.contains("connection: close\r\n"), half_close);
        // hyper's default drops the request without a shutdown: an abort, and counted as one.
        assert_eq!(counters.counts().aborted, u64::from(!half_close));
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_error_is_an_abort() {
    let mut rig = Rig::serve(Http1Settings::default(), async |_| {
        Err(std::io::Error::other("no upstream"))
    });
    rig.send(GET).await;
    assert_eq!(rig.rest().await, "");
    let (closed, counters) = rig.end().await;
    let output = closed.output.and_then(Outcome::ended);
    assert!(matches!(output, Some(Err(_))));
    assert_eq!(
        (closed.cause, counters.counts().aborted),
        (CloseCause::BeforeDrain, 1)
    );
}
