//! LDS from a file: a discovery response that is replaced by an atomic rename.

use std::convert::Infallible;
use std::io;
use std::path::Path;

use notify::event::{ModifyKind, RenameMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use orion_drain::config::{ListenerUpdate, UpdateOutcome};
use tokio::sync::{mpsc, oneshot};

use super::{Lds, tell};

/// Applies the file as it is now, tells whether all of it was taken, then applies it every time another one is renamed over it, or
/// somebody asks; ends only with the process. If the folder cannot be watched, asking is the only way.
pub(super) async fn run(
    lds: &Lds,
    path: &Path,
    watched_directory: &Path,
    first: oneshot::Sender<bool>,
) -> Infallible {
    let (changed, mut changes) = mpsc::unbounded_channel();
    let (mut first, mut watcher) = (Some(first), None);
    loop {
        // Watched first, read afterwards: a file that is replaced in between is read twice, never missed.
        if watcher.is_none() {
            // The folder may have come since; whoever asks waits for an answer in any case.
            watcher = match watch(watched_directory, path, changed.clone()) {
                Ok(watcher) => Some(watcher),
                Err(error) => {
                    let path = path.display();
                    complain!("lds: {error}; {path} is read again after SIGHUP only");
                    None
                }
            };
        }
        let whole = apply(lds, path).await;
        if let Some(first) = first.take() {
            // Not everybody wants to know.
            first.send(whole).ok();
        }
        lds.reload.applied.notify_one();
        tokio::select! {
            // Several events are one look at the file.
            _ = changes.recv() => while changes.try_recv().is_ok() {},
            () = lds.reload.asked.notified() => {}
        }
    }
}

/// Tells of every file that comes to this path, for as long as the watcher lives.
fn watch(
    folder: &Path,
    path: &Path,
    changed: mpsc::UnboundedSender<()>,
) -> notify::Result<RecommendedWatcher> {
    let name = path.file_name().map(ToOwned::to_owned);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // A rename shows as a modification of the name it came to, an atomic symlink swap as a creation. That both of
        // its names were in this folder is said once more; an update is one all the same.
        let replaced = event.is_ok_and(|event| {
            matches!(event.kind, EventKind::Modify(_) | EventKind::Create(_))
                && event.kind != EventKind::Modify(ModifyKind::Name(RenameMode::Both))
                && event.paths.iter().any(|path| path.file_name() == name.as_deref())
        });
        if replaced {
            // The receiver lives as long as the process; without it there is nobody to tell.
            changed.send(()).ok();
        }
    })?;
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
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
