//! The server of `peers`, which answers by itself: it has nothing behind it.

use tokio::process::Command;

use super::Place;

pub(crate) fn flags(command: &mut Command, place: &Place, version: u32, old: &str) {
    command
        .arg(place.http1.to_string())
        .arg(version.to_string())
        .arg(old)
        .arg(place.drain_time.as_secs().to_string());
}
