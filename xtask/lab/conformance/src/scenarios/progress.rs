//! What is under way while the listener is replaced. Strategy immediate, drain time 5 s,
//! `drain_timeout` 1 s.

use std::time::Duration;

use tokio::time::sleep;

use super::crowd::{at, of};
use super::rows;
use crate::Stage;
use crate::play::Setup;
use crate::rule::Checks;
use crate::samples::{SLACK, ms};
use crate::wire::{Client, Speak, What};
use crate::yaml::{HTTP, Listener};
use rig::h2;

/// The response's head and body, as text.
fn answer(client: &Client) -> String {
    let mut text = Vec::new();
    for seen in client.seen() {
        match seen.what {
            What::Head {
                status,
                close,
                version,
            } => {
                let close = if close { " close" } else { "" };
                text.push(format!("{status} v{version}{close}"));
            }
            What::Body(body) => text.push(String::from_utf8_lossy(&body).into_owned()),
            _ => {}
        }
    }
    text.join(" ")
}

pub(crate) async fn progress(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let listeners = [Listener::http()];
    let play = stage.start(Setup::immediate(5, listeners.clone())).await?;
    let upload = play.open(HTTP, Speak::Http1).await?;
    upload
        .send(b"POST /up HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let endless = play.open(HTTP, Speak::Http1).await?;
    endless
        .send(b"POST /up HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let upload2 = play.open(HTTP, Speak::Http2).await?;
    let stream = upload2.take_stream();
    upload2
        .send(&h2::request("POST", "/up", stream, false))
        .await;
    let half = play.open(HTTP, Speak::Http1).await?;
    half.send(b"GET /v HTTP/1.1\r\nho").await;
    let streaming = play.open(HTTP, Speak::Http1).await?;
    streaming.get("/stream?2000").await;
    let long = play.open(HTTP, Speak::Http1).await?;
    long.get("/stream?9000").await;
    let pipelined = play.open(HTTP, Speak::Http1).await?;
    sleep(Duration::from_millis(400)).await;
    let start = play.update(&listeners.map(|listener| listener.version(2)))?;
    at(start, 150).await;
    pipelined
        .send("GET /a HTTP/1.1\r\nhost: x\r\n\r\n".repeat(5).as_bytes())
        .await;
    for beat in 1..=20_u64 {
        at(start, 150 + beat * 100).await;
        upload.send(b"5\r\npiece\r\n").await;
        endless.send(b"5\r\npiece\r\n").await;
        upload2.send(&h2::data(stream, b"piece", beat == 20)).await;
        if beat == 8 {
            half.send(b"st: x\r\n\r\n").await;
        }
    }
    upload.send(b"0\r\n\r\n").await;
    while ms(start, tokio::time::Instant::now()) < 5600 {
        endless.send(b"5\r\npiece\r\n").await;
        sleep(Duration::from_millis(100)).await;
    }

    let seen = answer(&upload);
    checks.rule(
        "H1 upload over the switch: whole, by v1, told",
        &seen,
        seen == "200 v1 close 100",
    );
    let body: Vec<u8> = upload2
        .seen()
        .into_iter()
        .filter_map(|seen| match seen.what {
            What::Data { bytes, .. } => Some(bytes),
            _ => None,
        })
        .flatten()
        .collect();
    let told = !upload2.goaways().is_empty();
    let seen = format!(
        "{}{}",
        String::from_utf8_lossy(&body),
        if told { " goaway" } else { "" }
    );
    checks.rule(
        "H2 upload over the switch: whole, with GOAWAY",
        &seen,
        seen == "100 goaway",
    );
    let seen = answer(&half);
    checks.rule(
        "half a head before the switch: by v1, told",
        &seen,
        seen == "200 v1 close v1",
    );
    let heads = streaming
        .seen()
        .iter()
        .filter(|seen| seen.what.says_close())
        .count();
    let whole = streaming
        .first(|what| matches!(what, What::Body(body) if body.len() == 80))
        .is_some();
    let seen = if whole { "whole" } else { "cut" };
    checks.rule(
        "H1 response begun before: whole, no close header",
        seen,
        whole && heads == 0,
    );
    let end = long.end().map_or(-1, |end| ms(start, end.at));
    let cut = long.first(|what| matches!(what, What::Body(_))).is_none();
    checks.rule(
        "H1 response longer than T: cut at T",
        end,
        cut && (5000 - SLACK..5000 + SLACK).contains(&end),
    );
    let end = endless.end().map_or(-1, |end| ms(start, end.at));
    let silent = endless
        .first(|what| matches!(what, What::Head { status: 200, .. }))
        .is_none();
    checks.rule(
        "H1 upload longer than T: ended at T, no response",
        end,
        silent && (5000 - SLACK..5000 + SLACK).contains(&end),
    );
    let answers = pipelined
        .seen()
        .iter()
        .filter(|seen| seen.what.says_close())
        .count();
    checks
        .rule(
            "five pipelined requests: all answered, each told",
            of(answers, 5),
            answers == 5,
        )
        .or_everywhere(rows::AFTER_CLOSE, answers == 1);
    Ok(checks)
}
