//! Listeners that are written again unchanged, removed, added again, moved, or changed very often.

use std::time::Duration;

use tokio::time::sleep;

use super::crowd::{Crowd, Probed, Probes, Tasks, at, of, probe};
use super::rows;
use crate::Stage;
use crate::play::{Play, Setup};
use crate::rule::Checks;
use crate::samples::{SLACK, Samples, ms};
use crate::wire::{Speak, What};
use crate::yaml::{self, HTTP, Listener, OTHER, TCP};

const DRAINING: &str = "listener_manager.total_listeners_draining";
const SECOND: Duration = Duration::from_secs(1);

/// The same content again.
pub(crate) async fn nothing(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let listeners = [Listener::http()];
    let play = stage.start(Setup::gradual(4, listeners.clone())).await?;
    let idle1 = Crowd::idle(&play, HTTP, Speak::Http1, 6).await?;
    let idle2 = Crowd::idle(&play, HTTP, Speak::Http2, 6).await?;
    let before = play.stats().await?;
    let skew = stage.world.skew(stage.side);
    let start = play.update_text(&format!(
        "# again\n{}",
        yaml::discovery(&listeners, play.ip, skew)
    ))?;
    at(start, 4500).await;
    let after = play.stats().await?;
    let moved = |name: &str| after.get(name).unwrap_or(&-1) - before.get(name).unwrap_or(&-1);
    let taken = moved("listener_manager.lds.update_success");
    checks.rule("the same content: lds.update_success", taken, taken == 1);
    let modified = moved("listener_manager.listener_modified");
    checks.rule(
        "the same content: listener_modified stays",
        modified,
        modified == 0,
    );
    let open = idle1.open() + idle2.open();
    checks.rule(
        "the same content: every connection stays",
        of(open, 12),
        open == 12,
    );
    let told = idle2.first(start, What::is_goaway).len();
    checks.rule("the same content: no client is told", told, told == 0);
    Ok(checks)
}

/// Removal: refused at once, drained like a modification; the other listener sees nothing. Drain
/// time 6 s.
pub(crate) async fn remove(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let other = Listener::http().named("other", OTHER);
    let play = stage
        .start(Setup::gradual(
            6,
            [Listener::http(), Listener::tcp(), other.clone()],
        ))
        .await?;
    let idle1 = Crowd::idle(&play, HTTP, Speak::Http1, 8).await?;
    let idle2 = Crowd::idle(&play, HTTP, Speak::Http2, 12).await?;
    let kept = Crowd::idle(&play, OTHER, Speak::Http2, 6).await?;
    let tcp = Crowd::idle(&play, TCP, Speak::Bytes, 2).await?;
    let slow = Crowd::fresh(&play, HTTP, Speak::Http1, 1).await?;
    slow.0[0].get("/slow?20000").await;
    let mut tasks = Tasks::new();
    let probes = Probes::start(&play, HTTP, &mut tasks);
    sleep(Duration::from_millis(300)).await;
    let before = play.stats().await?;
    let start = play.update(&[other])?;
    at(start, 500).await;
    let after = play.stats().await?;
    let moved = |name: &str| after.get(name).unwrap_or(&-1) - before.get(name).unwrap_or(&-1);
    let (_, listed) = play.admin("GET", "/listeners").await?;
    at(start, 6600).await;
    let reaped = play.stat(DRAINING).await;
    let last = probes
        .all()
        .into_iter()
        .filter(|(_, probed)| *probed != Probed::Refused)
        .map(|(at, _)| at);
    let last = last.map(|at| ms(start, at)).max().unwrap_or(0);
    checks.rule(
        "removed: new connections refused at once",
        format!("last {last}"),
        last < SLACK,
    );
    let ends = idle1.ends(start);
    checks
        .rule(
            "removed: idle H1 FIN in window + 1.5 s, T at the latest",
            &ends,
            ends.all_in(5500, 6000),
        )
        .or(rows::IDLE, ends.all_in(5000, 6000));
    let goaway = idle2.first(start, What::is_goaway);
    checks
        .rule(
            "removed: idle H2 first GOAWAY in the window",
            &goaway,
            goaway.all_in(4000, 5000),
        )
        .or(rows::SCHEDULE, goaway.all_in(0, 1500));
    let ends = tcp.ends(start);
    checks
        .rule("removed: TCP FIN at T", &ends, ends.all_in(6000, 6000))
        .or(rows::TUNNELS, ends.all_in(5000, 6000));
    let ends = slow.ends(start);
    checks.rule(
        "removed: H1 in flight FIN at T",
        &ends,
        ends.all_in(6000, 6000),
    );
    let untouched = kept.open() == 6 && kept.first(start, What::is_goaway).none();
    checks.rule(
        "removed: the other listener sees nothing",
        of(kept.open(), 6),
        untouched,
    );
    let removed = moved("listener_manager.listener_removed");
    checks.rule("removed: listener_removed", removed, removed == 2);
    let active = moved("listener_manager.total_listeners_active");
    checks.rule(
        "removed: total_listeners_active down at once",
        active,
        active == -2,
    );
    let draining = moved(DRAINING);
    checks.rule("removed: total_listeners_draining", draining, draining == 2);
    checks.rule(
        "removed: total_listeners_draining is 0 after T",
        reaped,
        reaped == 0,
    );
    let gone = !listed.contains("ing::") && listed.contains("other::");
    checks.rule(
        "removed: /listeners does not list it",
        listed.lines().count(),
        gone,
    );
    Ok(checks)
}

