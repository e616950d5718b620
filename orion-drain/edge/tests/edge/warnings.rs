//! Settings that contradict each other are told when they are loaded, and taken.

use crate::support::{Edge, H1, Http, discovery};

#[tokio::test]
async fn contradictions_of_flags_bootstrap_and_listeners_are_told_and_everything_is_served() {
    let block = "listener_manager: { drain_config: { drain_time: 60s } }\n";
    let first = discovery("1", &[Http::new("http", 1).yaml()]);
    let mut edge = Edge::start_with(
        "--drain-time-s 2 --parent-shutdown-time-s 2 --shutdown-deadline-s 10 --shutdown-lead-time-s 8",
        &first,
        block,
    )
    .await;
    let said = edge.said().join("\n");
    for part in [
        "bootstrap.yaml: parent_shutdown_time: 2s ends a replaced process",
        "bootstrap.yaml: listener_manager.drain_config.drain_time: `60s` stands here, but `2s` was given elsewhere",
        "shutdown.lead_time: 8s is cut to 4.5s, half of what a deadline of 10s leaves",
        "listener \"http\": filter_chains[0].filters[0].typed_config.drain_timeout: 2.25s with its jitter",
    ] {
        let told = said
            .lines()
            .any(|line| line.starts_with("warning: ") && line.contains(part));
        assert!(told, "{part}: {said}");
    }
    let mut client = H1::connect(edge.address("http").await).await;
    assert_eq!(client.get("/version").await.ok(), "v1");
    // An update that is harmless is silent.
    let harmless = Http::new("http", 2)
        .yaml()
        .replace("drain_timeout: 2s", "drain_timeout: 1s");
    let lines = edge.update("2", &[harmless]).await;
    assert_eq!(
        lines,
        ["lds: version \"2\": http modified (v2 replaces v1)"]
    );
}
