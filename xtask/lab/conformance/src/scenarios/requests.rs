//! Requests as they are on the wire: which are refused, what ends one that takes too long, and what
//! probes of operators are answered.

use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::rows;
use crate::Stage;
use crate::play::{Play, Setup};
use crate::rule::Checks;
use crate::samples::{SLACK, ms};
use crate::yaml::{HTTP, Listener, OTHER, TCP};

/// Nothing takes longer than this.
const LONGEST: Duration = Duration::from_secs(4);
const FOURTH: u16 = 10_083;

/// What has come, and when the first of it and the end came.
struct Got {
    text: String,
    first: Option<i64>,
    end: i64,
}

impl Got {
    /// The status; 0 if there is none.
    fn status(&self) -> u16 {
        let status = self.text.split(' ').nth(1);
        status.and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// The status of what came so many milliseconds after it was asked for, an eighth later at most.
    fn status_after(&self, wanted: i64) -> u16 {
        let is_in_time = |at: i64| (wanted - SLACK..=wanted + wanted / 8 + SLACK).contains(&at);
        match self.first.is_some_and(is_in_time) {
            true => self.status(),
            false => 0,
        }
    }
}

/// Sends bytes as they are, and reads to the end of the connection, or of the time.
async fn send(play: &Play, port: u16, bytes: &str) -> anyhow::Result<Got> {
    let mut stream = TcpStream::connect(play.address(port)).await?;
    let start = Instant::now();
    stream.write_all(bytes.as_bytes()).await?;
    let (mut text, mut first) = (Vec::new(), None);
    let read = async {
        // A reset ends it as well.
        while let Ok(1..) = stream.read_buf(&mut text).await {
            first.get_or_insert_with(|| ms(start, Instant::now()));
        }
    };
    timeout(LONGEST, read).await.ok();
    let text = String::from_utf8_lossy(&text).into_owned();
    let end = ms(start, Instant::now());
    Ok(Got { text, first, end })
}

/// A rule, what is sent, Envoy's status, and where another one is taken, its row and the status.
type Framed = (&'static str, String, u16, Option<(&'static str, u16)>);

fn framed() -> Vec<Framed> {
    let get =
        |lines: &str| format!("GET /x HTTP/1.1\r\nhost: a\r\n{lines}connection: close\r\n\r\n");
    let start = |line: &str| format!("{line}\r\nhost: a\r\nconnection: close\r\n\r\n");
    let named = |count: usize| vec!["x-a"; count].join(",");
    let websocket = "upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let asked = |rest: &str| format!("GET /ws HTTP/1.1\r\nhost: a\r\n{rest}\r\n");
    vec![
        ("a plain request", get(""), 200, None),
        (
            "no host",
            "GET /x HTTP/1.1\r\nconnection: close\r\n\r\n".to_owned(),
            400,
            None,
        ),
        (
            "two hosts",
            get("host: b\r\n"),
            200,
            Some((rows::HOSTS, 400)),
        ),
        (
            "nine options of the connection",
            get(&format!("connection: {}\r\n", named(8))),
            200,
            None,
        ),
        (
            "ten options of the connection",
            get(&format!("connection: {}\r\n", named(9))),
            400,
            None,
        ),
        (
            "`connection` names x-forwarded-for",
            get("connection: x-forwarded-for\r\n"),
            400,
            None,
        ),
        (
            "two lengths",
            get("content-length: 1\r\ncontent-length: 2\r\n") + "a",
            400,
            None,
        ),
        (
            "a length beside chunks",
            get("content-length: 1\r\ntransfer-encoding: chunked\r\n") + "0\r\n\r\n",
            400,
            Some((rows::BOTH_LENGTHS, 200)),
        ),
        (
            "a coding other than chunked",
            get("transfer-encoding: gzip\r\n"),
            501,
            Some((rows::TWO_WAYS, 400)),
        ),
        (
            "a target without a slash",
            start("GET x HTTP/1.1"),
            400,
            None,
        ),
        (
            "a fragment in the path",
            start("GET /x#y HTTP/1.1"),
            400,
            Some((rows::FRAGMENT, 200)),
        ),
        (
            "a method that is not registered",
            start("FOO /x HTTP/1.1"),
            400,
            Some((rows::METHOD, 200)),
        ),
        (
            "HTTP/1.0",
            start("GET /x HTTP/1.0"),
            426,
            Some((rows::METHOD, 200)),
        ),
        ("101 headers", get(&"x-a: b\r\n".repeat(101)), 431, None),
        (
            "a switch that `connection` does not name",
            get(websocket),
            200,
            None,
        ),
        (
            "a switch to a WebSocket",
            asked(&format!("connection: upgrade\r\n{websocket}")),
            101,
            None,
        ),
        (
            "a switch that is not allowed",
            asked("connection: upgrade\r\nupgrade: foo\r\n"),
            403,
            None,
        ),
        (
            "a header that ends before its name does",
            get("x a: b\r\n"),
            400,
            None,
        ),
    ]
}

