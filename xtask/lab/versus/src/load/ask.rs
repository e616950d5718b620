//! HTTP/1.1 and bytes: one request after the other.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::{Shared, connect};

pub(crate) const DIRECT: &[u8] = b"GET /version HTTP/1.1\r\nhost: localhost\r\n\r\n";
pub(crate) const PROXIED: &[u8] = b"GET /x HTTP/1.1\r\nhost: localhost\r\n\r\n";
pub(crate) const BIG: &[u8] = b"GET /big HTTP/1.1\r\nhost: localhost\r\n\r\n";
const ONCE: &[u8] = b"GET /version HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// Asks the same again and again on one connection.
pub(crate) async fn again(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &[u8],
    shared: &Shared,
) -> anyhow::Result<Vec<f64>> {
    let mut took = Vec::new();
    let mut buffer = vec![0; 65_536];
    while !shared.over() {
        let begun = Instant::now();
        stream.write_all(request).await?;
        stream.flush().await?;
        answer(&mut stream, &mut buffer).await?;
        shared.took(begun, &mut took);
    }
    Ok(took)
}

/// A connection for each request.
pub(crate) async fn connections(to: SocketAddr, shared: &Shared) -> anyhow::Result<Vec<f64>> {
    let mut took = Vec::new();
    let mut buffer = vec![0; 4096];
    while !shared.over() {
        let begun = Instant::now();
        let mut stream = connect(to).await?;
        stream.write_all(ONCE).await?;
        answer(&mut stream, &mut buffer).await?;
        shared.took(begun, &mut took);
    }
    Ok(took)
}

/// Sends bytes that come back.
pub(crate) async fn messages(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    shared: &Shared,
) -> anyhow::Result<Vec<f64>> {
    let mut took = Vec::new();
    let mut buffer = [b'm'; 64];
    while !shared.over() {
        let begun = Instant::now();
        stream.write_all(&buffer).await?;
        stream.read_exact(&mut buffer).await?;
        shared.took(begun, &mut took);
    }
    Ok(took)
}

/// Reads a whole answer with `content-length`, of which only the head is looked at.
pub(crate) async fn answer(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut [u8],
) -> anyhow::Result<()> {
    let mut filled = 0;
    let (head, length) = loop {
        ensure!(filled < buffer.len(), "a head too large");
        let read = stream.read(&mut buffer[filled..]).await?;
        ensure!(read > 0, "closed before the answer");
        filled += read;
        let seen = &buffer[..filled];
        if let Some(end) = seen.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break (end + 4, length(&seen[..end])?);
        }
    };
    let mut left = (head + length).saturating_sub(filled);
    while left > 0 {
        let part = left.min(buffer.len());
        let read = stream.read(&mut buffer[..part]).await?;
        ensure!(read > 0, "closed in the answer");
        left -= read;
    }
    Ok(())
}

fn length(head: &[u8]) -> anyhow::Result<usize> {
    const NAME: &[u8] = b"content-length:";
    ensure!(
        head.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(head)
    );
    let mut lines = head.split(|byte| *byte == b'\n');
    let line = lines.find(|line| {
        line.get(..NAME.len())
            .is_some_and(|name| name.eq_ignore_ascii_case(NAME))
    });
    let value = std::str::from_utf8(line.context("no content-length")?)?;
    Ok(value[NAME.len()..].trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_read_to_its_end_and_one_that_is_cut_is_an_error() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".as_slice();
        let mut buffer = [0; 64];
        let mut stream = whole;
        answer(&mut stream, &mut buffer).await.unwrap();
        assert!(stream.is_empty());
        let mut cut = &whole[..whole.len() - 1];
        assert!(answer(&mut cut, &mut buffer).await.is_err());
    }
}
