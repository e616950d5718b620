//! A TCP stream through the proxy, each byte of which is known beforehand in both directions.
//!
//! The client names the stream by eight bytes, from which both sides know what the other will send.
//! The upstream answers with one byte that tells odd from even listener versions, since a TCP
//! stream has no other way to say which version serves it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{sleep, timeout};

use super::book::Entry;
use super::crowd::Crowd;
use super::h1::PATIENCE;
use super::pattern;
use super::record::{Class, How, Saw};

/// Bytes that were sent this long before the end of the stream must have arrived.
const IN_FLIGHT: Duration = Duration::from_millis(500);

/// What was sent, and when: enough of it to know how much must have arrived by now.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    recent: VecDeque<(Duration, u64)>,
    total: u64,
}

impl Sent {
    /// That much more was sent.
    pub(crate) fn add(&mut self, now: Duration, bytes: usize) {
        self.total += bytes as u64;
        self.recent.push_back((now, self.total));
        while self
            .recent
            .get(1)
            .is_some_and(|(at, _)| *at + Duration::from_secs(2) < now)
        {
            self.recent.pop_front();
        }
    }

    /// All that was sent.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// What had been sent at a moment of the last two seconds.
    fn by(&self, then: Duration) -> u64 {
        self.recent
            .iter()
            .rev()
            .find(|(at, _)| *at <= then)
            .map_or(0, |(_, total)| *total)
    }
}

/// What the server's side sends on the stream of this name.
pub(crate) fn answer_seed(name: u64) -> u64 {
    !name
}

/// A piece of up to 4 KiB.
pub(crate) fn piece(seed: u64, offset: u64) -> Vec<u8> {
    pattern::bytes(seed, offset, fastrand::usize(1..4096))
}

/// The time between two pieces.
pub(crate) const EVERY: Duration = Duration::from_millis(20);

/// Opens one stream after the other until it is time to go home.
pub(crate) async fn client(crowd: &Crowd) {
    while !crowd.stopping() {
        if let Some((stream, name, entry)) = open(crowd, Class::Tcp).await {
            talk(crowd, stream, name, &entry).await;
        }
    }
}

/// Opens a stream and waits for the upstream's greeting; the stream and its name.
pub(crate) async fn open(crowd: &Crowd, class: Class) -> Option<(TcpStream, u64, Entry)> {
    let (mut stream, entry) = crowd.connect(class, crowd.tcp).await?;
    let (begun, name) = (entry.now(), fastrand::u64(..));
    match timeout(PATIENCE, greet(&mut stream, name))
        .await
        .unwrap_or(Err(How::TimedOut))
    {
        Ok(odd) => {
            if let Some(version) = version(crowd, begun, odd) {
                entry.version(version);
            }
            entry.ok();
            Some((stream, name, entry))
        }
        Err(how) => {
            entry.failed(begun, None, how);
            None
        }
    }
}

async fn greet(stream: &mut TcpStream, name: u64) -> Result<bool, How> {
    stream
        .write_u64(name)
        .await
        .map_err(|error| How::from_io(&error))?;
    match stream.read_u8().await.map_err(|error| How::from_io(&error)) {
        Ok(parity @ 0..=1) => Ok(parity == 1),
        Ok(other) => Err(How::Wrong(format!("greeting {other}"))),
        Err(How::Cut) => Err(How::Unanswered),
        Err(how) => Err(how),
    }
}

/// The oldest version of this parity that may serve a connection begun then.
fn version(crowd: &Crowd, begun: Duration, odd: bool) -> Option<u32> {
    let now = crowd.book.now();
    crowd.book.read(|pages| {
        (pages.updates.oldest_for(begun)..=pages.updates.newest(now))
            .find(|version| (version % 2 == 1) == odd)
    })
}

async fn talk(crowd: &Crowd, stream: TcpStream, name: u64, entry: &Entry) {
    let (read, write) = stream.into_split();
    let (mut sent, mut received) = (Sent::default(), 0);
    let begun = entry.now();
    let end = {
        let mut writing = Box::pin(send(crowd, write, name, entry, &mut sent));
        let mut reading = Box::pin(receive(read, name, entry, &mut received));
        tokio::select! {
            end = &mut reading => end,
            // The half-close is passed on; the other side ends too.
            half = &mut writing => match timeout(PATIENCE, reading).await {
                Ok(Ok(Saw::Fin)) if half.is_some() => Ok(Saw::Left),
                Ok(end) => end,
                Err(_) => Err(How::TimedOut),
            },
        }
    };
    let end = match end {
        Ok(end) => end,
        Err(how) => {
            entry.failed(begun, None, how);
            return;
        }
    };
    entry.saw(end);
    let ended = entry.now();
    // Give the upstream time to read what was on its way, and to write down what it saw.
    sleep(Duration::from_millis(100)).await;
    let all = end == Saw::Left;
    if let Some(what) = crowd.tcp_sides.missing(name, &sent, received, all, ended) {
        entry.failed(begun, None, what);
    }
}

