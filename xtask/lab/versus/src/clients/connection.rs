//! What the kernel knows of a connection that this program has not read yet.

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::net::TcpStream;

/// What is there to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visible {
    Nothing,
    Bytes,
    /// FIN.
    End,
    /// RST.
    Reset,
}

/// Looks without reading. Of the runtime's own view this would be too late: it hears of a FIN some
/// time after the kernel.
pub(crate) fn look(stream: &TcpStream) -> Visible {
    let mut byte = [0];
    match recv(stream, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((_, 0)) => Visible::End,
        Ok(_) => Visible::Bytes,
        Err(Errno::AGAIN | Errno::INTR) => Visible::Nothing,
        Err(_) => Visible::Reset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn bytes_and_the_end_are_seen_without_being_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        assert_eq!(look(&client), Visible::Nothing);
        server.write_all(b"x").await.unwrap();
        client.readable().await.unwrap();
        assert_eq!(look(&client), Visible::Bytes);
        client.try_read(&mut [0; 8]).unwrap();
        drop(server);
        client.readable().await.unwrap();
        assert_eq!(look(&client), Visible::End);
    }
}
