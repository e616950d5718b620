//! HTTP/1.1: new connections, kept-alive ones near and far, and uploads.

use std::sync::Arc;
use std::time::Duration;

use rig::h1::{Head, Stopped, Wire};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::{Class, Crowd, Loss, PATIENCE, Visible, look};

const GET: &[u8] = b"GET /x HTTP/1.1\r\nhost: versus\r\n\r\n";
const GET_AND_CLOSE: &[u8] = b"GET /x HTTP/1.1\r\nhost: versus\r\nconnection: close\r\n\r\n";

/// Between two requests of a busy client.
const BUSY: Duration = Duration::from_millis(20);

/// An upload's pieces, and the time between two of them.
const PIECE: [u8; 8192] = [b'u'; 8192];
const PIECES: usize = 8;
const BETWEEN: Duration = Duration::from_millis(50);

/// Reads a whole answer. `reused`: earlier ones have come on this connection.
pub(crate) async fn answer(
    wire: &mut Wire<TcpStream>,
    body: &str,
    reused: bool,
) -> Result<Head, Loss> {
    let read = async {
        let head = match wire.head().await {
            Ok(head) => head,
            Err(Stopped::Wrong(_)) => return Err(Loss::Wrong),
            Err(_) if !wire.ahead.is_empty() => return Err(Loss::Cut),
            Err(_) if reused => return Err(Loss::Reused),
            Err(_) => return Err(Loss::Reset),
        };
        let seen = wire.body(&head).await.map_err(|_| Loss::Cut)?;
        match head.status() == 200 && seen == body.as_bytes() {
            true => Ok(head),
            false => Err(Loss::Wrong),
        }
    };
    timeout(PATIENCE, read).await.unwrap_or(Err(Loss::Late))
}

/// A connection for each request.
pub(crate) async fn new_connections(crowd: &Arc<Crowd>) {
    const CLASS: Class = Class::New;
    while !crowd.stopping() {
        let begun = Instant::now();
        let Some(stream) = crowd.connect(CLASS).await else {
            continue;
        };
        let mut wire = Wire::new(stream);
        // If the write fails, the read says why.
        wire.stream.write_all(GET_AND_CLOSE).await.ok();
        match answer(&mut wire, "0", false).await {
            Ok(head) => {
                let version = head.header(rig::VERSION_HEADER);
                let version = version.and_then(|version| version.parse().ok());
                crowd
                    .tally
                    .answered(CLASS, version.unwrap_or(0), begun.elapsed());
            }
            Err(loss) => crowd.tally.lost(CLASS, loss),
        }
        crowd.pause(Duration::from_millis(5)).await;
    }
}

/// One connection as long as it may be used.
pub(crate) async fn keep_alive(crowd: &Arc<Crowd>, class: Class) {
    let away = match class {
        Class::Away10 => Duration::from_millis(10),
        Class::Away50 => Duration::from_millis(50),
        _ => Duration::ZERO,
    };
    while !crowd.stopping() {
        let Some(stream) = crowd.connect(class).await else {
            continue;
        };
        let mut wire = Wire::new(stream);
        let mut reused = false;
        while !crowd.stopping() {
            if look(&wire.stream) != Visible::Nothing {
                crowd.tally.again(class);
                break;
            }
            if !away.is_zero() {
                // On its way: what the proxy does meanwhile the client cannot know.
                sleep(away).await;
            }
            // If the write fails, the read says why.
            wire.stream.write_all(GET).await.ok();
            match answer(&mut wire, "0", reused).await {
                Ok(head) => {
                    crowd.tally.ok(class);
                    reused = true;
                    if head.close() {
                        break;
                    }
                }
                Err(loss) => {
                    crowd.tally.lost(class, loss);
                    break;
                }
            }
            crowd.pause(between(crowd, class)).await;
        }
    }
}

/// Long pauses are up to nine tenths of the drain time.
fn between(crowd: &Crowd, class: Class) -> Duration {
    match class {
        Class::Pauses => crowd.doors.drain_time.mul_f64(0.1 + 0.8 * fastrand::f64()),
        _ => BUSY,
    }
}

/// Bodies that take a while, on a connection as long as it may be used.
pub(crate) async fn upload(crowd: &Arc<Crowd>) {
    const CLASS: Class = Class::H1Upload;
    let length = PIECE.len() * PIECES;
    let head = format!("POST /x HTTP/1.1\r\nhost: versus\r\ncontent-length: {length}\r\n\r\n");
    while !crowd.stopping() {
        let Some(stream) = crowd.connect(CLASS).await else {
            continue;
        };
        let mut wire = Wire::new(stream);
        let mut reused = false;
        while !crowd.stopping() {
            if look(&wire.stream) != Visible::Nothing {
                crowd.tally.again(CLASS);
                break;
            }
            let mut sent = wire.stream.write_all(head.as_bytes()).await;
            for _ in 0..PIECES {
                if sent.is_err() {
                    break;
                }
                sleep(BETWEEN).await;
                sent = wire.stream.write_all(&PIECE).await;
            }
            // If a write fails, the read says why.
            match answer(&mut wire, &length.to_string(), reused).await {
                Ok(head) => {
                    crowd.tally.ok(CLASS);
                    reused = true;
                    if head.close() {
                        break;
                    }
                }
                Err(loss) => {
                    crowd
                        .tally
                        .lost(CLASS, if sent.is_err() { Loss::Cut } else { loss });
                    break;
                }
            }
        }
    }
}
