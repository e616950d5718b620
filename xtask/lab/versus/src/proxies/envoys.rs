//! edge and Envoy: one bootstrap, one file of listeners that each change replaces by atomic rename.

use std::path::PathBuf;

use anyhow::Context;
use rig::yaml;
use tokio::process::Command;

use super::Place;

fn bootstrap(place: &Place, epoch: u32) -> PathBuf {
    place.folder.join(format!("bootstrap-{epoch}.yaml"))
}

fn listeners(place: &Place, epoch: u32) -> PathBuf {
    place.folder.join(format!("lds-{epoch}.yaml"))
}

/// Writes both files; the listeners by rename, so that nobody reads half of them.
pub(crate) fn write(place: &Place, version: u32, epoch: u32) -> anyhow::Result<()> {
    let lds = listeners(place, epoch);
    let next = place.folder.join("next.yaml");
    std::fs::write(&next, listeners_yaml(place, version)).context("writing the listeners")?;
    std::fs::rename(&next, &lds).context("renaming the listeners into place")?;
    let path = bootstrap(place, epoch);
    if path.exists() {
        return Ok(());
    }
    let clusters = [("http", place.behind.http), ("tcp", place.behind.tcp)]
        .map(|(name, at)| yaml::cluster(name, &[at], ""));
    let text = yaml::bootstrap("versus", place.admin, &lds, &clusters);
    std::fs::write(path, text).context("writing the bootstrap")
}

fn listeners_yaml(place: &Place, version: u32) -> String {
    // The listener's own field: the whole listener is replaced, not a filter chain.
    let buffer = [format!(
        "per_connection_buffer_limit_bytes: {}",
        1_048_576 + version
    )];
    let seconds = |part: f64| format!("{:.3}s", place.drain_time.as_secs_f64() * part);
    let header = yaml::response_header(rig::VERSION_HEADER, &version.to_string());
    let manager = yaml::manager(
        "versus",
        &[
            format!("drain_timeout: {}", seconds(0.25)),
            format!("delayed_close_timeout: {}", seconds(1.0 / 16.0)),
        ],
        &[
            yaml::answer("/version", &header, &rig::version_text(version)),
            yaml::forward("http", &header),
        ],
    );
    let secure = [yaml::transport_socket(&place.folder)];
    let parts = [
        ("http", place.http1, yaml::chain(&[], &manager)),
        ("tls", place.tls, yaml::chain(&secure, &manager)),
        (
            "tcp",
            place.tcp,
            yaml::chain(&[], &yaml::tcp_proxy("versus_tcp", "tcp", "")),
        ),
    ];
    let listeners = parts.map(|(name, at, chain)| {
        let at = yaml::socket_address(at);
        yaml::resource(&yaml::listener(name, &at, &buffer, &[chain]))
    });
    yaml::discovery(Some(&version.to_string()), &listeners)
}

fn common(command: &mut Command, place: &Place, epoch: u32) {
    let seconds = place.drain_time.as_secs();
    command
        .arg("-c")
        .arg(bootstrap(place, epoch))
        .args(["--concurrency", "2", "--drain-time-s"])
        .arg(seconds.to_string())
        .arg("--parent-shutdown-time-s")
        .arg((seconds + 2).to_string());
}

pub(crate) fn edge(command: &mut Command, place: &Place, epoch: u32) {
    common(command, place, epoch);
    command
        .arg("--hot-restart-path")
        .arg(place.folder.join("hot_restart.sock"));
}

pub(crate) fn envoy(command: &mut Command, place: &Place, epoch: u32) -> anyhow::Result<()> {
    common(command, place, epoch);
    let id = place.folder.join("base_id");
    command.args(["--log-level", "warning"]);
    if epoch == 0 {
        command
            .args(["--use-dynamic-base-id", "--base-id-path"])
            .arg(id);
    } else {
        let id = std::fs::read_to_string(id).context("the base id of the process before")?;
        let epoch = epoch.to_string();
        command.args(["--base-id", id.trim(), "--restart-epoch", &epoch]);
    }
    Ok(())
}
