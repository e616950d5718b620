//! HTTP/1.1 by hand, as a client.

use std::io;
use std::net::SocketAddr;

use rig::h1::Wire;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{End, end_of, within};

/// A connection of a client.
pub(crate) struct H1<S = TcpStream> {
    pub(crate) wire: Wire<S>,
}

/// A whole response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The value of a header, in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// Whether it says that the connection is not kept.
    pub(crate) fn says_close(&self) -> bool {
        self.header("connection") == Some("close")
    }

    /// Status 200 and a body, which is handed back.
    pub(crate) fn ok(&self) -> String {
        assert_eq!(self.status, 200, "{self:?}");
        self.text()
    }
}

/// The value of a header in a head that is in lower case.
pub(crate) fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key == name).then_some(value.trim())
    })
}

impl H1 {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        match Self::try_connect(address).await {
            Ok(client) => client,
            Err(error) => panic!("{address}: {error}"),
        }
    }

    pub(crate) async fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = within("a connection", TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> H1<S> {
    /// Over a stream that is there already.
    pub(crate) fn over(stream: S) -> Self {
        Self {
            wire: Wire::new(stream),
        }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.try_send(text).await.expect("bytes are taken");
    }

    pub(crate) async fn try_send(&mut self, text: &str) -> io::Result<()> {
        within(
            "bytes are taken",
            self.wire.stream.write_all(text.as_bytes()),
        )
        .await
    }

    /// Sends a request without a body.
    pub(crate) async fn ask(&mut self, path: &str) {
        self.send(&get(path)).await;
    }

    /// A request and its response.
    pub(crate) async fn get(&mut self, path: &str) -> Response {
        self.ask(path).await;
        self.response().await
    }

    pub(crate) async fn response(&mut self) -> Response {
        self.try_response().await.expect("a whole response")
    }

    /// The next response, informational ones left out.
    pub(crate) async fn try_response(&mut self) -> io::Result<Response> {
        within("a response", async {
            let head = self.wire.head().await?;
            let body = self.wire.body(&head).await?;
            Ok(Response {
                status: head.status(),
                head: head.text.to_lowercase(),
                body: body.into(),
            })
        })
        .await
    }

    /// Waits for the end of the connection; nothing more may come before it.
    pub(crate) async fn end(&mut self) -> End {
        assert!(
            self.wire.ahead.is_empty(),
            "late: {:?}",
            String::from_utf8_lossy(&self.wire.ahead)
        );
        end_of(&mut self.wire.stream).await
    }
}

pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")
}
