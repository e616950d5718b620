//! Files that are replaced by a rename, and the folders that they are replaced in.
//!
//! Only a move counts, as in Envoy: a file that is written in place is half written for a moment.
//! With a folder of its own (`watched_directory`) any move into that folder counts, as when
//! Kubernetes swaps `..data`; else a move to the file's name. A folder that is removed and made
//! again is watched again, and what it brings counts as moved.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use notify::event::{ModifyKind, RenameMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Reports moves into a folder.
pub(crate) struct FolderWatch {
    folder: PathBuf,
    /// The name that counts; `None`: any.
    name: Option<OsString>,
    seen: mpsc::UnboundedReceiver<Seen>,
    report: mpsc::UnboundedSender<Seen>,
    /// What is watched now: dropped, it reports no more.
    watcher: Option<RecommendedWatcher>,
}

/// Device and inode of a folder: another one may come to its path. A number may be used again once
/// its folder is gone.
type Identity = (u64, u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Something that counts came into the folder.
    Moved,
    /// The folder itself, or one above it, may be another one.
    Folder,
}

impl FolderWatch {
    /// Watches `folder` for moves to `name`, or for any.
    ///
    /// # Errors
    ///
    /// The system watches no folders, or no more of them. [`changed`](Self::changed) then waits for
    /// ever.
    pub(crate) fn new(folder: &Path, name: Option<&OsStr>) -> (Self, io::Result<()>) {
        let (report, seen) = mpsc::unbounded_channel();
        // `file.yaml` is in the folder that the process works in.
        let folder = match folder.as_os_str().is_empty() {
            true => Path::new("."),
            false => folder,
        };
        let mut watch = Self {
            // What moves is reported by whole paths.
            folder: std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()),
            name: name.map(ToOwned::to_owned),
            seen,
            report,
            watcher: None,
        };
        let begun = watch.begin();
        (watch, begun)
    }

    /// Waits for something that counts; several moves at once are one.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it forgets nothing but moves that it has seen already; read the file after each
    /// call, and before the first.
    pub(crate) async fn changed(&mut self) {
        loop {
            // The channel cannot end: one of its senders is here.
            let Some(first) = self.seen.recv().await else {
                return std::future::pending().await;
            };
            let (mut moved, mut folder) = (first == Seen::Moved, first == Seen::Folder);
            while let Ok(more) = self.seen.try_recv() {
                moved |= more == Seen::Moved;
                folder |= more == Seen::Folder;
            }
            if folder {
                // A folder that cannot be watched reports nothing; SIGHUP is what is left.
                self.begin().ok();
                moved |= identity(&self.folder).is_some();
            }
            if moved {
                return;
            }
        }
    }

    /// Tries again what failed before.
    pub(crate) fn retry(&mut self) {
        if self.watcher.is_none() {
            self.begin().ok();
        }
    }

    /// Watches the folder, and what is above it for another one to come; of a folder that is not
    /// there, what is.
    fn begin(&mut self) -> io::Result<()> {
        self.watcher = None;
        loop {
            let before = identity(&self.folder);
            let watcher = self.watch(before.is_some()).map_err(io::Error::other)?;
            // What came before it was watched is found now.
            if identity(&self.folder) == before {
                self.watcher = Some(watcher);
                return Ok(());
            }
        }
    }

    fn watch(&self, is_there: bool) -> notify::Result<RecommendedWatcher> {
        let (folder, name, report) = (self.folder.clone(), self.name.clone(), self.report.clone());
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                let seen = event.map_or(Some(Seen::Folder), |event| {
                    seen(&event, &folder, name.as_deref())
                });
                if let Some(seen) = seen {
                    // Without a receiver the watcher is about to be dropped.
                    report.send(seen).ok();
                }
            })?;
        if is_there {
            watcher.watch(&self.folder, RecursiveMode::NonRecursive)?;
        }
        let mut above = self.folder.ancestors().skip(1);
        if let Some(above) = above.find(|above| above.is_dir()) {
            let watched = watcher.watch(above, RecursiveMode::NonRecursive);
            // One that may not be read is only of use for a folder that comes later.
            if !is_there {
                watched?;
            }
        }
        Ok(watcher)
    }
}

fn identity(folder: &Path) -> Option<Identity> {
    let folder = folder.metadata().ok().filter(std::fs::Metadata::is_dir)?;
    Some((folder.dev(), folder.ino()))
}

