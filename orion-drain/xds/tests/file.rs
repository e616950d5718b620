//! Listeners from a file, as it is replaced.

use std::path::Path;
use std::time::Duration;

use orion_drain_config::{Bootstrap, UpdateOutcome};
use orion_drain_stats::Stats;
use orion_drain_xds::LdsFile;
use tokio::sync::mpsc;

fn listeners(version: &str) -> String {
    format!("{{ version_info: \"{version}\", resources: [] }}")
}

fn replace(path: &Path, text: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, text).expect("the next file");
    std::fs::rename(&next, path).expect("it is moved");
}

#[tokio::test]
async fn each_file_that_is_moved_into_place_is_applied_and_counted_and_a_bad_one_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lds.yaml");
    replace(&path, &listeners("1"));
    let bootstrap = format!(
        "{{ dynamic_resources: {{ lds_config: {{ path_config_source: {{ path: {} }} }} }} }}",
        path.display()
    );
    let bootstrap = Bootstrap::from_yaml(&bootstrap).expect("a bootstrap").value;
    let stats = Stats::new();
    let file = LdsFile::of(&bootstrap, stats.clone()).expect("a file");
    let reload = file.reload();
    let (seen, mut applied) = mpsc::unbounded_channel();
    tokio::spawn(file.run(move |read| {
        let read = read.map(|update| update.version_info);
        seen.send(read.map_err(|error| error.to_string())).ok();
        async { UpdateOutcome::Success }
    }));
    // A file may be read more than once.
    let mut until = async |wanted: Result<&str, ()>| {
        let seen =
            async { while applied.recv().await.expect("it runs").as_deref().map_err(|_| ()) != wanted {} };
        tokio::time::timeout(Duration::from_secs(60), seen)
            .await
            .expect("in time");
    };
    until(Ok("1")).await;
    replace(&path, &listeners("2"));
    until(Ok("2")).await;
    replace(&path, "[");
    until(Err(())).await;
    reload.ask();
    until(Err(())).await;
    replace(&path, &listeners("3"));
    until(Ok("3")).await;

    let counted = |name: &str| stats.snapshot().get(&format!("listener_manager.lds.{name}"));
    while stats.snapshot().text("listener_manager.lds.version_text") != Some("3") {
        tokio::task::yield_now().await;
    }
    let read = counted("update_success").zip(counted("update_failure"));
    assert!(read.is_some_and(|(good, bad)| good >= 3 && bad >= 2), "{read:?}");
    assert_eq!(read.map(|(good, bad)| good + bad), counted("update_attempt"));
}
