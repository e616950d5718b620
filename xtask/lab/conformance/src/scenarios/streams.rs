//! HTTP/2 streams around the two GOAWAYs.

use std::time::Duration;

use super::crowd::{Crowd, Tasks, at, moment};
use super::rows;
use crate::Stage;
use crate::h2;
use crate::play::Setup;
use crate::rule::Checks;
use crate::wire::{Speak, What};
use crate::yaml::{HTTP, Listener};
use rig::h2::NO_LIMIT;

/// Strategy immediate, drain time 9 s, `drain_timeout` 1.5 s: what is asked is told at once.
pub(crate) async fn streams(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let listeners = [Listener::http().timeouts(1500, 500)];
    let play = stage.start(Setup::immediate(9, listeners.clone())).await?;
    let slow = play.open(HTTP, Speak::Http2).await?;
    let through = play.open(HTTP, Speak::Http2).await?;
    let deaf = play.open(HTTP, Speak::Http2).await?;
    let in_flight = slow.stream("/slow?3500").await;
    let waiting = play.open(HTTP, Speak::Http2).await?;
    waiting.stream("/slow?1200").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let start = play.update(&listeners.map(|listener| listener.version(2)))?;
    at(start, 100).await;
    for client in [&slow, &through, &deaf] {
        client.stream("/v").await;
    }
    at(start, 900).await;
    let between = through.stream("/v").await;
    let mut tasks = Tasks::new();
    {
        let deaf = deaf.clone();
        tasks.spawn(async move {
            while deaf.is_open() {
                deaf.stream("/v").await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    }
    at(start, 1900).await;
    let late = slow.stream("/v").await;
    at(start, 5500).await;
    let goaways = |client: &crate::wire::Client| {
        let seen = client.goaways().into_iter().map(|(_, last)| last);
        seen.map(|last| {
            if last == NO_LIMIT {
                "max".to_owned()
            } else {
                last.to_string()
            }
        })
        .collect::<Vec<_>>()
        .join(", ")
    };

    let done = slow
        .first(|what| h2::is_end(what, in_flight))
        .map(|seen| seen.at);
    let ok = done.is_some();
    checks.rule(
        "a stream in flight finishes after the last GOAWAY",
        moment(start, done),
        ok,
    );
    let served = through.seen().iter().find_map(|seen| match &seen.what {
        What::Data { stream, bytes, .. } if *stream == between => {
            Some(String::from_utf8_lossy(bytes).into_owned())
        }
        _ => None,
    });
    let by_old = served.as_deref() == Some("v1");
    checks.rule(
        "a stream between the GOAWAYs: the old version serves it",
        served.unwrap_or_default(),
        by_old,
    );
    let ids = goaways(&through);
    checks.rule("GOAWAY ids after streams 1 and 3", &ids, ids == "max, 3");
    let touched = slow.seen().into_iter().any(|seen| match seen.what {
        What::Headers { stream, .. } | What::StreamReset { stream, .. } => stream == late,
        _ => false,
    });
    let ids = goaways(&slow);
    let silent = !touched && ids == "max, 3";
    checks.rule(
        "a stream after the last GOAWAY: silence",
        if silent { "silence" } else { &ids },
        silent,
    );
    let crowd = Crowd(vec![slow]);
    let after = match (done, crowd.0[0].end()) {
        (Some(done), Some(end)) => crate::samples::ms(done, end.at),
        _ => -1,
    };
    checks.rule(
        "last stream to FIN is delayed close",
        after,
        (300..=700).contains(&after),
    );

    let goaway = Crowd(vec![waiting.clone()]).first(start, What::is_goaway);
    checks
        .rule(
            "a response in flight brings the GOAWAY with its headers",
            &goaway,
            goaway.all_in(900, 900),
        )
        .or(rows::SCHEDULE, goaway.all_in(0, 900));

    // Without a final GOAWAY none is the last one.
    let mut ids = deaf.goaways().into_iter().map(|(_, last)| last);
    let last = ids.rfind(|last| *last != NO_LIMIT).unwrap_or(0);
    let ended = |stream| deaf.first(|what| h2::is_end(what, stream)).is_some();
    let asked = (1..=deaf.last_stream()).step_by(2);
    let (served, late): (Vec<u32>, Vec<u32>) = asked
        .filter(|stream| ended(*stream))
        .partition(|stream| *stream <= last);
    let (served, answered_late) = (served.len(), late.len());
    let all = usize::try_from(last.div_ceil(2)).unwrap_or(0);
    let seen = format!("{served} of {all}, then {answered_late}");
    checks.rule(
        "a client deaf to GOAWAY: served up to the last, then not",
        seen,
        served == all && all > 3 && answered_late == 0,
    );
    let rest = Crowd(vec![deaf]).goaway_to_end();
    checks.rule(
        "a client deaf to GOAWAY: ended delayed close later",
        &rest,
        rest.all_in(500, 500),
    );
    Ok(checks)
}
