//! How old connections become, and how each protocol's client learns of it.

use orion_drain_serve::{ConnectionAge, ProtocolDrainBehavior, SharedBehavior};
use proto_drain_tcp::TcpDrainPolicy;

use super::*;

const AGE: Duration = Duration::from_secs(10);

fn aged(
    listener: &Listener,
    change: impl FnOnce(ConnectionAge) -> ConnectionAge,
) -> (DuplexStream, Served) {
    let age = change(ConnectionAge::default().with_max_duration(Some(AGE)));
    let drain = timeouts(|timeouts| timeouts.drain = Duration::from_secs(2));
    listener.serve_with(&drain, |server| server.with_age(age))
}

#[tokio::test(start_paused = true)]
async fn http1_is_informed_on_its_next_response_and_its_reason_is_listed() {
    let listener = Listener::new(DrainStrategy::Gradual);
    let (mut client, served) = aged(&listener, |age| age);
    let closes = |head: String| head.contains("connection: close");
    assert!(!closes(request(&mut client, "/").await));
    tokio::time::sleep(AGE - Duration::from_millis(10)).await;
    assert!(!closes(request(&mut client, "/").await));
    tokio::time::sleep(Duration::from_millis(20)).await;
    let listed = listener.tracker.snapshot().remove(0);
    assert_eq!(listed.close_reason, Some(CloseReason::Aged));
    assert_eq!(listed.state, ConnState::Draining);
    assert!(closes(request(&mut client, "/").await));
    assert!(rest(&mut client).await.is_empty());
    drop(client);
    served.await.unwrap();
    assert_eq!(listener.tracker.closed(CloseReason::Aged), 1);
    assert_eq!(listener.http.get("cx_max_duration_reached"), 1);
}

#[tokio::test(start_paused = true)]
async fn http1_that_does_not_speak_is_closed_after_the_grace_and_one_in_a_request_after_its_response()
 {
    let listener = Listener::new(DrainStrategy::Gradual);
    let grace = Duration::from_secs(7);
    let (mut idle, _idle) = aged(&listener, |age| age.with_grace(grace));
    let (mut busy, _busy) = aged(&listener, |age| age.with_grace(grace));
    let start = Instant::now();
    request(&mut idle, "/").await;
    // Answered after ten seconds, in the middle of the grace's end.
    tokio::time::sleep(AGE - Duration::from_secs(1)).await;
    let upload = b"POST /upload HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc";
    busy.write_all(upload).await.unwrap();
    assert!(rest(&mut idle).await.is_empty());
    assert_eq!(start.elapsed().as_secs(), (AGE + grace).as_secs());
    let answer = String::from_utf8(rest(&mut busy).await).unwrap();
    assert!(answer.contains("connection: close") && answer.ends_with("hello"));
    assert_eq!(start.elapsed().as_secs(), AGE.as_secs() * 2 - 1);
}

