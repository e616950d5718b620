//! A set whose sockets are imagined, and a log of what it asks for.

use std::io;

use super::config::Config;
use crate::set::Wanted;
use listener_versions::{
    Change, Effect, InvalidTransition, Update, UpdateError, UpdateReport, VersionSet, VersionState,
};

/// A set whose sockets all open, and a log of what it asked for.
#[derive(Default)]
pub(super) struct Bench {
    pub(super) set: VersionSet<Config>,
    taken: Option<u16>,
}

impl Bench {
    /// Another process listens on this port.
    pub(super) fn with_taken(port: u16) -> Self {
        Self {
            taken: Some(port),
            ..Self::default()
        }
    }

    pub(super) fn apply(&mut self, update: Update<Config>) -> (UpdateReport, String) {
        let mut log = String::new();
        let taken = self.taken;
        let (report, effects) = self.set.apply(update, |_, _, wanted| {
            let socket = match wanted {
                Wanted::Bind(socket) => socket,
                Wanted::Listen(_) => return Ok(()),
                Wanted::Close(socket) => {
                    log += &format!("unbind {socket}\n");
                    return Ok(());
                }
            };
            if socket.address().as_socket().map(|address| address.port()) == taken {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            log += &format!("bind {socket}\n");
            Ok(())
        });
        log += &lines_of(&effects);
        (report, log)
    }

    pub(super) fn lds(
        &mut self,
        configs: impl IntoIterator<Item = Config>,
    ) -> (UpdateReport, String) {
        self.apply(Update::lds("v", configs))
    }

    pub(super) fn states(&self) -> Vec<(u64, VersionState)> {
        self.set
            .iter()
            .map(|version| (version.number, version.state))
            .collect()
    }
}

pub(super) fn warm(
    set: &mut VersionSet<Config>,
    version: u64,
) -> Result<Vec<Effect>, InvalidTransition> {
    let warm = set.when_warm(version)?;
    Ok(set.warmed(warm))
}

pub(super) fn lines_of(effects: &[Effect]) -> String {
    let line = |effect: &Effect| match effect {
        Effect::Create { version } => format!("create {version}\n"),
        Effect::Discard { version, .. } => format!("discard {version}\n"),
        Effect::Activate {
            version, sockets, ..
        } => {
            let sockets: Vec<String> = sockets.iter().map(ToString::to_string).collect();
            format!("activate {version} on {}\n", sockets.join(", "))
        }
        Effect::Close { socket, last } => format!("close {socket} after {last:?}\n"),
        Effect::Drain { version, reason } => format!("drain {version} {reason:?}\n"),
        Effect::UpdateInPlace { version } => format!("update {version} in place\n"),
        Effect::DrainChain { chain, reason } => format!("drain chain {chain} {reason:?}\n"),
    };
    effects.iter().map(line).collect()
}

pub(super) fn change(report: &UpdateReport, name: &str) -> Change {
    match report.outcome(name) {
        Some(Ok(change)) => *change,
        other => panic!("{name}: {other:?}"),
    }
}

pub(super) fn error<'a>(report: &'a UpdateReport, name: &str) -> &'a UpdateError {
    report
        .errors()
        .find(|error| error.listener() == name)
        .expect("the listener was refused")
}
