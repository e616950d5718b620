//! Updates that cannot be taken, or not all of them.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::crowd::{Probed, probe};
use super::rows;
use crate::Stage;
use crate::play::{Play, Setup};
use crate::rule::Checks;
use crate::yaml::{self, HTTP, Listener, OTHER};

const OUTCOMES: [&str; 3] = ["update_success", "update_rejected", "update_failure"];

/// Writes a text, waits until it is counted, and says how.
async fn counted(play: &Play, text: &str) -> anyhow::Result<String> {
    let name = |outcome: &str| format!("listener_manager.lds.{outcome}");
    let values =
        |stats: BTreeMap<String, i64>| OUTCOMES.map(|outcome| stats.get(&name(outcome)).copied());
    let before = values(play.stats().await?);
    let written = play.update_text(text)?;
    let limit = Duration::from_secs(2);
    loop {
        let after = values(play.stats().await?);
        if let Some(at) = (0..OUTCOMES.len()).find(|at| after[*at] > before[*at]) {
            // What it does to listeners follows at once.
            sleep(Duration::from_millis(100)).await;
            return Ok(OUTCOMES[at].to_owned());
        }
        if Instant::now() > written + limit {
            return Ok("nothing".to_owned());
        }
        sleep(Duration::from_millis(25)).await;
    }
}

fn name(probed: Probed) -> String {
    match probed {
        Probed::Answered { version, .. } => format!("v{version}"),
        Probed::Refused => "refused".to_owned(),
        Probed::Unanswered => "unanswered".to_owned(),
    }
}

pub(crate) async fn rejected(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let good = Listener::http();
    let play = stage.start(Setup::gradual(60, [good.clone()])).await?;
    let skew = stage.world.skew(stage.side);
    let text = |listeners: &[Listener]| yaml::discovery(listeners, play.ip, skew);
    let mut bare = Listener::http().version(2);
    bare.chains.clear();
    let no_type = text(&[good.clone().version(2)])
        .replace("http_connection_manager.v3.", "no_such_thing.v3.");
    let both = |second: Listener| text(&[good.clone().version(2), second]);
    let later = Listener::http().named("later", OTHER);

    // Held by this process, which does not share it.
    let taken = TcpListener::bind((play.ip, 10_099))?;
    for (text, rule, wanted) in [
        (
            text(&[bare.clone()]),
            "no filter chains: rejected, v1 stays",
            ["update_rejected", "v1"],
        ),
        (
            "resources: [ {".to_owned(),
            "unparsable YAML: failure, v1 stays",
            ["update_failure", "v1"],
        ),
        (
            no_type,
            "unknown type of filter: failure, v1 stays",
            ["update_failure", "v1"],
        ),
        (
            String::new(),
            "an empty file: failure, v1 stays",
            ["update_failure", "v1"],
        ),
        (
            both(Listener::http().named("taken", 10_099)),
            "an address of another process: rejected, the other is taken",
            ["update_rejected", "v2"],
        ),
        (
            text(std::slice::from_ref(&good)),
            "back to v1: taken",
            ["update_success", "v1"],
        ),
        (
            both(Listener::http().named("twin", HTTP)),
            "the same address twice: rejected, the first is taken",
            ["update_rejected", "v2"],
        ),
        (
            text(std::slice::from_ref(&good)),
            "back to v1 again: taken",
            ["update_success", "v1"],
        ),
        (
            both(Listener::http().named("ing", OTHER)),
            "the same name twice: rejected, the first is taken",
            ["update_rejected", "v2"],
        ),
    ] {
        let seen = [counted(&play, &text).await?, name(probe(&play, HTTP).await)];
        checks.rule(rule, seen.join(" "), seen == wanted);
    }
    drop(taken);

    let seen = [
        counted(&play, &text(&[bare.clone(), later.clone()])).await?,
        name(probe(&play, HTTP).await),
        name(probe(&play, OTHER).await),
    ];
    checks.rule(
        "good new beside bad modified: the new one is added",
        seen.join(" "),
        seen == ["update_rejected", "v2", "v1"],
    );
    let seen = [
        counted(&play, &text(&[bare])).await?,
        name(probe(&play, OTHER).await),
    ];
    checks.rule(
        "absent beside a rejected one: removed all the same",
        seen.join(" "),
        seen == ["update_rejected", "refused"],
    );
    let mut unknown = good.clone().version(3);
    unknown.more = "no_such_field: 1";
    let before = play.stat("server.dynamic_unknown_fields").await;
    let seen = [
        counted(&play, &text(&[unknown])).await?,
        name(probe(&play, HTTP).await),
    ];
    let after = play.stat("server.dynamic_unknown_fields").await;
    checks.rule(
        "an unknown field: ignored and counted",
        format!("{} +{}", seen.join(" "), after - before),
        seen == ["update_success", "v3"] && after > before,
    );
    let nameless = text(&[good.clone().version(4)]).replace("name: ing", "");
    let seen = [
        counted(&play, &nameless).await?,
        name(probe(&play, HTTP).await),
    ];
    checks.rule(
        "a listener without a name: taken, the one with a name removed",
        seen.join(" "),
        seen == ["update_success", "v4"],
    );
    let removed = play.stat("listener_manager.listener_removed").await;
    play.update_text(&(nameless + "# the same\n"))?;
    sleep(Duration::from_millis(300)).await;
    let removed = play.stat("listener_manager.listener_removed").await - removed;
    checks
        .rule(
            "the same without a name again: another listener",
            format!("{removed} removed"),
            removed == 1,
        )
        .or_everywhere(rows::NAMELESS, removed == 0);
    let broken_and_good = text(&[later])
        + "- \"@type\": type.googleapis.com/envoy.config.listener.v3.Listener\n  name: 5x\n  address: { socket_address: { port_value: no } }\n";
    let seen = [
        counted(&play, &broken_and_good).await?,
        name(probe(&play, OTHER).await),
    ];
    checks
        .rule(
            "one listener cannot be read: the whole file fails",
            seen.join(" "),
            seen == ["update_failure", "refused"],
        )
        .or_everywhere(rows::UNREADABLE, seen == ["update_failure", "v1"]);
    Ok(checks)
}

/// Updates with unknown fields, and a flag that forbids them.
pub(crate) async fn strict(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let mut setup = Setup::gradual(60, [Listener::http()]);
    setup.flags = &["--reject-unknown-dynamic-fields"];
    let play = stage.start(setup).await?;
    let mut unknown = Listener::http().version(2);
    let good = Listener::http().named("later", OTHER);
    unknown.more = "no_such_field: 1";
    let text = yaml::discovery(&[unknown, good], play.ip, stage.world.skew(stage.side));
    let seen = [
        counted(&play, &text).await?,
        name(probe(&play, HTTP).await),
        name(probe(&play, OTHER).await),
    ];
    checks.rule(
        "unknown fields are forbidden: the whole update is rejected",
        seen.join(" "),
        seen == ["update_rejected", "v1", "refused"],
    );
    Ok(checks)
}
