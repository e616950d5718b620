//! Where edge forwards to: an HTTP/1.1 server whose answers the test holds back, and a TCP server
//! that sends back what it gets.

use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use rig::h1::Wire;

use super::{websocket, within};

/// Both servers; they end with this value.
pub(crate) struct Upstream {
    pub(crate) http: SocketAddr,
    pub(crate) echo: SocketAddr,
    held: mpsc::UnboundedReceiver<Held>,
    tasks: [JoinHandle<()>; 2],
}

/// A request that has arrived whole and waits for the test.
pub(crate) struct Held {
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    answer: oneshot::Sender<String>,
}

impl Held {
    pub(crate) fn answer(self, body: &str) {
        self.answer
            .send(body.to_owned())
            .expect("the upstream's connection is there");
    }
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let (hold, held) = mpsc::unbounded_channel();
        let (http, http_task) = serve(move |stream| answer(stream, hold.clone())).await;
        let (echo, echo_task) = serve(send_back).await;
        Self {
            http,
            echo,
            held,
            tasks: [http_task, echo_task],
        }
    }

    /// The next request that has arrived.
    pub(crate) async fn held(&mut self) -> Held {
        within("a request at the upstream", self.held.recv())
            .await
            .expect("the upstream runs")
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn serve<F>(handle: impl Fn(TcpStream) -> F + Send + 'static) -> (SocketAddr, JoinHandle<()>)
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // How a connection ends is seen on edge's other side.
            drop(tokio::spawn(handle(stream)));
        }
    });
    (address, task)
}

async fn answer(stream: TcpStream, hold: mpsc::UnboundedSender<Held>) -> io::Result<()> {
    let mut wire = Wire::new(stream);
    loop {
        let head = wire.head().await?;
        if head.header("upgrade") == Some("websocket") && !head.start.starts_with("GET /page ") {
            let key = head.header("sec-websocket-key").unwrap_or_default();
            let accepted = websocket::accepted(key);
            wire.stream.write_all(accepted.as_bytes()).await?;
            return websocket::echo(wire.stream, wire.ahead).await;
        }
        let body = wire.body(&head).await?.into();
        let (answer, answered) = oneshot::channel();
        let head = head.text.to_lowercase();
        hold.send(Held { head, body, answer })
            .map_err(io::Error::other)?;
        let body = answered.await.map_err(io::Error::other)?;
        let response = format!(
            "HTTP/1.1 200 OK\r\nx-upstream: test\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        wire.stream.write_all(response.as_bytes()).await?;
    }
}

async fn send_back(mut stream: TcpStream) -> io::Result<()> {
    let (mut from, mut to) = stream.split();
    tokio::io::copy(&mut from, &mut to).await?;
    to.shutdown().await
}
