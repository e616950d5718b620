//! Listeners from a file, as it is replaced.

use std::path::Path;
use std::time::Duration;

use orion_drain_config::{Bootstrap, UpdateOutcome};
use orion_drain_stats::Stats;
use orion_drain_xds::LdsFile;

fn listeners(version: &str) -> String {
    format!("{{ version_info: \"{version}\", resources: [] }}")
}

fn replace(path: &Path, text: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, text).expect("the next file");
    std::fs::rename(&next, path).expect("it is moved");
}

/// Takes updates until this one; a file may be read more than once.
async fn until(file: &mut LdsFile, wanted: Result<&str, ()>) {
    let seen = async {
        loop {
            let read = file.next().await.map_err(|_| ());
            if let Ok(update) = &read {
                file.applied(&update.version_info, UpdateOutcome::Success);
            }
            if read.as_ref().map(|update| &*update.version_info)
                == wanted.as_ref().map(|version| *version)
            {
                return;
            }
        }
    };
    let seen = tokio::time::timeout(Duration::from_secs(60), seen).await;
    assert!(seen.is_ok(), "{wanted:?} did not come within 60 s");
}

#[tokio::test]
async fn each_file_that_is_moved_into_place_is_read_and_counted_and_so_is_a_bad_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lds.yaml");
    replace(&path, &listeners("1"));
    let bootstrap = format!(
        "{{ dynamic_resources: {{ lds_config: {{ path_config_source: {{ path: {} }} }} }} }}",
        path.display()
    );
    let bootstrap = Bootstrap::from_yaml(&bootstrap).expect("a bootstrap").value;
    let stats = Stats::new();
    let mut file = LdsFile::of(&bootstrap, stats.clone()).expect("a file");
    let reload = file.reload();
    until(&mut file, Ok("1")).await;
    replace(&path, &listeners("2"));
    until(&mut file, Ok("2")).await;
    replace(&path, "[");
    until(&mut file, Err(())).await;
    reload.ask();
    until(&mut file, Err(())).await;
    replace(&path, &listeners("3"));
    until(&mut file, Ok("3")).await;

    let counted = |name: &str| {
        stats
            .snapshot()
            .get(&format!("listener_manager.lds.{name}"))
    };
    let read = counted("update_success").zip(counted("update_failure"));
    assert!(
        read.is_some_and(|(good, bad)| good >= 3 && bad >= 2),
        "{read:?}"
    );
    assert_eq!(
        read.map(|(good, bad)| good + bad),
        counted("update_attempt")
    );
    let version = stats
        .snapshot()
        .text("listener_manager.lds.version_text")
        .map(ToOwned::to_owned);
    assert_eq!(version.as_deref(), Some("3"));
}
