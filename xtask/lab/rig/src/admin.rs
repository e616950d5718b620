//! One request to an admin port.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::h1::Wire;

const PATIENCE: Duration = Duration::from_secs(10);

/// One request to an admin port, on a connection of its own; its status and its body.
pub async fn ask(admin: SocketAddr, method: &str, path: &str) -> anyhow::Result<(u16, String)> {
    let exchange = async {
        let mut wire = Wire::new(TcpStream::connect(admin).await?);
        let ask = format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        );
        wire.stream.write_all(ask.as_bytes()).await?;
        let head = wire.head().await.map_err(std::io::Error::from)?;
        let body = wire.body(&head).await.map_err(std::io::Error::from)?;
        anyhow::Ok((head.status(), String::from_utf8_lossy(&body).into_owned()))
    };
    let answer = timeout(PATIENCE, exchange).await;
    answer.with_context(|| format!("{method} {path}: no answer within {PATIENCE:?}"))?
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
        let text =
            "listener_manager.total_listeners_draining: 2\nhistogram: No recorded values\nx\n";
        assert_eq!(
            stats(text).into_iter().collect::<Vec<_>>(),
            [("listener_manager.total_listeners_draining", 2)]
        );
    }
}
