//! LDS from a file: a discovery response that is replaced by an atomic rename.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use notify::event::{ModifyKind, RenameMode};
use notify::{EventKind, RecursiveMode, Watcher};
use orion_drain::config::{ListenerUpdate, UpdateOutcome};
use orion_drain::drain_tree::DrainSettings;
use orion_drain::listener_versions::{Change, FieldError, Listeners, Update, UpdateReport};
use tokio::sync::{mpsc, oneshot};

use crate::listener::{EdgeListener, Maker};

/// Takes listeners from a file, now and whenever another file is renamed over it.
#[derive(Debug)]
pub(crate) struct FileLds {
    pub(crate) path: PathBuf,
    pub(crate) watched_directory: PathBuf,
    pub(crate) listeners: Listeners<EdgeListener>,
    pub(crate) maker: Maker,
    /// What listeners are compared with, to tell of settings that contradict each other.
    pub(crate) settings: DrainSettings,
    /// `--reject-unknown-dynamic-fields`
    pub(crate) reject_unknown_fields: bool,
}

impl FileLds {
    /// Applies the file as it is now, tells whether all of it was taken, then applies it every time it is replaced; ends only
    /// with the process.
    pub(crate) async fn run(self, first: oneshot::Sender<bool>) -> notify::Result<()> {
        let (changed, mut changes) = mpsc::unbounded_channel();
        let name = self.path.file_name().map(ToOwned::to_owned);
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
        watcher.watch(&self.watched_directory, RecursiveMode::NonRecursive)?;
        // Watched first, read afterwards: a file that is replaced in between is read twice, never missed.
        let whole = self.apply().await;
        // Not everybody wants to know.
        first.send(whole).ok();
        while changes.recv().await.is_some() {
            // Several events are one look at the file.
            while changes.try_recv().is_ok() {}
            self.apply().await;
        }
        Ok(())
    }

    /// Whether all of it was taken.
    async fn apply(&self) -> bool {
        let lds = self.maker.stats.lds();
        lds.update_attempt.inc();
        let mut update = match read(&self.path) {
            Ok(update) => update,
            Err(error) => {
                lds.update_failure.inc();
                eprintln!("lds: {}: {error}", self.path.display());
                return false;
            }
        };
        if self.reject_unknown_fields {
            update = match update.refuse_foreign_fields() {
                Ok(update) => update,
                Err(error) => {
                    lds.update_rejected.inc();
                    eprintln!("lds: {}: {error}", self.path.display());
                    return false;
                }
            };
        }
        self.maker
            .stats
            .server()
            .dynamic_unknown_fields
            .add(update.unknown_fields.len() as u64);
        update.reject_unknown_clusters(&self.maker.clusters.names());
        let outcome = update.outcome();
        let mut made = Vec::new();
        let mut refused = BTreeMap::new();
        for listener in update.listeners {
            for warning in listener.audit(&self.settings) {
                eprintln!(
                    "warning: {}: listener {:?}: {warning}",
                    self.path.display(),
                    listener.name
                );
            }
            let name = listener.name.clone();
            match self.maker.listener(listener) {
                Ok(listener) => made.push(listener),
                Err(field) => {
                    eprintln!("lds: {}: listener {name:?}: {field}", self.path.display());
                    refused.insert(name, field);
                }
            }
        }
        for rejected in &update.rejected {
            for field in rejected.error.fields() {
                eprintln!("lds: {}: {field}", self.path.display());
            }
            if let (Some(name), Some(field)) = (&rejected.name, rejected.error.fields().first()) {
                refused.insert(name.clone(), field.clone());
            }
        }
        let mut listeners = Update::lds(&update.version_info, made);
        for (name, field) in &refused {
            listeners = listeners.with_refused(name, FieldError::new(&*field.path, &field.message));
        }
        let report = self.listeners.apply(listeners).await;
        for listener in &report.listeners {
            // Those have been told above, with the whole path of their fields.
            match &listener.outcome {
                Err(error) if !refused.contains_key(&*listener.name) => eprintln!("lds: {error}"),
                _ => {}
            }
        }
        match outcome {
            UpdateOutcome::Failure => lds.update_failure.inc(),
            UpdateOutcome::Success if report.is_success() => lds.update_success.inc(),
            _ => lds.update_rejected.inc(),
        }
        eprintln!("lds: version {:?}: {}", update.version_info, told(&report));
        outcome == UpdateOutcome::Success && report.is_success()
    }
}

/// One line for a whole update.
fn told(report: &UpdateReport) -> String {
    let listeners = report.listeners.iter().filter_map(|listener| {
        let name = &listener.name;
        match &listener.outcome {
            Ok(Change::Unchanged) => None,
            Ok(Change::Added { version }) => Some(format!("{name} added (v{version})")),
            Ok(Change::Modified { version, replaced }) => {
                Some(format!("{name} modified (v{version} replaces v{replaced})"))
            }
            Ok(Change::UpdatedInPlace { .. }) => Some(format!("{name} updated in place")),
            Ok(Change::Removed { .. }) => Some(format!("{name} removed")),
            Ok(Change::Stopped) => Some(format!("{name} not taken, listeners are stopped")),
            Ok(change) => Some(format!("{name} {change:?}")),
            Err(_) => Some(format!("{name} refused")),
        }
    });
    let listeners: Vec<_> = listeners.collect();
    if listeners.is_empty() {
        "nothing changed".to_owned()
    } else {
        listeners.join(", ")
    }
}

/// Reads the whole file; a file of configuration is small, and a proxy that waits for it has nothing else to do.
fn read(path: &Path) -> io::Result<ListenerUpdate> {
    let text = std::fs::read_to_string(path)?;
    ListenerUpdate::from_yaml(&text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