/// Sends pieces until it is time to go home, and then half-closes; `None` if the stream ended
/// before.
async fn send(
    crowd: &Crowd,
    mut write: OwnedWriteHalf,
    name: u64,
    entry: &Entry,
    sent: &mut Sent,
) -> Option<OwnedWriteHalf> {
    while !crowd.stopping() {
        let piece = piece(name, sent.total());
        if write.write_all(&piece).await.is_err() {
            return None;
        }
        sent.add(entry.now(), piece.len());
        sleep(EVERY).await;
    }
    write.shutdown().await.is_ok().then_some(write)
}

/// Reads and checks until the stream ends.
async fn receive(
    mut read: OwnedReadHalf,
    name: u64,
    entry: &Entry,
    received: &mut u64,
) -> Result<Saw, How> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = match read.read(&mut buffer).await {
            Ok(0) => return Ok(Saw::Fin),
            Ok(count) => count,
            Err(_) => return Ok(Saw::Reset),
        };
        if let Some(at) = pattern::mismatch(answer_seed(name), *received, &buffer[..count]) {
            return Err(How::Wrong(format!("byte {at} from the upstream")));
        }
        *received += count as u64;
        entry.verified(count as u64);
        entry.ok();
    }
}

/// What the upstream's side of a stream saw.
#[derive(Debug, Default)]
pub(crate) struct TcpSide {
    pub(crate) sent: Sent,
    pub(crate) received: u64,
    pub(crate) wrong_at: Option<u64>,
}

/// Compares the two sides of a stream that has ended.
///
/// After an orderly end that the client chose every byte must have arrived; after any other, those
/// sent a while before.
pub(crate) fn missing(
    client: &Sent,
    received: u64,
    upstream: &TcpSide,
    all: bool,
    now: Duration,
) -> Option<How> {
    let due = |sent: &Sent| {
        if all {
            sent.total()
        } else {
            sent.by(now.saturating_sub(IN_FLIGHT))
        }
    };
    if let Some(at) = upstream.wrong_at {
        return Some(How::Wrong(format!("byte {at} from the client")));
    }
    for (way, due, arrived) in [
        ("to the upstream", due(client), upstream.received),
        ("to the client", due(&upstream.sent), received),
    ] {
        if arrived < due {
            return Some(How::Missing(format!(
                "{} of {due} bytes {way}",
                due - arrived
            )));
        }
    }
    None
}

/// All streams that the upstream has seen, by name.
pub(crate) type Sides = std::collections::HashMap<u64, Arc<std::sync::Mutex<TcpSide>>>;

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn sent(pieces: &[(u64, usize)]) -> Sent {
        let mut sent = Sent::default();
        pieces
            .iter()
            .for_each(|(at, bytes)| sent.add(ms(*at), *bytes));
        sent
    }

    #[test]
    fn bytes_sent_just_before_the_cut_may_be_missing_and_earlier_ones_may_not() {
        let client = sent(&[(1000, 10), (1900, 10)]);
        let upstream = |received| TcpSide {
            received,
            ..TcpSide::default()
        };
        assert_eq!(missing(&client, 0, &upstream(10), false, ms(2000)), None);
        let lost = missing(&client, 0, &upstream(9), false, ms(2000));
        assert_eq!(
            lost,
            Some(How::Missing("1 of 10 bytes to the upstream".to_owned()))
        );
        assert!(missing(&client, 0, &upstream(19), true, ms(2000)).is_some());
        assert_eq!(missing(&client, 0, &upstream(20), true, ms(2000)), None);
    }

    #[test]
    fn what_was_sent_is_known_for_two_seconds_back_however_long_it_goes_on() {
        let mut sent = Sent::default();
        (0..1000).for_each(|n| sent.add(ms(n * 20), 1));
        assert_eq!((sent.total(), sent.by(ms(19_000))), (1000, 951));
        assert!(sent.recent.len() < 110);
    }
}
