//! One drain, lived through by every client: who begins when, what each is told, and how each is
//! judged.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use tokio::time::sleep;

use super::player::Player;
use super::stage::Stage;
use super::{Client, Part};

/// How long a client may take until its traffic flows, and all of them from the end of the drain to
/// their own.
const READY: Duration = Duration::from_secs(30);
const END: Duration = Duration::from_secs(45);

/// The names of those that missed something.
pub(super) async fn play(
    stage: Stage,
    present: &[(&'static Client, PathBuf)],
) -> anyhow::Result<Vec<&'static str>> {
    let mut playing = Vec::new();
    let start =
        |client: &Client, program: &PathBuf| Player::start(program, (client.arguments)(&stage));
    for (client, program) in present
        .iter()
        .filter(|(client, _)| client.part != Part::Late)
    {
        let mut player = start(client, program)?;
        if let Part::Asks { request, until, .. } = client.part {
            player.ask_until(request, until);
        }
        playing.push((*client, player));
    }
    for (client, player) in &mut playing {
        let (Part::Script { ready } | Part::Asks { ready, .. }) = client.part else {
            continue;
        };
        // It is judged with the others.
        if !player.says(ready, READY).await {
            println!("{} was not ready in time", client.name);
        }
    }
    tell(&mut playing, "soon").await;
    for (client, program) in present
        .iter()
        .filter(|(client, _)| client.part == Part::Late)
    {
        playing.push((*client, start(client, program)?));
    }
    sleep(Duration::from_millis(500)).await;
    let updated = stage.update().await?;
    tell(&mut playing, "updated").await;

    let (limit, drain) = (
        updated + stage.drain_time() + END,
        stage.drain_time().as_secs_f64(),
    );
    let mut failed = Vec::new();
    // All run at once; what one has said is kept until it is its turn.
    for (client, player) in playing {
        let heard = player.end(updated, limit).await;
        match (client.judge)(&heard, drain) {
            Ok(seen) => println!("{:<16} ok       {seen}", client.name),
            Err(error) => {
                println!("{:<16} FAILED   {error:#}\n{}", client.name, heard.tail());
                failed.push(client.name);
            }
        }
    }
    if !failed.is_empty() {
        println!("edge said:\n{}", stage.tail());
    }
    stage.end().await.context("ending the stage")?;
    Ok(failed)
}

async fn tell(playing: &mut [(&Client, Player)], line: &str) {
    for (client, player) in playing {
        if let Part::Script { .. } = client.part {
            player.tell(line).await;
        }
    }
}
