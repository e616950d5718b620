//! Options of HTTP/2 as a client reads them: in the first SETTINGS, and in PINGs.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Edge, Http, discovery, within};

/// A frame: its type, its flags, its content.
async fn frame(stream: &mut TcpStream) -> (u8, u8, Vec<u8>) {
    let mut head = [0; 9];
    within("a frame", stream.read_exact(&mut head))
        .await
        .expect("a head");
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    let mut content = vec![0; length];
    within("its content", stream.read_exact(&mut content))
        .await
        .expect("content");
    (head[3], head[4], content)
}

fn number(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u32::from(*byte))
}

#[tokio::test]
async fn streams_windows_and_pings_are_as_configured() {
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const WINDOW_UPDATE: u8 = 8;
    let options = "http2_protocol_options: { max_concurrent_streams: 7, initial_stream_window_size: 70000, \
                   initial_connection_window_size: 2000000, connection_keepalive: { interval: 0.1s, timeout: 5s } }";
    let listener = Http::new("http", 1).with_http(options).yaml();
    let edge = Edge::start("--drain-time-s 20", &discovery("1", &[listener])).await;
    let mut stream = TcpStream::connect(edge.address("http").await)
        .await
        .expect("it listens");
    let begin = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(),
        &[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0],
    ];
    stream.write_all(&begin.concat()).await.expect("it reads");

    let (kind, _, settings) = frame(&mut stream).await;
    assert_eq!(kind, SETTINGS);
    let value = |name: u32| {
        let mut settings = settings.chunks(6);
        let setting = settings.find(|setting| number(&setting[..2]) == name);
        setting.map(|setting| number(&setting[2..]))
    };
    assert_eq!((value(3), value(4)), (Some(7), Some(70000)));
    let (mut window, mut pinged) = (65535, false);
    while window < 2000000 || !pinged {
        let (kind, flags, content) = frame(&mut stream).await;
        match (kind, flags) {
            (WINDOW_UPDATE, _) => window += number(&content),
            (PING, 0) => pinged = true,
            _ => {}
        }
    }
    assert_eq!(window, 2000000);
}
