//! The admin page, seen in a headless Chromium while a version drains. `CHROMIUM` names the
//! program; `ADMIN_SCREENSHOT` a file to write a picture to (`docs/images/admin.png` was made so).

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::support::{Edge, H1, Http, discovery, tcp};

/// The browser, if there is one.
fn chromium() -> Option<String> {
    let named = std::env::var("CHROMIUM").ok();
    let known = ["chromium", "chromium-browser", "google-chrome"].map(ToOwned::to_owned);
    let answers = |program: &String| {
        let mut command = std::process::Command::new(program);
        let asked = command
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        asked.status().is_ok_and(|status| status.success())
    };
    named.into_iter().chain(known).find(answers)
}

/// Runs it on the page; what it prints.
async fn look(program: &str, profile: &Path, edge: &Edge, what: &[&str]) -> String {
    let mut command = tokio::process::Command::new(program);
    command
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ])
        .args([
            "--hide-scrollbars",
            "--window-size=1200,640",
            "--virtual-time-budget=2500",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(what)
        .arg(format!("http://{}/", edge.admin))
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let seen = tokio::time::timeout(Duration::from_secs(60), command.output()).await;
    let seen = seen.expect("it ends within 60 s").expect("it starts");
    assert!(seen.status.success(), "{:?}", seen.status);
    String::from_utf8(seen.stdout).expect("text")
}

#[tokio::test]
async fn the_page_shows_a_drain_its_versions_and_who_stays() {
    let Some(program) = chromium() else {
        eprintln!("skipped: there is no chromium here");
        return;
    };
    let http = |version| Http::new("ingress", version).yaml();
    let first = discovery("config 1", &[http(1), tcp("tcp", 1)]);
    let mut edge = Edge::start("--drain-time-s 60 --drain-strategy gradual", &first).await;
    let address = edge.address("ingress").await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = H1::connect(address).await;
        client.get("/version").await.ok();
        clients.push(client);
    }
    clients[0].ask("/held").await;
    let held = edge.upstream.held().await;
    edge.update("config 2", &[http(2), tcp("tcp", 1)]).await;
    let mut newer = H1::connect(address).await;
    newer.get("/version").await.ok();

    let profile = tempfile::tempdir().expect("a folder");
    let seen = look(&program, profile.path(), &edge, &["--dump-dom"]).await;
    for part in [
        ">LIVE</span>",
        "<b>ingress</b>",
        "<b>tcp</b>",
        "version 1 ",
        "config 2",
        "listener_modify, gradual",
        "closed in ",
        "one request is not finished",
        "the client keeps it open for its next request",
        "5: ",
    ] {
        assert!(seen.contains(part), "{part:?} is missing:\n{seen}");
    }
    let drain = edge.list("/drain").await[0]["drain_id"].clone();
    assert!(seen.contains(drain.as_str().expect("an id")), "{seen}");
    if let Ok(picture) = std::env::var("ADMIN_SCREENSHOT") {
        look(
            &program,
            profile.path(),
            &edge,
            &[&format!("--screenshot={picture}")],
        )
        .await;
    }
    held.answer("late");
}
