//! Envoy's limits where hyper's lose requests of streams that did nothing wrong.

use super::*;

const LONG: Duration = Duration::from_secs(3600);

async fn h2(listener: &Listener) -> h2::client::SendRequest<Bytes> {
    let (client, _served) = listener.serve(&HttpTimeouts::default());
    let (requests, connection) = h2::client::handshake(client).await.expect("it is HTTP/2");
    tokio::spawn(connection);
    requests.ready().await.expect("it is open")
}

async fn status_of(answer: h2::client::ResponseFuture) -> StatusCode {
    let answer = tokio::time::timeout(LONG, answer).await;
    answer
        .expect("it is answered")
        .expect("a response")
        .status()
}

#[tokio::test(start_paused = true)]
async fn a_stalled_upload_leaves_its_connections_window_to_the_others() {
    let listener = Listener::new(DrainStrategy::Gradual);
    let mut requests = h2(&listener).await;
    let post = |path: &str| {
        Request::post(format!("http://a{path}"))
            .body(())
            .expect("a request")
    };
    let (_unanswered, mut stalled) = requests
        .send_request(post("/stalled"), false)
        .expect("it is open");
    let all = Bytes::from(vec![0; 4 << 20]);
    stalled.send_data(all, false).expect("it is kept");
    // What its window takes is under way.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (answer, mut upload) = requests
        .send_request(post("/discard"), false)
        .expect("it is open");
    upload.send_data("abc".into(), true).expect("it is kept");
    assert_eq!(status_of(answer).await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_head_of_50_kilobytes_is_served_in_both_versions() {
    let listener = Listener::new(DrainStrategy::Gradual);
    let large = "v".repeat(50 * 1024);

    let get = Request::get("http://a/").header("large", &large);
    let (answer, _) = h2(&listener)
        .await
        .send_request(get.body(()).expect("a request"), true)
        .expect("it is open");
    assert_eq!(status_of(answer).await, StatusCode::OK);

    let (mut client, _served) = listener.serve(&HttpTimeouts::default());
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\nlarge: {large}\r\n\r\n");
    client.write_all(head.as_bytes()).await.expect("it is open");
    let mut answer = [0; 15];
    client.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_cancels_costs_the_other_streams_nothing() {
    let listener = Listener::new(DrainStrategy::Gradual);
    let (client, _served) = listener.serve(&HttpTimeouts::default());
    let mut client = H2Client::new(client).await;
    assert_eq!(client.get("/").await, b"hello");
    let open = client.open("/endless").await;
    // All of them come before the server has looked at the first.
    client.cancelled(400).await;
    assert_eq!(client.get("/").await, b"hello");
    assert!(!client.was_reset(open));
}
