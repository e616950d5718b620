//! TCP clients that send more than is taken, or take nothing. Drain time 4 s.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use super::crowd::{Crowd, Tasks, at};
use super::rows;
use crate::Stage;
use crate::play::{Play, Setup};
use crate::rule::Checks;
use crate::samples::ms;
use crate::wire::Speak;
use crate::yaml::{Listener, TCP};

const PIECE: [u8; 16 * 1024] = [7; 16 * 1024];

/// A connection whose client has sent until nothing more was taken, and has not read the echo.
async fn blocked(play: &Play) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(64 * 1024)?;
    let stream = socket.connect(play.address(TCP)).await?;
    loop {
        let ready = timeout(Duration::from_millis(300), stream.writable()).await;
        if ready.is_err() {
            return Ok(stream);
        }
        match stream.try_write(&PIECE) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

pub(crate) async fn pressure(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let listeners = [Listener::tcp()];
    let play = stage.start(Setup::gradual(4, listeners.clone())).await?;
    let mut tasks = Tasks::new();
    let flooding = Crowd::idle(&play, TCP, Speak::Bytes, 2).await?;
    for client in &flooding.0 {
        let client = Arc::clone(client);
        tasks.spawn(async move {
            while client.is_open() && client.send(&PIECE).await {
                // As fast as the echo comes back, and not so fast that nothing else is served on
                // this machine.
                sleep(Duration::from_millis(5)).await;
            }
        });
    }
    let mut blocked = blocked(&play).await?;
    let start = play.update(&listeners.map(|listener| listener.version(2)))?;
    at(start, 4700).await;
    let ends = flooding.ends(start);
    checks
        .rule("TCP flooding: ended at T", &ends, ends.all_in(4000, 4000))
        .or_alike(rows::TUNNELS, ends.all_in(3000, 4250));
    // What the kernel holds for it comes first.
    let (mut got, began) = (0, Instant::now());
    let mut bytes = vec![0; 64 * 1024];
    let end = loop {
        match timeout(Duration::from_secs(2), blocked.read(&mut bytes)).await {
            Ok(Ok(0)) => break "FIN",
            Ok(Ok(n)) => got += n,
            Ok(Err(_)) => break "RST",
            Err(_) => break "never",
        }
    };
    let took = ms(began, Instant::now());
    checks.rule(
        "TCP blocked: after T it gets what was on its way, and the end",
        format!("{end} after {} bytes", if got > 0 { "some" } else { "no" }),
        end != "never" && got > 0 && took < 1000,
    );
    Ok(checks)
}
