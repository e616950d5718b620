//! Every example as a process with traffic: it outlives a lack of file descriptors, is drained by
//! SIGTERM, answers everything that it was sent, and ends with no connection left.
#![cfg(target_os = "linux")]

mod clients;
mod process;
mod proxy;

use bytes::Bytes;
use clients::{Answers, asks_http1, asks_http2, asks_lines};
use process::{Example, within};
use rig::h1::Wire;
use rig::websocket::{self, Message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[path = "../../examples/tonic/ticker.rs"]
mod ticker;

/// Drains the example while these clients ask, and joins them.
async fn drains_under(
    mut example: Example,
    clients: Vec<tokio::task::JoinHandle<()>>,
    answers: Answers,
) {
    answers.reach(50).await;
    example.terminate().await;
    for client in clients {
        within("the end of a client", client)
            .await
            .expect("nothing is lost");
    }
    example.ends_empty().await;
}

#[tokio::test]
async fn hyper_answers_http1_and_http2_to_the_end() {
    let example = Example::start_short_of_files("hyper", &["127.0.0.1:0"]).await;
    let (to, answers) = (example.to, Answers::default());
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(tokio::spawn(asks_http1(
            async move || TcpStream::connect(to).await,
            answers.clone(),
        )));
        clients.push(tokio::spawn(asks_http2(to, answers.clone())));
    }
    drains_under(example, clients, answers).await;
}

#[tokio::test]
async fn h2_answers_to_the_end() {
    let example = Example::start_short_of_files("h2", &["127.0.0.1:0"]).await;
    let (to, answers) = (example.to, Answers::default());
    let clients = (0..4).map(|_| tokio::spawn(asks_http2(to, answers.clone())));
    let clients = clients.collect();
    drains_under(example, clients, answers).await;
}

#[tokio::test]
async fn tcp_answers_every_line() {
    let example = Example::start_short_of_files("tcp", &["127.0.0.1:0"]).await;
    let (to, answers) = (example.to, Answers::default());
    let clients = (0..4).map(|_| tokio::spawn(asks_lines(to, answers.clone())));
    let clients = clients.collect();
    drains_under(example, clients, answers).await;
}

#[tokio::test]
async fn axum_answers_and_ends_event_streams_and_web_sockets_in_words_of_its_own() {
    let mut example = Example::start_short_of_files("axum", &["127.0.0.1:0"]).await;
    let (to, answers) = (example.to, Answers::default());
    let asking = asks_http1(async move || TcpStream::connect(to).await, answers.clone());
    let asking = tokio::spawn(asking);
    let events = tokio::spawn(reads_events(example.connect().await));
    let socket = tokio::spawn(talks_over_web_socket(
        example.connect().await,
        answers.clone(),
    ));
    answers.reach(30).await;
    example.terminate().await;
    let events = within("the last event", events)
        .await
        .expect("they are whole");
    assert_eq!(events.last().map(String::as_str), Some("bye"));
    for (number, event) in events[..events.len() - 1].iter().enumerate() {
        assert_eq!(*event, number.to_string(), "no event is missing");
    }
    within("the end of the WebSocket", socket)
        .await
        .expect("every message is answered");
    within("the end of a client", asking)
        .await
        .expect("nothing is lost");
    example.ends_empty().await;
}

/// The data of all events of a stream.
async fn reads_events(mut client: TcpStream) -> Vec<String> {
    let request = b"GET /events HTTP/1.1\r\nhost: a\r\n\r\n";
    client.write_all(request).await.expect("it is open");
    let mut wire = Wire::new(client);
    let head = wire.head().await.expect("a response");
    assert_eq!(head.status(), 200);
    let mut text = Vec::new();
    loop {
        let chunk = wire
            .chunk()
            .await
            .expect("the stream ends by its last chunk");
        if chunk.is_empty() {
            break;
        }
        text.extend_from_slice(&chunk);
    }
    let text = String::from_utf8(text).expect("it is text");
    text.split_terminator("\n\n")
        .map(|event| event.trim_start_matches("data: ").to_owned())
        .collect()
}

