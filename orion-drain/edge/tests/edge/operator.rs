//! An operator's session with curl (`operator.sh`): each admin path before, during and after a
//! drain, then what it can change.

use std::path::Path;

use crate::support::{Edge, End, H1, Http, discovery, within};

/// One part of the session; it names the first answer that is not as expected.
async fn session(edge: &Edge, phase: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/edge/operator.sh");
    let mut command = tokio::process::Command::new("sh");
    command
        .arg(script)
        .arg(phase)
        .arg(format!("http://{}", edge.admin));
    let ended = within(phase, command.kill_on_drop(true).output())
        .await
        .expect("a shell");
    let (said, wrong) = (
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr),
    );
    assert!(ended.status.success(), "{phase}:\n{said}{wrong}");
}

#[tokio::test]
async fn every_path_is_asked_with_curl_before_during_and_after_a_drain() {
    let curl = std::process::Command::new("curl").arg("--version").output();
    if !curl.is_ok_and(|curl| curl.status.success()) {
        eprintln!("skipped: there is no curl here");
        return;
    }
    let first = discovery("1", &[Http::new("http", 1).yaml()]);
    let mut edge = Edge::start("--drain-time-s 60 --drain-strategy immediate", &first).await;
    let mut client = H1::connect(edge.address("http").await).await;
    client.ask("/held").await;
    let held = edge.upstream.held().await;
    session(&edge, "before").await;

    edge.update("2", &[Http::new("http", 2).yaml()]).await;
    edge.until_connections(|all| all.iter().all(|one| one["state"] == "draining"))
        .await;
    session(&edge, "during").await;

    held.answer("late");
    let response = client.response().await;
    assert_eq!(
        (response.ok().as_str(), response.says_close()),
        ("late", true)
    );
    assert_eq!(client.end().await, End::Fin);
    drop(client);
    edge.until_list("/drain", |drains| drains.is_empty()).await;
    session(&edge, "after").await;

    session(&edge, "acting").await;
    assert!(edge.exit().await.success());
}
