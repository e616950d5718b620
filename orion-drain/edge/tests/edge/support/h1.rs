//! HTTP/1.1 by hand, as a client.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{End, end_of, within};

/// A connection of a client.
pub(crate) struct H1<S = TcpStream> {
    pub(crate) stream: S,
    ahead: Vec<u8>,
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
    pub(crate) const fn over(stream: S) -> Self {
        Self {
            stream,
            ahead: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.try_send(text).await.expect("bytes are taken");
    }

    pub(crate) async fn try_send(&mut self, text: &str) -> io::Result<()> {
        within("bytes are taken", self.stream.write_all(text.as_bytes())).await
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
            let (head, length) = read_head(&mut self.stream, &mut self.ahead).await?;
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
            let body = read_body(&mut self.stream, &mut self.ahead, length).await?;
            Ok(Response {
                status: status.ok_or_else(|| io::Error::other("no status"))?,
                head,
                body,
            })
        })
        .await
    }

    /// Waits for the end of the connection; nothing more may come before it.
    pub(crate) async fn end(&mut self) -> End {
        assert!(
            self.ahead.is_empty(),
            "late: {:?}",
            String::from_utf8_lossy(&self.ahead)
        );
        end_of(&mut self.stream).await
    }
}

pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")
}

/// How the end of a body is found.
pub(crate) enum Length {
    Known(usize),
    Chunked,
}

/// Reads a head, in lower case, and finds out how long its body is.
pub(crate) async fn read_head(
    stream: &mut (impl AsyncRead + Unpin),
    ahead: &mut Vec<u8>,
) -> io::Result<(String, Length)> {
    let end = loop {
        match find(ahead, b"\r\n\r\n") {
            Some(at) => break at + 4,
            None => more(stream, ahead).await?,
        }
    };
    let head: Vec<u8> = ahead.drain(..end).collect();
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let length = match header(&head, "content-length").map(str::parse) {
        Some(Ok(length)) => Length::Known(length),
        _ if header(&head, "transfer-encoding") == Some("chunked") => Length::Chunked,
        _ => Length::Known(0),
    };
    Ok((head, length))
}

pub(crate) async fn read_body(
    stream: &mut (impl AsyncRead + Unpin),
    ahead: &mut Vec<u8>,
    length: Length,
) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    let mut take = match length {
        Length::Known(length) => {
            read_exact(stream, ahead, length, &mut body).await?;
            return Ok(body);
        }
        Length::Chunked => usize::MAX,
    };
    while take > 0 {
        let line = loop {
            match find(ahead, b"\r\n") {
                Some(at) => break at,
                None => more(stream, ahead).await?,
            }
        };
        let size = String::from_utf8_lossy(&ahead[..line]).into_owned();
        ahead.drain(..line + 2);
        take = usize::from_str_radix(&size, 16).map_err(io::Error::other)?;
        read_exact(stream, ahead, take, &mut body).await?;
        read_exact(stream, ahead, 2, &mut Vec::new()).await?;
    }
    Ok(body)
}

async fn read_exact(
    stream: &mut (impl AsyncRead + Unpin),
    ahead: &mut Vec<u8>,
    length: usize,
    to: &mut Vec<u8>,
) -> io::Result<()> {
    while ahead.len() < length {
        more(stream, ahead).await?;
    }
    to.extend(ahead.drain(..length));
    Ok(())
}

async fn more(stream: &mut (impl AsyncRead + Unpin), ahead: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(ahead).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