/// Sends a message when the one before is answered; ends after `bye`.
async fn talks_over_web_socket(mut client: TcpStream, answers: Answers) {
    let key = websocket::key([7; 16]);
    let hello = websocket::handshake("/ws", &key);
    client
        .write_all(hello.as_bytes())
        .await
        .expect("it is open");
    let mut wire = Wire::new(client);
    assert_eq!(wire.head().await.expect("a response").status(), 101);
    let frame = |opcode, text: String| {
        Message {
            opcode,
            payload: Bytes::from(text),
        }
        .frame(Some([1, 2, 3, 4]))
    };
    const TEXT: u8 = 1;
    const CLOSE: u8 = 8;
    let (mut sent, mut answered, mut bye) = (0, 0, false);
    loop {
        if sent == answered && !bye {
            let message = frame(TEXT, sent.to_string());
            wire.stream.write_all(&message).await.expect("it is open");
            sent += 1;
        }
        let message = loop {
            match Message::take(&mut wire.ahead).expect("a frame") {
                Some(message) => break message,
                None => wire.more().await.expect("it is open"),
            }
        };
        match (message.opcode, &message.payload[..]) {
            (TEXT, b"bye") => bye = true,
            (TEXT, text) => {
                assert_eq!(text, answered.to_string().as_bytes());
                answered += 1;
                answers.add();
            }
            other => panic!("{other:?}"),
        }
        if bye && sent == answered {
            break;
        }
    }
    wire.stream
        .write_all(&frame(CLOSE, String::new()))
        .await
        .expect("it is open");
    let mut rest = Vec::new();
    wire.stream
        .read_to_end(&mut rest)
        .await
        .expect("it ends by FIN");
}

#[tokio::test]
async fn tonic_ends_a_server_stream_by_a_status_after_its_last_message() {
    use ticker::CountRequest;
    use ticker::ticker_client::TickerClient;

    let mut example = Example::start_short_of_files("tonic", &["127.0.0.1:0"]).await;
    let answers = Answers::default();
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut client = TickerClient::connect(format!("http://{}", example.to))
            .await
            .expect("it connects");
        let ticks = client.count(CountRequest { every_ms: 5 }).await;
        let mut ticks = ticks.expect("it is served").into_inner();
        let answers = answers.clone();
        streams.push(tokio::spawn(async move {
            for number in 1.. {
                match ticks.message().await {
                    Ok(Some(tick)) => assert_eq!(tick.number, number, "no message is missing"),
                    Ok(None) => panic!("it ends without a status"),
                    Err(status) => {
                        assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
                        assert!(status.message().starts_with("draining"), "{status:?}");
                        return;
                    }
                }
                answers.add();
            }
        }));
    }
    answers.reach(50).await;
    example.terminate().await;
    for stream in streams {
        within("the end of a stream", stream)
            .await
            .expect("it is whole");
    }
    example.ends_empty().await;
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn tls_answers_to_the_end_and_ends_with_close_notify() {
    use std::sync::Arc;

    use base64::prelude::*;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("signed");
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, label: &str, der: &[u8]| {
        let text = BASE64_STANDARD.encode(der);
        let path = folder.path().join(name);
        let pem = format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n");
        std::fs::write(&path, pem).expect("a file");
        path.to_str().expect("it is text").to_owned()
    };
    let certificate = file("cert.pem", "CERTIFICATE", signed.cert.der());
    let key = file(
        "key.pem",
        "PRIVATE KEY",
        &signed.signing_key.serialize_der(),
    );
    let mut trusted = RootCertStore::empty();
    trusted
        .add(signed.cert.der().clone())
        .expect("it is trusted");
    let mut config = ClientConfig::builder()
        .with_root_certificates(trusted)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let config = Arc::new(config);

    let arguments = ["127.0.0.1:0", &certificate, &key];
    let example = Example::start_short_of_files("tls", &arguments).await;
    let (to, answers) = (example.to, Answers::default());
    let clients = (0..3).map(|_| {
        let connector = TlsConnector::from(Arc::clone(&config));
        let connect = async move || {
            let stream = TcpStream::connect(to).await?;
            let name = "localhost".try_into().expect("a name");
            connector.connect(name, stream).await
        };
        // rustls reports an end without close_notify as an error, and this client as a loss.
        tokio::spawn(asks_http1(connect, answers.clone()))
    });
    let clients = clients.collect();
    drains_under(example, clients, answers).await;
}
