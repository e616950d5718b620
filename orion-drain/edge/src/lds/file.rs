//! LDS from a file: a discovery response that is replaced by an atomic rename.

use std::convert::Infallible;
use std::io;
use std::path::Path;

use orion_drain::config::{ListenerUpdate, UpdateOutcome};
use tokio::sync::oneshot;

use super::watch::FolderWatch;
use super::{Lds, tell};

/// Applies the file as it is now, tells whether all of it was taken, then applies it every time another one is moved over it,
/// or into the watched folder, or somebody asks; ends only with the process. If no folder can be watched, asking is the only way.
pub(super) async fn run(
    lds: &Lds,
    path: &Path,
    watched_directory: Option<&Path>,
    first: oneshot::Sender<bool>,
) -> Infallible {
    // Watched first, read afterwards: a file that is replaced in between is read twice, never missed.
    let (mut watch, begun) = match watched_directory {
        Some(folder) => FolderWatch::new(folder, None),
        None => FolderWatch::new(path.parent().unwrap_or(path), path.file_name()),
    };
    if let Err(error) = begun {
        let path = path.display();
        complain!("lds: {error}; {path} is read again after SIGHUP only");
    }
    let mut first = Some(first);
    loop {
        let whole = apply(lds, path).await;
        if let Some(first) = first.take() {
            // Not everybody wants to know.
            first.send(whole).ok();
        }
        lds.reload.applied.notify_one();
        tokio::select! {
            () = watch.changed() => {}
            () = lds.reload.asked.notified() => watch.retry(),
        }
    }
}

/// Whether all of it was taken.
async fn apply(lds: &Lds, path: &Path) -> bool {
    let stats = lds.maker.stats.lds();
    stats.update_attempt.inc();
    let update = match read(path) {
        Ok(update) => update,
        Err(error) => {
            stats.update_failure.inc();
            complain!("lds: {}: {error}", path.display());
            return false;
        }
    };
    let unknown = update.unknown_fields.len() as u64;
    let applied = match lds.apply(update, &path.display().to_string()).await {
        Ok(applied) => applied,
        Err(error) => {
            stats.update_rejected.inc();
            complain!("lds: {}: {error}", path.display());
            return false;
        }
    };
    lds.maker.stats.server().dynamic_unknown_fields.add(unknown);
    match applied.outcome() {
        UpdateOutcome::Failure => stats.update_failure.inc(),
        UpdateOutcome::Success => {
            stats.update_success.inc();
            stats.version_text.set(&*applied.version_info);
        }
        _ => stats.update_rejected.inc(),
    }
    tell(&applied);
    applied.outcome() == UpdateOutcome::Success
}

/// Reads the whole file; a file of configuration is small, and a proxy that waits for it has nothing else to do.
fn read(path: &Path) -> io::Result<ListenerUpdate> {
    let text = std::fs::read_to_string(path)?;
    ListenerUpdate::from_yaml(&text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
