//! How many are told to close when: connections that ask once, at a chosen moment of the drain.

use super::crowd::{Crowd, at};
use super::rows;
use crate::Stage;
use crate::play::Setup;
use crate::rule::Checks;
use crate::samples::{ms, plausible};
use crate::wire::{Speak, What};
use crate::yaml::{HTTP, Listener};

/// Drain time 10 s, so the ramp is floor(elapsed) / 5, and the first quarter 2.5 s.
const DRAIN_TIME: u64 = 10;

/// The moments in ms, each off the second's edge, and the rules of HTTP/1 and HTTP/2.
const MOMENTS: [(u64, [&str; 2]); 5] = [
    (
        750,
        [
            "H1 told to close at 0.75 s: 0",
            "H2 told to go away at 0.75 s: 0",
        ],
    ),
    (
        1500,
        [
            "H1 told to close at 1.5 s: 1/5",
            "H2 told to go away at 1.5 s: 1/5",
        ],
    ),
    (
        2400,
        [
            "H1 told to close at 2.4 s: 2/5",
            "H2 told to go away at 2.4 s: 2/5",
        ],
    ),
    (
        3500,
        [
            "H1 told to close at 3.5 s: 3/5",
            "H2 told to go away at 3.5 s: 3/5",
        ],
    ),
    (
        5300,
        [
            "H1 told to close at 5.3 s: all",
            "H2 told to go away at 5.3 s: all",
        ],
    ),
];
const MANY: usize = 60;

pub(crate) async fn curve(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let listeners = [Listener::http()];
    let play = stage
        .start(Setup::gradual(DRAIN_TIME, listeners.clone()))
        .await?;
    let mut crowds = Vec::new();
    for _ in MOMENTS {
        let http1 = Crowd::idle(&play, HTTP, Speak::Http1, MANY).await?;
        let http2 = Crowd::idle(&play, HTTP, Speak::Http2, MANY).await?;
        crowds.push([http1, http2]);
    }
    let start = play.update(&listeners.map(|listener| listener.version(2)))?;
    let mut before = 0;
    let mut triggered = 0;
    for ((moment, rules), [http1, http2]) in MOMENTS.into_iter().zip(crowds) {
        at(start, moment).await;
        for client in &http1.0 {
            client.get("/v").await;
        }
        for client in &http2.0 {
            client.stream("/v").await;
        }
        at(start, moment + 200).await;
        let told1 = http1.first(start, What::says_close).len();
        let told2 = http2.first(start, What::is_goaway).len();
        // Envoy rolls the die for each response, in whole seconds; ours is a place in the first
        // quarter, fixed and even.
        let ramp = ((moment / 1000) as f64 / (DRAIN_TIME as f64 / 2.0).ceil()).min(1.0);
        let quarter = (moment as f64 / 1000.0 / (DRAIN_TIME as f64 / 4.0)).min(1.0);
        // What is asked within the 200 ms is a little later than the moment.
        let even = |told: usize| {
            let share = told as f64 / MANY as f64;
            (quarter - 0.1..=quarter + 0.2).contains(&share)
        };
        // Each HTTP/1.1 client has been silent for more than a sixteenth of the drain time, which
        // is rare.
        for (told, rule, row, holds) in [
            (told1, rules[0], rows::RARELY, told1 == MANY),
            (told2, rules[1], rows::SCHEDULE, even(told2)),
        ] {
            let seen = format!("{told} of {MANY}");
            checks
                .rule(rule, seen, plausible(told, MANY, ramp))
                .or(row, holds);
        }
        for client in &http2.0 {
            let seen = client.seen();
            let goaway = seen.iter().position(|seen| seen.what.is_goaway());
            let answer = seen
                .iter()
                .position(|seen| matches!(seen.what, What::Headers { stream: 3, .. }));
            if let (Some(goaway), Some(answer)) = (goaway, answer) {
                // One that comes by itself, and not with the response, says nothing here.
                if ms(seen[goaway].at, seen[answer].at).abs() < 5 {
                    triggered += 1;
                    before += usize::from(goaway < answer);
                }
            }
        }
    }
    let seen = format!("{before} of {triggered}");
    checks
        .rule(
            "the GOAWAY comes before the response that it goes with",
            seen,
            before == triggered && triggered > 20,
        )
        // Ours come at their slots: hardly ever beside a response.
        .or(rows::SCHEDULE, triggered <= 20);
    Ok(checks)
}