/// Removed, and a second later added again. Drain time 4 s, so there is no window.
pub(crate) async fn add_again(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let other = Listener::http().named("other", OTHER);
    let listeners = [Listener::http().timeouts(3000, 500), other.clone()];
    let play = stage.start(Setup::gradual(4, listeners.clone())).await?;
    let idle = Crowd::idle(&play, HTTP, Speak::Http1, 4).await?;
    let added = play.stat("listener_manager.listener_added").await;
    let start = play.update(&[other])?;
    at(start, 500).await;
    let between = probe(&play, HTTP).await;
    at(start, 1000).await;
    play.update(&listeners)?;
    at(start, 1300).await;
    let again = probe(&play, HTTP).await;
    let young = Crowd::idle(&play, HTTP, Speak::Http1, 4).await?;
    let added = play.stat("listener_manager.listener_added").await - added;
    at(start, 4700).await;
    checks.rule(
        "removed and added again: refused between",
        format!("{between:?}"),
        between == Probed::Refused,
    );
    let served = Probed::Answered {
        version: 1,
        close: false,
    };
    checks.rule(
        "added again: served, not told to close",
        short(again),
        again == served,
    );
    checks.rule("added again: listener_added", added, added == 1);
    let ends = idle.ends(start);
    checks
        .rule(
            "added again: the old ones end at T of the removal",
            &ends,
            ends.all_in(4000, 4000),
        )
        .or(rows::IDLE, ends.all_in(3000, 4000));
    checks.rule(
        "added again: the new ones stay",
        of(young.open(), 4),
        young.open() == 4,
    );
    Ok(checks)
}

fn short(probed: Probed) -> String {
    match probed {
        Probed::Answered { version, close } => {
            format!("v{version}{}", if close { ", close" } else { "" })
        }
        other => format!("{other:?}"),
    }
}

/// A listener gets another address.
pub(crate) async fn moved(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let play = stage
        .start(Setup::gradual(4, [Listener::http().timeouts(3000, 500)]))
        .await?;
    let idle = Crowd::idle(&play, HTTP, Speak::Http1, 4).await?;
    let mut tasks = Tasks::new();
    let old = Probes::start(&play, HTTP, &mut tasks);
    let new = Probes::start(&play, OTHER, &mut tasks);
    sleep(Duration::from_millis(300)).await;
    let start = play.update(&[Listener::http()
        .named("ing", OTHER)
        .version(2)
        .timeouts(3000, 500)])?;
    at(start, 4700).await;
    let last = old.span_of(start, 1).1.unwrap_or(i64::MAX);
    let first = new.span_of(start, 2).0.unwrap_or(i64::MAX);
    checks.rule(
        "moved: the old port is refused at once",
        format!("last {last}"),
        last < SLACK,
    );
    checks.rule(
        "moved: the new port is served at once",
        format!("first {first}"),
        first < SLACK,
    );
    let ends = idle.ends(start);
    checks
        .rule(
            "moved: the old port's connections end at T",
            &ends,
            ends.all_in(4000, 4000),
        )
        .or(rows::IDLE, ends.all_in(3000, 4000));
    Ok(checks)
}