#[tokio::test(start_paused = true)]
async fn http2_gets_both_goaways_and_its_streams_are_served() {
    let listener = Listener::new(DrainStrategy::Gradual);
    let (client, _served) = aged(&listener, |age| age);
    let start = Instant::now();
    let mut client = H2Client::new(client).await;
    assert_eq!(client.get("/").await, b"hello");
    assert_eq!(client.goaway().await, 0x7fff_ffff);
    assert_eq!(start.elapsed().as_secs(), AGE.as_secs());
    assert_eq!(client.get("/").await, b"hello", "served between the two");
    assert_eq!(client.goaway().await, 3);
    assert_eq!(start.elapsed().as_secs(), AGE.as_secs() + 2);
    client.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_long_after_is_cut_if_that_is_asked_for() {
    for http2 in [false, true] {
        let listener = Listener::new(DrainStrategy::Gradual);
        let cut_after = Duration::from_secs(20);
        let (mut client, _served) = aged(&listener, |age| age.with_cut_after(Some(cut_after)));
        let start = Instant::now();
        if http2 {
            let mut client = H2Client::new(client).await;
            let stream = client.open("/endless").await;
            assert_eq!(client.reset(stream).await, 8, "CANCEL");
        } else {
            client
                .write_all(b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n")
                .await
                .unwrap();
            rest(&mut client).await;
        }
        assert_eq!(start.elapsed().as_secs(), 30, "HTTP/2: {http2}");
    }
}

#[tokio::test(start_paused = true)]
async fn connections_that_were_accepted_together_do_not_leave_together() {
    let listener = Listener::new(DrainStrategy::Gradual);
    let jitter = Duration::from_secs(10);
    let age = ConnectionAge::default()
        .with_max_duration(Some(AGE))
        .with_jitter(jitter)
        .with_grace(Duration::ZERO);
    let server = HttpServer::new(
        CodecType::Auto,
        &HttpTimeouts::default(),
        listener.http.clone(),
    )
    .with_age(age);
    let start = Instant::now();
    let mut ends = Vec::new();
    for _ in 0..16 {
        let (client, accepted) = duplex(1024);
        let (connection, server) = (listener.connection().unwrap(), server.clone());
        let service = service_fn(answer);
        tokio::spawn(async move { serve_http(accepted, service, connection, &server).await });
        ends.push(tokio::spawn(async move {
            let mut client = client;
            request(&mut client, "/").await;
            rest(&mut client).await;
            start.elapsed()
        }));
    }
    let mut seconds = Vec::new();
    for end in ends {
        seconds.push(end.await.unwrap().as_secs());
    }
    seconds.sort_unstable();
    assert!(seconds[0] >= 10 && seconds[15] < 21, "{seconds:?}");
    seconds.dedup();
    assert!(seconds.len() >= 8, "{seconds:?}");
}

#[tokio::test(start_paused = true)]
async fn the_response_to_the_last_request_informs_the_client() {
    let listener = Listener::new(DrainStrategy::Gradual);
    let three = ConnectionAge::default().with_max_requests(Some(3));
    let serve = || listener.serve_with(&HttpTimeouts::default(), |server| server.with_age(three));
    let (mut client, _served) = serve();
    for number in 1..=3 {
        let head = request(&mut client, "/").await;
        assert_eq!(head.contains("connection: close"), number == 3, "{number}");
    }
    assert!(rest(&mut client).await.is_empty());
    let (client, _served) = serve();
    let mut client = H2Client::new(client).await;
    for _ in 1..=3 {
        assert_eq!(client.get("/").await, b"hello");
    }
    assert_eq!(client.first_after_goaway(), Some(1), "HEADERS of the third");
    assert_eq!(listener.http.get("cx_max_requests_reached"), 2);
}

#[tokio::test(start_paused = true)]
async fn tcp_gets_fin_behind_every_byte_that_was_read() {
    let listener = Listener::new(DrainStrategy::Gradual);
    let (mut client, accepted) = duplex(1024);
    let (upstream, mut far) = duplex(1024);
    let age = ConnectionAge::default().with_max_duration(Some(AGE));
    let server = TcpServer::new(CopyOptions::new(), Arc::new(())).with_age(age);
    let connection = listener.connection().unwrap();
    let served =
        tokio::spawn(async move { serve_tcp(accepted, upstream, connection, &server).await });
    let start = Instant::now();
    let (mut sent, mut got) = (0, 0);
    // It talks all the time, and is never answered: there is no quiet moment.
    while client.write_all(b"abc").await.is_ok() && start.elapsed() < AGE * 3 {
        sent += 3;
        let mut bytes = [0; 64];
        got += far.read(&mut bytes).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        if served.is_finished() || listener.tracker.is_empty() {
            break;
        }
    }
    got += rest(&mut far).await.len();
    let elapsed = start.elapsed().as_secs();
    assert!((10..=16).contains(&elapsed), "{elapsed} s");
    assert!(got >= sent - 6, "{got} of {sent}");
    drop((client, far));
    served.await.unwrap();
    assert_eq!(listener.tracker.closed(CloseReason::Aged), 1);
}

#[tokio::test(start_paused = true)]
async fn a_close_waits_once_for_the_client_also_over_http2() {
    let listener = Listener::new(DrainStrategy::Immediate);
    let drain = timeouts(|timeouts| timeouts.drain = Duration::from_secs(2));
    let (client, served) = listener.serve(&drain);
    let mut client = H2Client::new(client).await;
    assert_eq!(client.get("/").await, b"hello");
    let start = Instant::now();
    drop(tokio::spawn(listener.node.start_drain_sequence(MODIFY)));
    assert_eq!(client.goaway().await, 0x7fff_ffff);
    assert_eq!(client.goaway().await, 1);
    // The client stays.
    served.await.unwrap();
    let elapsed = start.elapsed();
    assert!(
        elapsed >= Duration::from_millis(2_990) && elapsed < Duration::from_millis(3_100),
        "{elapsed:?}"
    );
    assert_eq!(listener.http.get("cx_delayed_close_timeout"), 1);
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asked_for_the_close_is_not_waited_for_and_one_that_sends_on_is() {
    let listener = Listener::new(DrainStrategy::Immediate);
    for (more, waited) in [("", 0), ("GET / HT", 1)] {
        let (mut client, served) = listener.serve(&HttpTimeouts::default());
        let request = format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n{more}");
        client.write_all(request.as_bytes()).await.unwrap();
        let start = Instant::now();
        assert!(rest(&mut client).await.ends_with(b"hello"));
        served.await.unwrap();
        assert_eq!(start.elapsed().as_secs(), waited, "{more:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn http2_that_says_nothing_in_a_drain_still_leaves_when_it_is_idle_or_old() {
    let idle = timeouts(|timeouts| timeouts.idle = Some(AGE));
    let old = timeouts(|timeouts| timeouts.max_connection_duration = Some(AGE));
    for (limits, drains) in [(idle, false), (idle, true), (old, false), (old, true)] {
        let listener = Listener::new(DrainStrategy::Immediate);
        let server = HttpServer::new(CodecType::Auto, &limits, listener.http.clone());
        let (client, accepted) = duplex(64 * 1024);
        let silent = ProtocolDrainBehavior::Http2 { send_goaway: false };
        let connection = listener.connection().expect("it is open");
        let connection = connection.with_behavior(SharedBehavior::new(&silent));
        let service = service_fn(answer);
        tokio::spawn(async move { serve_http(accepted, service, connection, &server).await });
        let mut client = H2Client::new(client).await;
        assert_eq!(client.get("/").await, b"hello");
        let start = Instant::now();
        if drains {
            tokio::spawn(listener.node.start_drain_sequence(MODIFY));
        }
        let goaway = tokio::time::timeout(T, client.goaway()).await;
        assert_eq!(goaway.expect("it leaves"), 0x7fff_ffff);
        let elapsed = start.elapsed().as_secs();
        assert!((9..=11).contains(&elapsed), "{drains}: {elapsed} s");
        client.end().await;
        assert!(start.elapsed() < AGE * 2, "{drains}");
    }
}

#[tokio::test(start_paused = true)]
async fn http1_that_says_nothing_in_a_drain_says_close_at_its_age() {
    for (max_duration, max_requests) in [(Some(AGE), None), (None, Some(3))] {
        let listener = Listener::new(DrainStrategy::Immediate);
        let age = ConnectionAge::default()
            .with_max_duration(max_duration)
            .with_max_requests(max_requests);
        let server = HttpServer::new(CodecType::Auto, &HttpTimeouts::default(), Arc::new(()));
        let server = server.with_age(age);
        let (mut client, accepted) = duplex(64 * 1024);
        let silent = ProtocolDrainBehavior::Http1 {
            connection_close: false,
        };
        let connection = listener.connection().expect("it is open");
        let connection = connection.with_behavior(SharedBehavior::new(&silent));
        let service = service_fn(answer);
        tokio::spawn(async move { serve_http(accepted, service, connection, &server).await });
        request(&mut client, "/").await;
        tokio::spawn(listener.node.start_drain_sequence(MODIFY));
        tokio::time::sleep(AGE / 2).await;
        let drained = request(&mut client, "/").await;
        assert!(!drained.contains("connection: close"), "{drained}");
        tokio::time::sleep(AGE).await;
        let aged = request(&mut client, "/").await;
        assert!(aged.contains("connection: close"), "{aged}");
        assert!(rest(&mut client).await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_leaves_at_its_own_slot_whatever_its_connection_would_have_said_instead() {
    for is_last in [true, false] {
        let listener = Listener::new(DrainStrategy::Immediate);
        let last = is_last.then_some(1);
        let age = ConnectionAge::default().with_max_requests(last);
        let server = HttpServer::new(CodecType::Auto, &HttpTimeouts::default(), Arc::new(()));
        let server = server.with_age(age);
        if !is_last {
            // Every response says `close` now, but one that opens a tunnel.
            listener.node.fail_health();
        }
        let (mut client, accepted) = duplex(64 * 1024);
        let connection = listener.connection().expect("it is open");
        let service = service_fn(tunnel_at_slot);
        tokio::spawn(async move { serve_http(accepted, service, connection, &server).await });
        let ask = b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n";
        client.write_all(ask).await.unwrap();
        assert_eq!(rig::h1::head(&mut client).await.unwrap().status(), 101);
        for _ in 0..3 {
            client.write_all(b"ping").await.unwrap();
            let echoed = client.read_exact(&mut [0; 4]).await;
            echoed.unwrap_or_else(|error| panic!("{is_last}: {error}"));
            tokio::time::sleep(AGE).await;
        }
        let start = Instant::now();
        tokio::spawn(listener.node.start_drain_sequence(MODIFY));
        assert!(rest(&mut client).await.is_empty());
        assert!(start.elapsed() < T / 4, "{is_last}: {:?}", start.elapsed());
    }
}

/// A tunnel to an echo, which closes at its slot.
async fn tunnel_at_slot(
    mut request: Request<ReceivedBody>,
) -> Result<Response<Full<Bytes>>, http::Error> {
    let connection = request.extensions().get::<Connection>().cloned();
    let connection = connection.expect("every request has its connection");
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let (near, far) = duplex(1024);
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(far);
            tokio::io::copy(&mut read, &mut write).await
        });
        let client = TokioIo::new(upgraded.await.expect("a tunnel"));
        let options = CopyOptions::new().with_policy(TcpDrainPolicy::AtSlot);
        serve_tunnel(client, near, connection, options).await
    });
    let head = Response::builder().status(101).header("upgrade", "echo");
    head.header("connection", "upgrade").body(Full::default())
}

/// Sends `bytes`, behind a request that is answered or first of all.
async fn speak(client: &mut DuplexStream, answered: bool, bytes: &[u8]) {
    if answered {
        request(client, "/").await;
    }
    client.write_all(bytes).await.expect("it is open");
}

#[tokio::test(start_paused = true)]
async fn half_a_head_does_not_keep_a_connection_that_is_idle_or_old() {
    let idle = timeouts(|timeouts| timeouts.idle = Some(AGE));
    let old = timeouts(|timeouts| timeouts.max_connection_duration = Some(AGE));
    // From the accept to the close; as Envoy an idle one stays `drain_timeout` and
    // `delayed_close_timeout` longer. The grace of the age is 5 s.
    for (limits, as_envoy, closed) in [(idle, false, 10), (idle, true, 16), (old, false, 15)] {
        // Half a head has ten seconds for its rest. An old client's line end is no head.
        let first = [("P", 10), ("GET / HT", 10), ("\r\n", 0)];
        for ((bytes, more), answered) in first.into_iter().flat_map(|f| [(f, true), (f, false)]) {
            if as_envoy && bytes == "P" && !answered {
                // That might be HTTP/2, whose preface has no time there.
                continue;
            }
            let listener = Listener::new(DrainStrategy::Immediate);
            let (mut client, _served) = listener.serve_with(&limits, |server| match as_envoy {
                true => server.with_envoy_1_40(),
                false => server,
            });
            let start = Instant::now();
            speak(&mut client, answered, bytes.as_bytes()).await;
            let end = tokio::time::timeout(T, rest(&mut client)).await;
            let case = format!("{bytes:?} of {closed} s, answered: {answered}");
            assert!(end.unwrap_or_else(|_| panic!("{case}: open")).is_empty());
            assert_eq!(start.elapsed().as_secs(), closed + more, "{case}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_a_head_that_comes_behind_the_limit_is_answered_with_close() {
    let idle = timeouts(|timeouts| timeouts.idle = Some(AGE));
    let old = timeouts(|timeouts| timeouts.max_connection_duration = Some(AGE));
    for (limits, as_envoy) in [(idle, false), (idle, true), (old, false), (old, true)] {
        for answered in [true, false] {
            let listener = Listener::new(DrainStrategy::Immediate);
            let (mut client, _served) = listener.serve_with(&limits, |server| match as_envoy {
                true => server.with_envoy_1_40(),
                false => server,
            });
            speak(&mut client, answered, b"G").await;
            tokio::time::sleep(AGE * 19 / 10).await;
            client
                .write_all(b"ET / HTTP/1.1\r\nhost: a\r\n\r\n")
                .await
                .unwrap();
            let answer = String::from_utf8(rest(&mut client).await).unwrap();
            assert!(
                answer.contains("connection: close") && answer.ends_with("hello"),
                "{answered}, as Envoy {as_envoy}: {answer}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn http2_whose_preface_comes_around_the_limit_leaves_by_its_goaways() {
    let drain = |timeouts: &mut HttpTimeouts| timeouts.drain = Duration::from_secs(30);
    let idle = timeouts(|timeouts| {
        drain(timeouts);
        timeouts.idle = Some(AGE);
    });
    let old = timeouts(|timeouts| {
        drain(timeouts);
        timeouts.max_connection_duration = Some(AGE);
    });
    // So much of the preface and the first request comes at once, the rest behind the limit, and
    // behind the grace of the age.
    let parts = [(idle, 12, 1), (idle, 12, 23), (old, 17, 1), (old, 17, 23)];
    // Behind the whole preface its request has more time than the rest of a head of HTTP/1.
    for (limits, behind, part) in parts.into_iter().chain([(idle, 22, 24), (old, 27, 34)]) {
        let listener = Listener::new(DrainStrategy::Immediate);
        let (mut client, _served) = listener.serve(&limits);
        let preface = rig::h2::preface(65_535);
        let bytes = [preface, rig::h2::request("GET", "/", 1, true)].concat();
        client.write_all(&bytes[..part]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(behind)).await;
        client.write_all(&bytes[part..]).await.unwrap();
        let mut answer = vec![];
        while !answer.windows(5).any(|bytes| bytes == b"hello") {
            let read = client.read_buf(&mut answer).await.unwrap();
            assert_ne!(read, 0, "{part}: {answer:?}");
        }
        // A request between the two GOAWAYs.
        tokio::time::sleep(Duration::from_secs(6)).await;
        let more = rig::h2::request("GET", "/", 3, true);
        client.write_all(&more).await.unwrap();
        let answer = rest(&mut client).await;
        assert!(answer.windows(5).any(|bytes| bytes == b"hello"), "{part}");
    }
}
