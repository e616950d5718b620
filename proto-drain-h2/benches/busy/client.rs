//! The clients: h2's, and one that costs next to nothing.

use std::error::Error;

use bytes::Bytes;
use proto_drain_h2::CLIENT_PREFACE;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Requests at a time.
const STREAMS: usize = 64;

/// h2's client: `requests` GETs, in batches of concurrent streams, each body read to its end.
pub(crate) async fn h2(io: DuplexStream, requests: usize) -> Result<(), Failure> {
    let (mut send, connection) = h2::client::Builder::new()
        .initial_window_size(8 << 20)
        .initial_connection_window_size(128 << 20)
        .handshake::<_, Bytes>(io)
        .await?;
    tokio::spawn(connection);
    let mut left = requests;
    while left > 0 {
        let batch = left.min(STREAMS);
        left -= batch;
        let mut answers = Vec::with_capacity(batch);
        for _ in 0..batch {
            send = send.ready().await?;
            let request = http::Request::get("http://localhost/").body(())?;
            answers.push(send.send_request(request, true)?.0);
        }
        for answer in answers {
            let mut body = answer.await?.into_body();
            while let Some(chunk) = body.data().await {
                body.flow_control().release_capacity(chunk?.len())?;
            }
        }
    }
    Ok(())
}

/// The same requests as bytes made beforehand; of the answers only the frame headers are looked at.
/// For small bodies: windows are opened once a batch.
pub(crate) async fn raw(mut io: DuplexStream, requests: usize) -> Result<(), Failure> {
    io.write_all(CLIENT_PREFACE).await?;
    io.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await?;
    let mut bytes = vec![0; 1 << 17];
    let mut have = 0;
    let mut stream = 1_u32;
    let mut left = requests;
    let mut out = Vec::new();
    while left > 0 {
        let batch = left.min(STREAMS);
        left -= batch;
        out.clear();
        // A window of 64 KiB for the connection; GET / http, indexed, and `:authority: localhost`,
        // indexed from now on.
        out.extend([0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 1, 0, 0]);
        for _ in 0..batch {
            let block: &[u8] = if stream == 1 {
                b"\x82\x86\x84\x41\x09localhost"
            } else {
                b"\x82\x86\x84\xbe"
            };
            out.extend([0, 0, block.len() as u8, 1, 5]);
            out.extend(stream.to_be_bytes());
            out.extend(block);
            stream += 2;
        }
        io.write_all(&out).await?;
        let mut open = batch;
        while open > 0 {
            have += io.read(&mut bytes[have..]).await?;
            let mut at = 0;
            while have - at >= 9 {
                let head = &bytes[at..at + 9];
                let end = at + 9 + u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                if end > have {
                    break;
                }
                if head[3] <= 1 && head[4] & 1 != 0 {
                    open -= 1;
                }
                at = end;
            }
            bytes.copy_within(at..have, 0);
            have -= at;
        }
    }
    Ok(())
}
