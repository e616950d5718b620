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

#[cfg(target_os = "linux")]
#[tokio::test]
async fn no_folder_device_or_socket_is_read_and_a_fifo_holds_up_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lds.yaml");
    let fifo = folder.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.expect("mkfifo is there").success());
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    std::os::unix::fs::symlink(&fifo, &path).expect("a link");
    let bootstrap = format!(
        "dynamic_resources: {{ lds_config: {{ path_config_source: {{ path: {path:?} }} }} }}"
    );
    let bootstrap = Bootstrap::from_yaml(&bootstrap).expect("a bootstrap").value;
    let mut file = LdsFile::of(&bootstrap, Stats::new()).expect("a file");
    // Each is linked to the path. A FIFO is waited for, and the runtime's thread goes on.
    let mut next = Box::pin(file.next());
    tokio::select! {
        biased;
        read = &mut next => panic!("nothing was written: {read:?}"),
        () = tokio::task::yield_now() => {}
    }
    let into = fifo.clone();
    tokio::task::spawn_blocking(move || std::fs::write(into, listeners("0")));
    let read = tokio::time::timeout(Duration::from_secs(60), &mut next).await;
    assert_eq!(read.expect("in time").expect("listeners").version_info, "0");
    drop(next);
    for target in [folder.path(), &socket, "/dev/zero".as_ref()] {
        let next = folder.path().join("next");
        std::os::unix::fs::symlink(target, &next).expect("a link");
        std::fs::rename(&next, &path).expect("it is moved");
        file.reload().ask();
        let refused = tokio::time::timeout(Duration::from_secs(60), file.next()).await;
        let error = refused.expect("in time").expect_err("no regular file");
        assert_eq!(error.to_string(), "not a regular file", "{target:?}");
    }
    replace(&path, &listeners("1"));
    until(&mut file, Ok("1")).await;
    // A link to a file is one.
    let other = folder.path().join("other.yaml");
    std::fs::write(&other, listeners("2")).expect("a file");
    let next = folder.path().join("next");
    std::os::unix::fs::symlink(&other, &next).expect("a link");
    std::fs::rename(&next, &path).expect("it is moved");
    until(&mut file, Ok("2")).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_fifo_is_read_by_the_next_call_too_and_given_up_for_another_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lds.yaml");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.expect("mkfifo is there").success());
    let bootstrap = format!(
        "dynamic_resources: {{ lds_config: {{ path_config_source: {{ path: {path:?} }} }} }}"
    );
    let bootstrap = Bootstrap::from_yaml(&bootstrap).expect("a bootstrap").value;
    let mut file = LdsFile::of(&bootstrap, Stats::new()).expect("a file");
    // Two calls that are dropped while nothing is written.
    for _ in 0..2 {
        tokio::select! {
            biased;
            read = file.next() => panic!("nothing was written: {read:?}"),
            () = tokio::task::yield_now() => file.reload().ask(),
        }
    }
    let into = path.clone();
    let writer = tokio::task::spawn_blocking(move || std::fs::write(into, listeners("0")));
    until(&mut file, Ok("0")).await;
    writer.await.expect("it ends").expect("it is written");
    // Nobody writes into it again.
    file.reload().ask();
    tokio::select! {
        biased;
        read = file.next() => panic!("nothing was written: {read:?}"),
        () = tokio::task::yield_now() => {}
    }
    replace(&path, &listeners("1"));
    until(&mut file, Ok("1")).await;
}
