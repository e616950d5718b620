//! A timer that is set wakes the runtime's driver by a write to its eventfd, so a connection that
//! has nothing to wait for sets none. In a runtime without timers setting one is a panic.

use super::*;

async fn http1(listener: &Listener, closes: &str) {
    let (mut client, served) = listener.serve(&HttpTimeouts::default());
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\n{closes}\r\n");
    client.write_all(head.as_bytes()).await.expect("it is open");
    let mut answer = vec![];
    while !answer.ends_with(b"hello") {
        assert_ne!(client.read_buf(&mut answer).await.expect("it is open"), 0);
    }
    if !closes.is_empty() {
        assert!(rest(&mut client).await.is_empty());
    }
    drop(client);
    assert_eq!(
        served.await.expect("no panic").cause,
        CloseCause::BeforeDrain
    );
}

#[test]
fn a_short_connection_sets_no_timer() {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime without timers").block_on(async {
        let listener = Listener::new(DrainStrategy::Gradual);
        // Its client closes; and its server, since the client asks for that.
        http1(&listener, "").await;
        http1(&listener, "connection: close\r\n").await;

        let (client, served) = listener.serve(&HttpTimeouts::default());
        let mut client = H2Client::new(client).await;
        assert_eq!(client.get("/").await, b"hello");
        drop(client);
        served.await.expect("no panic");
    });
}
