//! Envoy's `downstream_cx_destroy_*`, `_idle_timeout` and `_max_duration_reached`: a table of ways
//! in which a connection ends.

use std::sync::OnceLock;
use std::task::{Context, Waker};

use orion_drain_serve::{ConnectionEnd, HttpCounts};

use super::*;

/// What is not zero of connections, without what every connection counts.
fn counted(listener: &Listener) -> Vec<String> {
    let counts = listener.http.all();
    let names = counts.into_iter().filter_map(|(name, value)| {
        let name = name.strip_prefix("cx_")?;
        let always = matches!(name, "total" | "destroy" | "drain_close" | "active");
        (!always).then(|| format!("{name} {value}"))
    });
    names.collect()
}

/// Its socket is gone, however long that lingered.
async fn gone(listener: &Listener) {
    let start = Instant::now();
    while listener.http.get("cx_destroy") != 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(start.elapsed() < T * 2, "it is never closed");
    }
    assert_eq!(listener.http.get("cx_active"), 0);
}

async fn is_asked(listener: &Listener) {
    while listener.http.get("rq_active") == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn begin(listener: &Listener) {
    tokio::spawn(listener.node.start_drain_sequence(MODIFY));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_was_first_with_and_without_a_request() {
    let listener = Listener::new(DrainStrategy::Immediate);
    let (mut client, _served) = listener.serve(&HttpTimeouts::default());
    request(&mut client, "/").await;
    drop(client);
    gone(&listener).await;
    assert_eq!(counted(&listener), ["destroy_remote 1"]);

    for http2 in [false, true] {
        let listener = Listener::new(DrainStrategy::Immediate);
        let (mut client, _served) = listener.serve(&HttpTimeouts::default());
        if http2 {
            let mut client = H2Client::new(client).await;
            client.open("/endless").await;
            is_asked(&listener).await;
        } else {
            client
                .write_all(b"POST /discard HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc")
                .await
                .unwrap();
            is_asked(&listener).await;
            drop(client);
        }
        gone(&listener).await;
        assert_eq!(
            counted(&listener),
            [
                "destroy_active_rq 1",
                "destroy_remote 1",
                "destroy_remote_active_rq 1"
            ],
            "HTTP/2: {http2}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_only_ends_its_direction_gets_its_answer_and_no_request_counts_as_cut() {
    let listener = Listener::new(DrainStrategy::Immediate);
    let (mut client, _served) = listener.serve(&HttpTimeouts::default());
    client
        .write_all(b"POST /upload HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc")
        .await
        .unwrap();
    client.shutdown().await.unwrap();
    assert!(rest(&mut client).await.ends_with(b"hello"));
    gone(&listener).await;
    assert_eq!(counted(&listener), ["destroy_remote 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_a_client_follows_is_our_end_and_cuts_nothing() {
    for http2 in [false, true] {
        let listener = Listener::new(DrainStrategy::Immediate);
        let (mut client, _served) = listener.serve(&HttpTimeouts::default());
        if http2 {
            let mut client = H2Client::new(client).await;
            assert_eq!(client.get("/").await, b"hello");
            begin(&listener);
            client.end().await;
        } else {
            begin(&listener);
            tokio::task::yield_now().await;
            assert!(
                request(&mut client, "/")
                    .await
                    .contains("connection: close")
            );
            assert!(rest(&mut client).await.is_empty());
            drop(client);
        }
        gone(&listener).await;
        // The HTTP/2 client leaves the close to the server, which waits for it as long as it may.
        match http2 {
            false => assert_eq!(counted(&listener), ["destroy_local 1"]),
            true => assert_eq!(
                counted(&listener),
                ["delayed_close_timeout 1", "destroy_local 1"]
            ),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_cuts_requests_and_tunnels() {
    for way in ["http1", "http2", "tunnel"] {
        let listener = Listener::new(DrainStrategy::Immediate);
        let (mut client, _served) = listener.serve(&HttpTimeouts::default());
        let mut stays = None;
        match way {
            "http2" => {
                let mut client = H2Client::new(client).await;
                client.open("/endless").await;
                begin(&listener);
                client.end().await;
                drop(client);
            }
            "http1" => {
                client
                    .write_all(b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n")
                    .await
                    .unwrap();
                while client.read_u8().await.unwrap() != b'f' {}
                begin(&listener);
                stays = Some(client);
            }
            _ => {
                let request =
                    b"GET /tunnel HTTP/1.1\r\nhost: a\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n";
                client.write_all(request).await.unwrap();
                rig::h1::head(&mut client).await.unwrap();
                tokio::time::sleep(Duration::from_secs(1)).await;
                let active = listener.http.get("cx_active");
                assert_eq!(active, 1, "a tunnel is open");
                begin(&listener);
                // It never rests, so only the deadline ends it.
                while client.write_all(b"ping").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        gone(&listener).await;
        let counted = counted(&listener);
        for name in [
            "destroy_active_rq 1",
            "destroy_local 1",
            "destroy_local_active_rq 1",
        ] {
            assert!(
                counted.iter().any(|have| have == name),
                "{way}: {counted:?}"
            );
        }
        drop(stays);
    }
}

#[tokio::test(start_paused = true)]
async fn idle_and_old_connections_are_counted_as_such() {
    let listener = Listener::new(DrainStrategy::Gradual);
    let idle = timeouts(|timeouts| timeouts.idle = Some(Duration::from_secs(5)));
    let (mut client, _served) = listener.serve(&idle);
    request(&mut client, "/").await;
    rest(&mut client).await;
    drop(client);
    gone(&listener).await;
    assert_eq!(counted(&listener), ["destroy_local 1", "idle_timeout 1"]);

    let listener = Listener::new(DrainStrategy::Gradual);
    let aged = timeouts(|timeouts| timeouts.max_connection_duration = Some(Duration::from_secs(5)));
    let (mut client, _served) = listener.serve(&aged);
    while !request(&mut client, "/")
        .await
        .contains("connection: close")
    {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    drop(client);
    gone(&listener).await;
    let counted = counted(&listener);
    assert!(
        counted.contains(&"max_duration_reached 1".to_owned()),
        "{counted:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_with_the_response_that_tells_it_was_told() {
    let listener = Listener::new(DrainStrategy::Gradual);
    listener.node.fail_health();
    let (mut client, served) = listener.serve(&HttpTimeouts::default());
    // Its direction is over already, so that there is nothing to wait for after the answer.
    let ask = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    client.write_all(ask).await.unwrap();
    client.shutdown().await.unwrap();
    let answer = rest(&mut client).await;
    assert!(String::from_utf8_lossy(&answer).contains("connection: close"));
    drop(client);
    served.await.unwrap();
    assert_eq!(listener.http.get("cx_drain_close"), 1);
    assert_eq!(listener.tracker.closed(CloseReason::Drained), 1);
    assert_eq!(listener.tracker.closed(CloseReason::Finished), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_from_a_connection_that_ends_by_itself() {
    let closed_by = |reason: CloseReason, listener: &Listener| {
        let counts = CloseReason::ALL
            .iter()
            .map(|one| listener.tracker.closed(*one));
        assert_eq!(
            (listener.tracker.closed(reason), counts.sum::<u64>()),
            (1, 1),
            "{reason:?}"
        );
    };
    for (says, reason) in [
        ("", CloseReason::Finished),
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", CloseReason::Finished),
        ("what is this?\r\n\r\n", CloseReason::Error),
        ("GET / HTTP/1.1\r\nhost", CloseReason::Error),
    ] {
        let listener = Listener::new(DrainStrategy::Gradual);
        let (mut client, served) = listener.serve(&HttpTimeouts::default());
        client.write_all(says.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        rest(&mut client).await;
        drop(client);
        drop(served.await.unwrap());
        closed_by(reason, &listener);
    }
    let listener = Listener::new(DrainStrategy::Gradual);
    let (client, served) = listener.serve(&HttpTimeouts::default());
    let mut client = H2Client::new(client).await;
    assert_eq!(client.get("/").await, b"hello");
    drop(client);
    drop(served.await.unwrap());
    closed_by(CloseReason::Finished, &listener);
}

/// How many connections the registry lists when a transport is gone.
#[derive(Debug, Default)]
struct Listed {
    tracker: OnceLock<ConnTracker>,
    at_the_end: OnceLock<usize>,
}

impl HttpCounts for Listed {
    fn connection_closed(&self, _: ConnectionEnd) {
        let listed = self.tracker.get().expect("it is set first").len();
        self.at_the_end.set(listed).expect("one connection");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_dropped_is_listed_until_its_transport_is_gone() {
    for polls in [0, 1] {
        let listener = Listener::new(DrainStrategy::Immediate);
        let listed = Arc::new(Listed::default());
        listed.tracker.set(listener.tracker.clone()).unwrap();
        let server = HttpServer::new(CodecType::Auto, &HttpTimeouts::default(), listed.clone());
        let (_client, accepted) = duplex(1024);
        let connection = listener.connection().unwrap();
        let mut served = Box::pin(serve_http(
            accepted,
            service_fn(answer),
            connection,
            &server,
        ));
        for _ in 0..polls {
            let polled = served
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_pending());
        }
        drop(served);
        assert_eq!(listed.at_the_end.get(), Some(&1), "{polls}");
        assert_eq!(listener.tracker.len(), 0);
    }
}
