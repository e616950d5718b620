//! WebSocket as the tests speak it: the handshake, texts, Close frames, and an echo.

use std::io;
use std::net::SocketAddr;

use bytes::{BufMut, BytesMut};
use rig::websocket::{self, Message, opcode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{H1, within};

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Opens one through `address`.
pub(crate) async fn open(address: SocketAddr) -> TcpStream {
    open_over(H1::connect(address).await).await
}

/// Opens one over a connection that is there already.
pub(crate) async fn open_over<S: AsyncRead + AsyncWrite + Unpin>(mut client: H1<S>) -> S {
    let key = websocket::key(*b"sixteen bytes of");
    client.send(&websocket::handshake("/chat", &key)).await;
    let response = client.response().await;
    assert_eq!(response.status, 101, "{response:?}");
    let accepted = websocket::accept(&key).to_lowercase();
    assert_eq!(
        response.header("sec-websocket-accept"),
        Some(accepted.as_str())
    );
    assert!(
        client.wire.ahead.is_empty(),
        "the server has nothing to say yet"
    );
    client.wire.stream
}

/// Sends a text and reads it back; an error if the connection ended instead.
pub(crate) async fn say(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    text: &str,
) -> io::Result<()> {
    stream.write_all(&self::text(text)).await?;
    let back = within("an echo", receive(stream)).await?;
    assert_eq!(
        (back.opcode, &*back.payload),
        (opcode::TEXT, text.as_bytes())
    );
    Ok(())
}

/// Sends a text; the text that comes back, or the code of the Close frame that comes instead.
pub(crate) async fn talk(stream: &mut TcpStream, text: &str) -> Result<(), u16> {
    stream
        .write_all(&self::text(text))
        .await
        .expect("it is open");
    let back = within("a frame", receive(stream)).await.expect("a frame");
    match back.opcode {
        opcode::TEXT => {
            assert_eq!(back.payload, text.as_bytes());
            Ok(())
        }
        _ => Err(code(&back)),
    }
}

/// Waits for a Close frame.
pub(crate) async fn closed(stream: &mut TcpStream) -> u16 {
    code(&within("a frame", receive(stream)).await.expect("a frame"))
}

fn code(message: &Message) -> u16 {
    assert_eq!(message.opcode, opcode::CLOSE, "{message:?}");
    u16::from_be_bytes([message.payload[0], message.payload[1]])
}

/// Answers a Close frame.
pub(crate) async fn close(stream: &mut TcpStream, code: u16) {
    let frame = masked(opcode::CLOSE, &code.to_be_bytes());
    stream.write_all(&frame).await.expect("it is open");
}

/// A text as a client sends it.
pub(crate) fn text(text: &str) -> Vec<u8> {
    masked(opcode::TEXT, text.as_bytes())
}

fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let payload = payload.to_vec().into();
    Message { opcode, payload }.frame(Some(MASK))
}

/// One message, and no byte more: the connection is handed on without what was read ahead.
async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Message> {
    let mut ahead = BytesMut::new();
    loop {
        ahead.put_u8(stream.read_u8().await?);
        if let Some(message) = Message::take(&mut ahead).map_err(io::Error::other)? {
            return Ok(message);
        }
    }
}

/// The other side: sends every message back.
pub(crate) async fn echo(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    ahead: BytesMut,
) -> io::Result<()> {
    assert!(
        ahead.is_empty(),
        "a frame before the handshake was accepted"
    );
    loop {
        let message = receive(&mut stream).await?;
        // A Close is answered by one.
        stream.write_all(&message.frame(None)).await?;
    }
}

/// What the other side answers to a handshake.
pub(crate) fn accepted(key: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: {}\r\n\r\n",
        websocket::accept(key)
    )
}