async fn tcp_client(play: &Play) -> anyhow::Result<Crowd> {
    Crowd::idle(play, TCP, Speak::Bytes, 2).await
}

/// Three updates, one a second, with a drain time of 4 s; the last goes back to the first content.
pub(crate) async fn rapid(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let listeners = [Listener::http(), Listener::tcp()];
    let play = stage.start(Setup::gradual(4, listeners.clone())).await?;
    let mut versions = vec![tcp_client(&play).await?];
    let start = play.update(&listeners.clone().map(|listener| listener.version(2)))?;
    let mut draining = vec![play.stat_comes_to(DRAINING, 2, SECOND).await];
    at(start, 500).await;
    versions.push(tcp_client(&play).await?);
    at(start, 1000).await;
    play.update(&listeners.clone().map(|listener| listener.version(3)))?;
    draining.push(play.stat_comes_to(DRAINING, 4, SECOND).await);
    at(start, 1500).await;
    versions.push(tcp_client(&play).await?);
    at(start, 2000).await;
    play.update(&listeners)?;
    draining.push(play.stat_comes_to(DRAINING, 6, SECOND / 2).await);
    at(start, 2500).await;
    versions.push(tcp_client(&play).await?);
    at(start, 6700).await;
    draining.push(play.stat_comes_to(DRAINING, 0, SECOND).await);
    for (age, (crowd, rule)) in versions
        .iter()
        .zip(["first", "second", "third"])
        .enumerate()
    {
        let rule = match rule {
            "first" => "v1 of v1, v2, v3, v1 again: TCP ends at its own T",
            "second" => "v2: TCP ends at its own T",
            _ => "v3: TCP ends at its own T",
        };
        let own = i64::try_from(age).unwrap_or(0) * 1000;
        let ends = crowd.ends(start);
        checks
            .rule(rule, &ends, ends.all_in(4000 + own, 4000 + own))
            .or(rows::TUNNELS, ends.all_in(3000 + own, 4000 + own));
    }
    let last = versions[3].open();
    checks.rule(
        "v1 again is a version of its own and stays",
        of(last, 2),
        last == 2,
    );
    let text = format!("{draining:?}");
    let at_most = draining
        .iter()
        .zip([2, 4, 6, 0])
        .all(|(seen, most)| *seen <= most);
    checks
        .rule(
            "stats: total_listeners_draining over the updates",
            &text,
            draining == [2, 4, 6, 0],
        )
        // The HTTP listeners of ours have no connection to drain.
        .or_alike(
            rows::LENGTH,
            at_most && draining[2] >= 3 && draining[3] == 0,
        );
    Ok(checks)
}

/// Eight renames with 3 ms between.
pub(crate) async fn storm(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let play = stage.start(Setup::gradual(3, [Listener::http()])).await?;
    let mut tasks = Tasks::new();
    let probes = [(); 3].map(|()| Probes::start(&play, HTTP, &mut tasks));
    sleep(Duration::from_millis(300)).await;
    let mut start = tokio::time::Instant::now();
    for version in 2..=9 {
        start = play.update(&[Listener::http().version(version)])?;
        sleep(Duration::from_millis(3)).await;
    }
    at(start, 1500).await;
    let lost: usize = probes.iter().map(Probes::lost).sum();
    let all: usize = probes.iter().map(|probes| probes.all().len()).sum();
    checks.rule(
        "eight updates at once: none refused, reset or unanswered",
        of(lost, all),
        lost == 0,
    );
    let first: Samples = probes
        .iter()
        .map(|probes| probes.span_of(start, 9).0)
        .collect();
    checks.rule(
        "eight updates at once: the last wins",
        &first,
        first.all_in(0, 100),
    );
    Ok(checks)
}
