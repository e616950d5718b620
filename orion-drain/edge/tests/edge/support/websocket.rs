//! WebSocket by hand (RFC 6455): the handshake, and text frames of up to 125 bytes.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{H1, within};

/// The handshake of the RFC's own example.
const HANDSHAKE: &str = "GET /chat HTTP/1.1\r\nhost: test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
pub(crate) const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;

/// Opens one through `address`.
pub(crate) async fn open(address: SocketAddr) -> TcpStream {
    open_over(H1::connect(address).await).await
}

/// Opens one over a connection that is there already.
pub(crate) async fn open_over<S: AsyncRead + AsyncWrite + Unpin>(mut client: H1<S>) -> S {
    client.send(HANDSHAKE).await;
    let response = client.response().await;
    assert_eq!(response.status, 101, "{response:?}");
    assert_eq!(
        response.header("sec-websocket-accept"),
        Some("s3pplmbitxaq9kygzzhzrbk+xoo=")
    );
    client.stream
}

/// Sends a text and reads it back; an error if the connection ended instead.
pub(crate) async fn say(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), text: &str) -> io::Result<()> {
    let length = u8::try_from(text.len()).map_err(io::Error::other)?;
    let mut frame = vec![TEXT, 0x80 | length];
    frame.extend(MASK);
    frame.extend(masked(text.as_bytes()));
    stream.write_all(&frame).await?;
    let mut back = vec![0; 2 + text.len()];
    within("an echo", stream.read_exact(&mut back[..2])).await?;
    assert_eq!(back[..2], [TEXT, length]);
    within("an echo", stream.read_exact(&mut back[2..])).await?;
    assert_eq!(&back[2..], text.as_bytes());
    Ok(())
}

/// Sends a text; the text that comes back, or the code of the Close frame that comes instead.
pub(crate) async fn talk(stream: &mut TcpStream, text: &str) -> Result<(), u16> {
    send(stream, TEXT, text.as_bytes()).await;
    match receive(stream).await {
        (TEXT, back) => {
            assert_eq!(back, text.as_bytes());
            Ok(())
        }
        (CLOSE, code) => Err(u16::from_be_bytes([code[0], code[1]])),
        (opcode, _) => panic!("a frame with opcode {opcode:#x}"),
    }
}

/// Waits for a Close frame.
pub(crate) async fn closed(stream: &mut TcpStream) -> u16 {
    match receive(stream).await {
        (CLOSE, code) => u16::from_be_bytes([code[0], code[1]]),
        (opcode, _) => panic!("a frame with opcode {opcode:#x}"),
    }
}

/// Answers a Close frame.
pub(crate) async fn close(stream: &mut TcpStream, code: u16) {
    send(stream, CLOSE, &code.to_be_bytes()).await;
}

async fn send(stream: &mut TcpStream, first: u8, payload: &[u8]) {
    stream
        .write_all(&frame(first, payload))
        .await
        .expect("it is open");
}

/// A text as a client sends it.
pub(crate) fn text(text: &str) -> Vec<u8> {
    frame(TEXT, text.as_bytes())
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("a short frame");
    let mut frame = vec![first, 0x80 | length];
    frame.extend(MASK);
    frame.extend(masked(payload));
    frame
}

/// A frame of the server.
async fn receive(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    within("a frame", stream.read_exact(&mut head))
        .await
        .expect("a frame");
    let mut payload = vec![0; usize::from(head[1])];
    within("the rest of a frame", stream.read_exact(&mut payload))
        .await
        .expect("a frame");
    (head[0], payload)
}

/// The other side: sends every text back.
pub(crate) async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin, ahead: Vec<u8>) -> io::Result<()> {
    assert!(ahead.is_empty(), "a frame before the handshake was accepted");
    loop {
        let mut head = [0; 6];
        stream.read_exact(&mut head).await?;
        let mut payload = vec![0; usize::from(head[1] & 0x7f)];
        stream.read_exact(&mut payload).await?;
        // A Close is answered by one.
        let mut frame = vec![head[0], head[1] & 0x7f];
        frame.extend(masked(&payload));
        stream.write_all(&frame).await?;
    }
}

fn masked(bytes: &[u8]) -> Vec<u8> {
    bytes
        .iter()
        .zip(MASK.iter().cycle())
        .map(|(byte, mask)| byte ^ mask)
        .collect()
}
