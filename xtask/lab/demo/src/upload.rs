//! Chunked HTTP/1.1 uploads that last longer than the time between two updates; the upstream checks
//! every byte.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::ask::Ask;
use super::book::Entry;
use super::crowd::Crowd;
use super::h1::{PATIENCE, Wire};
use super::pattern::{self, Checksum};
use super::record::{Class, How, Saw};

const PIECE: usize = 1500;
const BETWEEN: Duration = Duration::from_millis(30);

/// Uploads again and again until it is time to go home.
pub(crate) async fn client(crowd: &Arc<Crowd>) {
    // Sized to end before the deadline of a version that is replaced just after the upload begins.
    let takes = crowd.drain_time.mul_f64(0.4);
    let mut leaving = JoinSet::new();
    while !crowd.stopping() {
        let Some((stream, entry)) = crowd.connect(Class::Upload, crowd.http).await else {
            continue;
        };
        let mut wire = Wire::new(stream);
        let Some(mut reuse) = wire.ask(&Ask::version(), &entry).await else {
            continue;
        };
        let version = reuse.version.unwrap_or(1);
        while !reuse.close && !crowd.stopping() && crowd.book.in_time(version, takes) {
            match upload(crowd, &mut wire, &entry, takes).await {
                Some(close) => reuse.close = close,
                None => break,
            }
        }
        if reuse.close {
            leaving.spawn(wire.see_end(entry, Arc::clone(crowd)));
        } else {
            entry.saw_once(Saw::Left);
        }
    }
    leaving.join_all().await;
}

/// One upload; whether the connection was told to leave with its answer, `None` if it failed.
async fn upload(crowd: &Crowd, wire: &mut Wire, entry: &Entry, takes: Duration) -> Option<bool> {
    let begun = entry.now();
    match timeout(takes + PATIENCE, exchange(crowd, wire, entry, takes))
        .await
        .unwrap_or(Err(How::TimedOut))
    {
        Ok((close, length)) => {
            entry.ok();
            entry.verified(length);
            Some(close)
        }
        Err(how) => {
            wire.failed(entry, begun, how);
            None
        }
    }
}

async fn exchange(
    crowd: &Crowd,
    wire: &mut Wire,
    entry: &Entry,
    takes: Duration,
) -> Result<(bool, u64), How> {
    let (seed, begun) = (fastrand::u64(..), entry.now());
    let head = format!(
        "POST /upload?seed={seed} HTTP/1.1\r\nhost: demo\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let mut going = wire.send(head.as_bytes()).await;
    let (mut length, mut sum) = (0, Checksum::default());
    while going && entry.now() < begun + takes && !crowd.stopping() {
        let piece = pattern::bytes(seed, length, fastrand::usize(1..=PIECE));
        sum.add(&piece);
        length += piece.len() as u64;
        going = wire
            .send(&[format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat())
            .await;
        sleep(BETWEEN).await;
    }
    if going {
        wire.send(b"0\r\n\r\n").await;
    }
    let (head, body) = wire.answer(entry).await?;
    let (said, expected) = (String::from_utf8_lossy(&body), receipt(length, sum));
    if head.status() != 200 || said != expected {
        return Err(How::Wrong(format!(
            "upload: status {} {said:?}, not {expected:?}",
            head.status()
        )));
    }
    Ok((head.close(), length))
}

/// What the upstream answers to an upload that is right.
pub(crate) fn receipt(length: u64, sum: Checksum) -> String {
    format!("received {length} {sum}\n")
}
