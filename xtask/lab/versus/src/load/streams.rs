//! HTTP/2: several streams at a time on each connection.

use std::collections::HashMap;

use anyhow::{Context, ensure};
use bytes::BytesMut;
use rig::h2::{self, Frame, flag, kind};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Shared;

/// At the same time on one connection.
pub(crate) const AT_ONCE: usize = 4;

/// Opens a stream for each that has ended.
pub(crate) async fn again(
    mut stream: TcpStream,
    path: &str,
    shared: &Shared,
) -> anyhow::Result<Vec<f64>> {
    let (mut took, mut streams) = (Vec::new(), HashMap::new());
    let mut ahead = BytesMut::new();
    let mut out = h2::preface(1 << 30);
    let mut next = 1;
    loop {
        while streams.len() < AT_ONCE && !shared.over() {
            out.extend(h2::request("GET", path, next, true));
            streams.insert(next, Instant::now());
            next += 2;
        }
        if streams.is_empty() {
            return Ok(took);
        }
        if !out.is_empty() {
            stream.write_all(&out).await?;
            out.clear();
        }
        let mut frame = Frame::read(&mut stream, &mut ahead)
            .await?
            .context("closed before the answer")?;
        loop {
            out.extend(frame.ack().unwrap_or_default());
            ensure!(
                !matches!(frame.kind, kind::RST_STREAM | kind::GOAWAY),
                "told to stop"
            );
            if frame.kind == kind::HEADERS {
                ensure!(h2::status(&frame.payload) == 200, "not 200");
            }
            if matches!(frame.kind, kind::HEADERS | kind::DATA) && frame.has(flag::END_STREAM) {
                if let Some(begun) = streams.remove(&frame.stream) {
                    shared.took(begun, &mut took);
                }
            }
            // What has come together is taken together, so that the next streams go out together.
            match Frame::take(&mut ahead) {
                Ok(Some(more)) => frame = more,
                Ok(None) => break,
                Err(length) => anyhow::bail!("a frame of {length} bytes"),
            }
        }
    }
}
