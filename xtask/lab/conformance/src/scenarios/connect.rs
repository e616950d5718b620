//! WebSockets over HTTP/2, by extended CONNECT (RFC 8441), while their listener is replaced. Drain
//! time 6 s, the window is [4, 5].

use std::time::Duration;

use anyhow::ensure;
use tokio::time::sleep;

use super::crowd::{Crowd, at, of};
use super::rows;
use crate::Stage;
use crate::play::Setup;
use crate::rule::Checks;
use crate::wire::{Client, Speak, What};
use crate::yaml::{HTTP, Listener};
use rig::h2;

/// So many that not all of them have their slots so late that the deadline would end them: once in
/// a million plays.
const MANY: usize = 28;

/// Whether what is sent comes back.
async fn echoes(client: &Client, stream: u32) -> bool {
    let from = client.len();
    let back = |what: &What| matches!(what, What::Data { stream: of, bytes, .. } if *of == stream && !bytes.is_empty());
    client.send(&h2::data(stream, b"beat", false)).await
        && client
            .wait(from, Duration::from_secs(1), back)
            .await
            .is_some()
}

pub(crate) async fn connect(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let listeners = [Listener::http()];
    let play = stage.start(Setup::gradual(6, listeners.clone())).await?;
    let crowd = Crowd::fresh(&play, HTTP, Speak::Http2, MANY).await?;
    // Only a server that has said so in its SETTINGS may be asked.
    sleep(Duration::from_millis(100)).await;
    for client in &crowd.0 {
        let stream = client.take_stream();
        client.send(&h2::connect("/ws", stream)).await;
        let opened = |what: &What| {
            matches!(
                what,
                What::Headers {
                    status: 200,
                    end: false,
                    ..
                }
            )
        };
        let opened = client.wait(0, Duration::from_secs(3), opened).await;
        ensure!(
            opened.is_some() && echoes(client, stream).await,
            "no tunnel: {client:?}"
        );
    }
    let start = play.update(&listeners.map(|listener| listener.version(2)))?;
    at(start, 3800).await;
    let mut alive = 0;
    for client in &crowd.0 {
        alive += usize::from(echoes(client, client.last_stream()).await);
    }
    at(start, 6700).await;
    checks.rule(
        "extended CONNECT: the tunnel echoes before the window",
        of(alive, MANY),
        alive == MANY,
    );
    let goaway = crowd.first(start, What::is_goaway);
    checks
        .rule(
            "extended CONNECT: first GOAWAY in the window",
            &goaway,
            goaway.all_in(4000, 5000),
        )
        .or(rows::SCHEDULE, goaway.all_in(0, 1500));
    let ends = crowd.ends(start);
    checks
        .rule(
            "extended CONNECT: ended in window + drain_timeout + delayed close",
            &ends,
            ends.all_in(5500, 6000) && ends.earliest() < 5900,
        )
        .or(rows::WEBSOCKETS, ends.all_in(6000, 6250));
    Ok(checks)
}
