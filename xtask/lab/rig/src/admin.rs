//! One request to an admin port.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// One request to an admin port, on a connection of its own; its status and its body.
pub async fn ask(admin: SocketAddr, method: &str, path: &str) -> anyhow::Result<(u16, String)> {
    const LIMIT: u64 = 8 * 1024 * 1024;
    let exchange = async {
        let mut stream = TcpStream::connect(admin).await?;
        let ask = format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        );
        stream.write_all(ask.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(LIMIT).read_to_end(&mut answer).await?;
        anyhow::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = timeout(Duration::from_secs(3), exchange)
        .await
        .context("no answer within 3 s")??;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.context("no HTTP status")?;
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return Ok((status, body.to_owned()));
    }
    let body = unchunked(body).ok_or_else(|| anyhow!("{method} {path}: a chunked body that is none"))?;
    Ok((status, body))
}

fn unchunked(mut chunks: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, rest) = chunks.split_once("\r\n")?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body += rest.get(..size)?;
        chunks = rest.get(size..)?.strip_prefix("\r\n")?;
    }
}

/// The numbers of `/stats`, by name.
pub fn stats(text: &str) -> BTreeMap<&str, u64> {
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    lines
        .filter_map(|(name, value)| Some((name, value.trim().parse().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_are_numbers_by_name_and_other_lines_are_skipped() {
        let text = "listener_manager.total_listeners_draining: 2\nhistogram: No recorded values\nx\n";
        assert_eq!(
            stats(text).into_iter().collect::<Vec<_>>(),
            [("listener_manager.total_listeners_draining", 2)]
        );
    }

    #[test]
    fn a_chunked_admin_answer_is_put_together() {
        assert_eq!(unchunked("5\r\nLIVE\n\r\n0\r\n\r\n").as_deref(), Some("LIVE\n"));
        assert_eq!(unchunked("5\r\nLI"), None);
    }
}
