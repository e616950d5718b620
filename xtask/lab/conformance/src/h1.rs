//! HTTP/1.1 responses as they come in: heads, bodies, and what follows an upgrade.

use rig::h1::{Head, Length, Stopped, Wire};
use tokio::io::AsyncRead;

use super::wire::What;

/// Notes a connection's responses, until it ends.
pub(crate) async fn read(half: impl AsyncRead + Unpin, mut add: impl FnMut(What)) {
    let mut wire = Wire::new(half);
    loop {
        if let Err(stopped) = response(&mut wire, &mut add).await {
            return add(match stopped {
                Stopped::Fin | Stopped::Cut => What::Fin,
                Stopped::Broken(_) | Stopped::Wrong(_) => What::Reset,
            });
        }
    }
}

async fn response(
    wire: &mut Wire<impl AsyncRead + Unpin>,
    add: &mut impl FnMut(What),
) -> Result<(), Stopped> {
    let head = wire.head().await?;
    add(What::Head {
        status: head.status(),
        close: head.close(),
        version: version(&head),
    });
    if head.status() == 101 {
        return bytes(wire, add).await;
    }
    match head.length() {
        Length::Known(_) => add(What::Body(wire.body(&head).await?.into())),
        Length::Chunked => {
            let mut body = Vec::new();
            loop {
                let chunk = wire.chunk().await?;
                if chunk.is_empty() {
                    break;
                }
                add(What::Bytes(chunk.len()));
                body.extend_from_slice(&chunk);
            }
            add(What::Body(body));
        }
        Length::Unsaid => bytes(wire, add).await?,
    }
    Ok(())
}

/// A tunnel, or a body that ends with the connection.
async fn bytes(
    wire: &mut Wire<impl AsyncRead + Unpin>,
    add: &mut impl FnMut(What),
) -> Result<(), Stopped> {
    loop {
        if wire.ahead.is_empty() {
            wire.more().await?;
        }
        add(What::Bytes(wire.ahead.len()));
        wire.ahead.clear();
    }
}

fn version(head: &Head) -> u32 {
    let version = head.header("x-version");
    version
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn noted(bytes: &[u8]) -> Vec<What> {
        let mut all = Vec::new();
        read(bytes, |what| all.push(what)).await;
        all
    }

    #[tokio::test]
    async fn a_close_header_is_seen_with_its_response() {
        let head = What::Head {
            status: 200,
            close: true,
            version: 7,
        };
        let bytes =
            b"HTTP/1.1 200 OK\r\nX-Version: 7\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi";
        assert_eq!(
            noted(bytes).await,
            [head, What::Body(b"hi".to_vec()), What::Fin]
        );
    }

    #[tokio::test]
    async fn chunks_are_put_together_and_a_cut_body_is_never_complete() {
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".as_slice();
        let whole = noted(&[head, b"2\r\nhi\r\n0\r\n\r\n"].concat()).await;
        assert_eq!(
            whole[1..],
            [What::Bytes(2), What::Body(b"hi".to_vec()), What::Fin]
        );
        let cut = noted(&[head, b"2\r\nhi\r\n"].concat()).await;
        assert_eq!(cut[1..], [What::Bytes(2), What::Fin]);
    }
}
