//! Tunnels: a message each 50 ms that must come back, over WebSocket and over plain TCP.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rig::h1::Wire;
use rig::websocket::{Message, handshake, key, opcode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Class, Crowd, Loss, PATIENCE, Visible, look};

const EVERY: Duration = Duration::from_millis(50);
const TEXT: &[u8] = b"0123456789abcdef";

/// How a tunnel came to its end.
enum End {
    /// In order, with nothing outstanding.
    Told,
    Lost(Loss),
    Home,
}

pub(crate) async fn tcp(crowd: &Arc<Crowd>) {
    const CLASS: Class = Class::Tcp;
    while !crowd.stopping() {
        let Some(mut stream) = crowd.connect(CLASS).await else {
            continue;
        };
        let end = loop {
            match look(&stream) {
                Visible::Nothing | Visible::Bytes => {}
                Visible::End => break End::Told,
                Visible::Reset => break End::Lost(Loss::Reset),
            }
            if crowd.stopping() {
                break End::Home;
            }
            let mut seen = [0; TEXT.len()];
            let echoed = async {
                stream.write_all(TEXT).await?;
                stream.read_exact(&mut seen).await
            };
            match timeout(PATIENCE, echoed).await {
                Ok(Ok(_)) if seen == TEXT => crowd.tally.ok(CLASS),
                Ok(Ok(_)) => break End::Lost(Loss::Wrong),
                Ok(Err(_)) => break End::Lost(Loss::Cut),
                Err(_) => break End::Lost(Loss::Late),
            }
            crowd.pause(EVERY).await;
        };
        ended(crowd, CLASS, end);
    }
}

pub(crate) async fn web_socket(crowd: &Arc<Crowd>) {
    const CLASS: Class = Class::WebSocket;
    while !crowd.stopping() {
        let Some(stream) = crowd.connect(CLASS).await else {
            continue;
        };
        let mut wire = Wire::new(stream);
        let hello = handshake("/ws", &key([7; 16]));
        // If the write fails, the read says why.
        wire.stream.write_all(hello.as_bytes()).await.ok();
        let end = match timeout(PATIENCE, wire.head()).await {
            Ok(Ok(head)) if head.status() == 101 => talk(crowd, wire.stream, wire.ahead).await,
            Ok(Ok(_)) => End::Lost(Loss::Wrong),
            Ok(Err(_)) => End::Lost(Loss::Reset),
            Err(_) => End::Lost(Loss::Late),
        };
        let lost = matches!(end, End::Lost(_));
        ended(crowd, CLASS, end);
        if lost {
            crowd.pause(EVERY).await;
        }
    }
}

async fn talk(crowd: &Crowd, mut stream: TcpStream, mut ahead: BytesMut) -> End {
    let message = Message {
        opcode: opcode::TEXT,
        payload: TEXT.into(),
    };
    let frame = message.frame(Some([1, 2, 3, 4]));
    loop {
        match look(&stream) {
            Visible::Nothing => {}
            // Nothing is outstanding: a Close frame, most likely.
            Visible::Bytes => match timeout(PATIENCE, next(&mut stream, &mut ahead)).await {
                Ok(Some(seen)) if seen.opcode == opcode::CLOSE => {
                    // The connection is the proxy's to end now.
                    stream.write_all(&seen.frame(Some([1, 2, 3, 4]))).await.ok();
                    return End::Told;
                }
                _ => return End::Lost(Loss::Wrong),
            },
            Visible::End => return End::Told,
            Visible::Reset => return End::Lost(Loss::Reset),
        }
        if crowd.stopping() {
            return End::Home;
        }
        // If the write fails, the read says why.
        stream.write_all(&frame).await.ok();
        match timeout(PATIENCE, next(&mut stream, &mut ahead)).await {
            Ok(Some(seen)) if seen == message => crowd.tally.ok(Class::WebSocket),
            Ok(Some(_) | None) => return End::Lost(Loss::Cut),
            Err(_) => return End::Lost(Loss::Late),
        }
        crowd.pause(EVERY).await;
    }
}

/// The next whole message; `None` at the end.
async fn next(stream: &mut TcpStream, ahead: &mut BytesMut) -> Option<Message> {
    loop {
        if let Some(message) = Message::take(ahead).ok()? {
            return Some(message);
        }
        if stream.read_buf(ahead).await.ok()? == 0 {
            return None;
        }
    }
}

fn ended(crowd: &Crowd, class: Class, end: End) {
    match end {
        End::Told => crowd.tally.again(class),
        End::Lost(loss) => crowd.tally.lost(class, loss),
        End::Home => {}
    }
}
