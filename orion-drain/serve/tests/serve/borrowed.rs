//! A host whose service borrows from the task that serves, over a boxed stream, as Orion's filter
//! chains have it.

use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};

use super::*;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send>>;

/// Answers requests by borrowing itself only while it is called.
struct Handler {
    greeting: String,
}

impl Handler {
    fn call(&self, host: &str, _: Request<ReceivedBody>) -> Answer {
        let text = format!("{} {host} hello", self.greeting);
        Box::pin(async move { Ok(Response::new(Full::new(Bytes::from(text)))) })
    }
}

async fn start_filterchain(
    handler: &Handler,
    stream: Box<dyn Stream>,
    host: String,
    connection: Connection,
    server: &HttpServer,
) -> CloseCause {
    let service = service_fn(|request| handler.call(&host, request));
    serve_http(stream, service, connection, server).await.cause
}

#[tokio::test(start_paused = true)]
async fn a_service_that_borrows_is_served_and_drained_over_a_boxed_stream() {
    let listener = Listener::new(DrainStrategy::Immediate);
    let (mut client, accepted) = duplex(64 * 1024);
    let connection = listener.connection().expect("the drain is not completed");
    let server = HttpServer::new(
        CodecType::Auto,
        &HttpTimeouts::default(),
        listener.http.clone(),
    );
    let handler = Handler {
        greeting: "good morning".to_owned(),
    };
    let served = tokio::spawn(async move {
        start_filterchain(
            &handler,
            Box::new(accepted),
            "moon".to_owned(),
            connection,
            &server,
        )
        .await
    });
    assert!(
        request(&mut client, "/")
            .await
            .ends_with("good morning moon hello")
    );
    let drain = tokio::spawn(listener.node.start_drain_sequence(MODIFY));
    tokio::task::yield_now().await;
    assert!(
        request(&mut client, "/")
            .await
            .contains("connection: close")
    );
    assert!(rest(&mut client).await.is_empty());
    drop(client);
    assert_eq!(served.await.unwrap(), CloseCause::Drained);
    assert_eq!(drain.await.unwrap().ending, DrainEnding::Empty);
}