/// What an event means.
fn seen(event: &notify::Event, folder: &Path, name: Option<&OsStr>) -> Option<Seen> {
    // The system has dropped events.
    if event.need_rescan() {
        return Some(Seen::Moved);
    }
    let is_move = matches!(
        event.kind,
        EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Any))
    );
    let came = |path: &PathBuf| {
        path.parent() == Some(folder) && name.is_none_or(|name| path.file_name() == Some(name))
    };
    if is_move && event.paths.iter().any(came) {
        return Some(Seen::Moved);
    }
    let changes_folders = matches!(
        event.kind,
        EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
    );
    let is_above = event.paths.iter().any(|path| folder.starts_with(path));
    (changes_folders && is_above).then_some(Seen::Folder)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;

    async fn within(what: &str, watch: &mut FolderWatch) {
        let changed = tokio::time::timeout(Duration::from_secs(20), watch.changed()).await;
        assert!(changed.is_ok(), "{what}: not seen within 20 s");
    }

    /// Whether nothing has been seen before this move: it comes to another watch of the same
    /// folder, after all before.
    async fn nothing_before(folder: &Path, watch: &mut FolderWatch) {
        let (mut marks, begun) = FolderWatch::new(folder, Some(OsStr::new("mark")));
        begun.expect("it can be watched");
        replace(&folder.join("mark"), "");
        within("the mark", &mut marks).await;
        // The events of one folder come in their order, to each watcher by a thread of its own.
        let early = tokio::time::timeout(Duration::from_millis(200), watch.changed()).await;
        assert!(early.is_err(), "seen, though nothing that counts has come");
    }

    fn replace(path: &Path, text: &str) {
        let next = path.with_extension("next");
        fs::write(&next, text).expect("a file");
        fs::rename(&next, path).expect("it is moved");
    }

    #[tokio::test]
    async fn a_move_to_the_name_counts_and_nothing_else() {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("lds.yaml");
        fs::write(&file, "1").expect("a file");
        let (mut watch, begun) = FolderWatch::new(folder.path(), file.file_name());
        begun.expect("it can be watched");
        fs::write(&file, "half").expect("written in place");
        fs::write(folder.path().join("other"), "").expect("another file");
        replace(&folder.path().join("other"), "");
        nothing_before(folder.path(), &mut watch).await;
        replace(&file, "2");
        within("the move", &mut watch).await;
    }

    #[tokio::test]
    async fn a_folder_may_be_named_from_where_the_process_works() {
        let here = std::env::current_dir().expect("a folder");
        let folder = TempDir::new_in(&here).expect("a folder");
        let from_here = folder.path().strip_prefix(&here).expect("it is in it");
        for name in [from_here.to_owned(), Path::new(".").join(from_here)] {
            let (mut watch, begun) = FolderWatch::new(&name, Some(OsStr::new("lds.yaml")));
            begun.expect("it can be watched");
            replace(&name.join("lds.yaml"), "1");
            within("the move", &mut watch).await;
        }
        let (watch, begun) = FolderWatch::new(Path::new(""), Some(OsStr::new("lds.yaml")));
        begun.expect("it can be watched");
        assert_eq!(watch.folder, here);
    }

    #[tokio::test]
    async fn in_a_watched_folder_every_move_counts_as_when_a_config_map_is_swapped() {
        let folder = TempDir::new().expect("a folder");
        let data = |version: &str| {
            fs::create_dir(folder.path().join(version)).expect("a folder");
            fs::write(folder.path().join(version).join("lds.yaml"), version).expect("a file");
            std::os::unix::fs::symlink(version, folder.path().join("..data_tmp")).expect("a link");
            fs::rename(
                folder.path().join("..data_tmp"),
                folder.path().join("..data"),
            )
            .expect("it is moved");
        };
        data("..v1");
        let (mut watch, begun) = FolderWatch::new(folder.path(), None);
        begun.expect("it can be watched");
        data("..v2");
        within("the swap", &mut watch).await;
    }

    #[tokio::test]
    async fn a_folder_that_is_made_again_is_watched_again_wherever_it_was_removed() {
        let root = TempDir::new().expect("a folder");
        let folder = root.path().join("a/b");
        let file = folder.join("lds.yaml");
        fs::create_dir_all(&folder).expect("folders");
        let (mut watch, begun) = FolderWatch::new(&folder, file.file_name());
        begun.expect("it can be watched");
        for gone in [folder.as_path(), folder.parent().expect("a")] {
            fs::remove_dir_all(gone).expect("it is removed");
            fs::create_dir_all(&folder).expect("it is made again");
            within("the new folder", &mut watch).await;
            replace(&file, "2");
            within("the move into the new folder", &mut watch).await;
        }
    }

    #[tokio::test]
    async fn a_folder_that_comes_later_is_watched_from_then_on() {
        let root = TempDir::new().expect("a folder");
        let folder = root.path().join("a/b");
        let (mut watch, begun) = FolderWatch::new(&folder, None);
        begun.expect("what is above it can be watched");
        fs::create_dir_all(&folder).expect("folders");
        within("the folder", &mut watch).await;
        replace(&folder.join("lds.yaml"), "1");
        within("the move", &mut watch).await;
    }
}