/// Framing and headers, each request on a connection of its own.
pub(crate) async fn framing(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let play = stage.start(Setup::gradual(60, [Listener::http()])).await?;
    for (rule, request, wanted, otherwise) in framed() {
        let mut got = TcpStream::connect(play.address(HTTP)).await?;
        got.write_all(request.as_bytes()).await?;
        let mut head = [0; 12];
        // `HTTP/1.1 200`; a connection that ends without a word has no status.
        let read = timeout(LONGEST, got.read_exact(&mut head)).await;
        let status = match read.context(rule)? {
            Ok(_) => String::from_utf8_lossy(&head[9..]).parse().unwrap_or(0),
            Err(_) => 0u16,
        };
        let check = checks.rule(rule, status, status == wanted);
        if let Some((row, ours)) = otherwise {
            check.or_everywhere(row, status == ours);
        }
    }
    Ok(checks)
}

/// `request_timeout`, `stream_idle_timeout`, `max_stream_duration` and a route's `timeout`, 1 s each
/// and each at a listener of its own.
pub(crate) async fn limits(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let listener = |name, port, http, stream, route| {
        let mut listener = Listener::http().named(name, port);
        (listener.http, listener.stream, listener.route) = (http, stream, route);
        listener
    };
    let listeners = [
        listener("request", HTTP, "request_timeout: 1s", "", "0s"),
        listener("idle", OTHER, "stream_idle_timeout: 1s", "", "0s"),
        listener("duration", TCP, "", "max_stream_duration: 1s", "0s"),
        listener("route", FOURTH, "", "", "1s"),
    ];
    let play = stage.start(Setup::gradual(60, listeners)).await?;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let half = "POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf";
    let (slow, slow_enough) = (get("/slow?3000"), get("/slow?2000"));
    let (long, moving) = (get("/stream?3000"), get("/stream?2000"));
    let (request, taken, idle, upload, duration, cut, route, moves) = tokio::try_join!(
        send(&play, HTTP, half),
        send(&play, HTTP, &slow_enough),
        send(&play, OTHER, &slow),
        send(&play, OTHER, half),
        send(&play, TCP, &slow),
        send(&play, TCP, &long),
        send(&play, FOURTH, &slow),
        send(&play, OTHER, &moving),
    )?;
    for (rule, got, wanted) in [
        (
            "request_timeout 1 s: half an upload gets 408",
            &request,
            408,
        ),
        ("stream_idle_timeout 1 s: no response gets 504", &idle, 504),
        (
            "stream_idle_timeout 1 s: half an upload gets 408",
            &upload,
            408,
        ),
        (
            "max_stream_duration 1 s: no response gets 504",
            &duration,
            504,
        ),
        ("route timeout 1 s: no response gets 504", &route, 504),
    ] {
        let status = got.status_after(1000);
        checks.rule(rule, status, status == wanted);
    }
    let status = taken.status_after(2000);
    checks.rule(
        "request_timeout 1 s: an answer after 2 s is passed on",
        status,
        status == 200,
    );
    let is_whole = |got: &Got| got.text.ends_with("0\r\n\r\n");
    checks.rule(
        "max_stream_duration 1 s: a response under way is cut off",
        cut.end,
        cut.status() == 200 && !is_whole(&cut) && (1000 - SLACK..1200 + SLACK).contains(&cut.end),
    );
    checks.rule(
        "stream_idle_timeout 1 s: a response that moves for 2 s is whole",
        moves.end,
        moves.status() == 200 && is_whole(&moves),
    );
    Ok(checks)
}

/// What shutdown managers, load balancers and scrapers ask.
pub(crate) async fn probes(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let play = stage.start(Setup::gradual(60, [Listener::http()])).await?;
    send(
        &play,
        HTTP,
        "GET /v HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    )
    .await?;
    for (rule, method, path, wanted) in [
        ("/ready", "GET", "/ready", "200 LIVE"),
        ("merged slashes", "GET", "//ready", "200 LIVE"),
        ("a path with a slash behind it", "GET", "/ready/", "404"),
        (
            "a percent-decoded filter",
            "GET",
            "/stats?filter=%5Eserver%5C.live%24",
            "200 server.live: 1",
        ),
        (
            "a filter of one name of several",
            "GET",
            "/stats?filter=^server\\.(live|state)$",
            "200 server.live: 1\nserver.state: 0",
        ),
        (
            "`usedonly` keeps a gauge that was used",
            "GET",
            "/stats?usedonly&filter=^http\\.ing\\.downstream_cx_active$",
            // The client's own end may not have come yet.
            "200 http.ing.downstream_cx_active:",
        ),
        (
            "`type` and `filter`",
            "GET",
            "/stats?type=Counters&filter=^http\\.ing\\.downstream_rq_2xx$",
            "200 http.ing.downstream_rq_2xx: 1",
        ),
        (
            "an unknown type",
            "GET",
            "/stats?type=x",
            "400 invalid &type= param",
        ),
        ("an unknown format", "GET", "/stats?format=x", "400"),
        ("a filter that is none", "GET", "/stats?filter=(", "400"),
        (
            "GET where POST is required",
            "GET",
            "/healthcheck/fail",
            "405",
        ),
        ("/reset_counters", "POST", "/reset_counters", "200 OK"),
        (
            "a counter after it",
            "GET",
            "/stats?filter=^http\\.ing\\.downstream_rq_2xx$",
            "200 http.ing.downstream_rq_2xx: 0",
        ),
    ] {
        let (status, body) = play.admin(method, path).await?;
        let seen = match wanted.split_once(' ') {
            Some(_) => format!("{status} {}", body.trim()),
            None => status.to_string(),
        };
        let is_any = wanted.ends_with(':') && seen.starts_with(wanted);
        checks.rule(rule, status, is_any || seen == wanted);
    }
    Ok(checks)
}
