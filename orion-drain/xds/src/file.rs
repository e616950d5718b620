//! LDS from a file: a discovery response that is replaced by an atomic rename.

use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{fmt, io, thread};

use orion_drain_config::{Bootstrap, ListenerUpdate, UpdateOutcome};
use orion_drain_stats::Stats;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep};

use super::watch::FolderWatch;

/// Takes listeners from a file, in YAML or JSON.
///
/// ```no_run
/// use orion_drain_config::{Bootstrap, UpdateOutcome};
/// use orion_drain_stats::Stats;
/// use orion_drain_xds::LdsFile;
///
/// # async fn example(bootstrap: Bootstrap) {
/// if let Some(mut file) = LdsFile::of(&bootstrap, Stats::new()) {
///     loop {
///         match file.next().await {
///             Ok(update) => {
///                 println!("{} listeners", update.listeners.len()); // apply them
///                 file.applied(&update.version_info, UpdateOutcome::Success);
///             }
///             Err(error) => println!("{error}"),
///         }
///     }
/// }
/// # }
/// ```
pub struct LdsFile {
    path: PathBuf,
    watched_directory: Option<PathBuf>,
    stats: Stats,
    reload: Reload,
    unwatched: Box<dyn Fn(&io::Error) + Send + Sync>,
    /// Since the first look at the file.
    watch: Option<FolderWatch>,
    read: fn(&Path) -> io::Result<String>,
    /// A FIFO at the path, which is waited for.
    fifo: Option<Fifo>,
    /// The file may be good, but the system was short of what reading it takes.
    unread: bool,
    poll: Option<Poll>,
}

/// A file that is looked at now and then.
struct Poll {
    period: Duration,
    /// What was read last.
    read: Option<Stamp>,
    /// What stood there at the last look.
    seen: Option<Stamp>,
    /// Since when the next look is waited for.
    since: Option<Instant>,
}

/// Which file it is, and when it was written.
type Stamp = (Identity, Option<SystemTime>);

/// After how long a file is read again that the system had no descriptor or no memory for.
const AGAIN: Duration = Duration::from_secs(1);

/// Asks for the file to be read again, whether it was replaced or not: at SIGHUP. Clones are the
/// same.
#[derive(Debug, Clone, Default)]
pub struct Reload(Arc<Notify>);

impl Reload {
    /// The file is read again soon; calls before that count once.
    pub fn ask(&self) {
        self.0.notify_one();
    }
}

impl LdsFile {
    /// The file that the bootstrap names; `None` if its listeners come from elsewhere.
    ///
    /// Updates are counted in `listener_manager.lds.*`.
    pub fn of(bootstrap: &Bootstrap, stats: Stats) -> Option<Self> {
        Some(Self {
            path: bootstrap.lds_path()?.to_owned(),
            watched_directory: bootstrap.lds_watched_directory().map(Path::to_owned),
            stats,
            reload: Reload::default(),
            unwatched: Box::new(|_| {}),
            watch: None,
            read,
            fifo: None,
            unread: false,
            poll: None,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A handle that asks for it to be read again.
    pub fn reload(&self) -> Reload {
        self.reload.clone()
    }

    /// Calls `unwatched` if its folder cannot be watched: then it is read again only when
    /// [`Reload::ask`] asks for it.
    #[must_use]
    pub fn with_unwatched(
        mut self,
        unwatched: impl Fn(&io::Error) + Send + Sync + 'static,
    ) -> Self {
        self.unwatched = Box::new(unwatched);
        self
    }

    /// Looks at the file this often as well, for where the system reports no moves, as on some
    /// network file systems. Another file, or another time of its last change, counts when it
    /// stands there at the next look too: a file that is written in place is half written for a
    /// moment. Default: never. At most a thousand times a second.
    #[must_use]
    pub fn with_poll(mut self, period: Duration) -> Self {
        self.poll = Some(Poll {
            period: period.max(Duration::from_millis(1)),
            read: None,
            seen: None,
            since: None,
        });
        self
    }

    /// The file as it is now; called again, as it is after another file was moved over it or into
    /// the watched folder, or after [`Reload::ask`]. [`applied`](Self::applied) counts what became
    /// of it.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is a folder, a device or a socket, which is counted. Listeners
    /// stay as they are, and the next call waits for another file; if the system was out of
    /// descriptors or memory, for a second at most.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it forgets nothing: the next call goes on.
    pub async fn next(&mut self) -> io::Result<ListenerUpdate> {
        let stats = self.stats.clone();
        let lds = stats.lds();
        let text = loop {
            match &mut self.watch {
                Some(watch) => tokio::select! {
                    () = watch.changed() => {}
                    () = self.reload.0.notified() => watch.retry(),
                    () = sleep(AGAIN), if self.unread => {}
                    () = another(&mut self.poll, &self.path) => {}
                    text = written(&mut self.fifo) => {
                        self.fifo = None;
                        break text;
                    }
                },
                // Watched first, read afterwards: a file that is replaced in between is read
                // twice, never missed.
                None => self.begin(),
            }
            if let Some(poll) = &mut self.poll {
                poll.read = stamp(&self.path);
            }
            let Some(fifo) = fifo_at(&self.path) else {
                lds.update_attempt.inc();
                self.fifo = None;
                break (self.read)(&self.path);
            };
            // Of two that read one FIFO, the first would take what was written for the second.
            if self.fifo.as_ref().is_none_or(|read| read.identity != fifo) {
                lds.update_attempt.inc();
                match Fifo::read(fifo, self.path.clone()) {
                    Ok(fifo) => self.fifo = Some(fifo),
                    Err(error) => break Err(error),
                }
            }
        };
        self.unread = text.as_ref().is_err_and(is_shortage);
        let update = text.and_then(|text| {
            ListenerUpdate::from_yaml(&text)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        });
        let update = update.inspect_err(|_| lds.update_failure.inc())?;
        let unknown = update.unknown_fields.len() as u64;
        self.stats.server().dynamic_unknown_fields.add(unknown);
        Ok(update)
    }

    /// Counts what became of the update that [`next`](Self::next) gave.
    pub fn applied(&self, version_info: &str, outcome: UpdateOutcome) {
        let lds = self.stats.lds();
        match outcome {
            UpdateOutcome::Failure => lds.update_failure.inc(),
            UpdateOutcome::Success => {
                lds.update_success.inc();
                lds.version_text.set(version_info);
            }
            _ => lds.update_rejected.inc(),
        }
    }

    fn begin(&mut self) {
        let (watch, begun) = match &self.watched_directory {
            Some(folder) => FolderWatch::new(folder, None),
            None => FolderWatch::new(
                self.path.parent().unwrap_or(&self.path),
                self.path.file_name(),
            ),
        };
        if let Err(error) = begun {
            (self.unwatched)(&error);
        }
        self.watch = Some(watch);
    }
}

/// Waits until another file than the one that was read last stands at the path at two looks.
/// Without a period it never ends.
async fn another(poll: &mut Option<Poll>, path: &Path) {
    let Some(poll) = poll else {
        return std::future::pending().await;
    };
    loop {
        // Kept there: this future may be dropped before each look.
        let since = *poll.since.get_or_insert_with(Instant::now);
        sleep(poll.period.saturating_sub(since.elapsed())).await;
        poll.since = None;
        let now = stamp(path);
        let before = std::mem::replace(&mut poll.seen, now);
        if now.is_some() && now == before && now != poll.read {
            return;
        }
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = path.metadata().ok()?;
    let identity = (metadata.dev(), metadata.ino());
    Some((identity, metadata.modified().ok()))
}

/// The longest text that is read from a FIFO, whose writer may never end it.
const LONGEST: u64 = 64 << 20;

/// A FIFO that is being read, by a thread of its own: no runtime waits for it when it ends, and the
/// writer may never come.
struct Fifo {
    identity: Identity,
    text: oneshot::Receiver<io::Result<String>>,
}

/// Device and inode.
type Identity = (u64, u64);

/// The FIFO at this path, if it is one.
fn fifo_at(path: &Path) -> Option<Identity> {
    let metadata = path.metadata().ok()?;
    let identity = (metadata.dev(), metadata.ino());
    metadata.file_type().is_fifo().then_some(identity)
}

impl Fifo {
    /// Takes all that is written until the writers have closed it.
    fn read(identity: Identity, path: PathBuf) -> io::Result<Self> {
        let read = move || {
            let mut text = String::new();
            let fifo = std::fs::File::open(path)?;
            fifo.take(LONGEST + 1).read_to_string(&mut text)?;
            match text.len() as u64 {
                0..=LONGEST => Ok(text),
                _ => Err(io::Error::other("longer than 64 MiB")),
            }
        };
        let (done, text) = oneshot::channel();
        thread::Builder::new()
            .name("lds fifo".to_owned())
            .spawn(move || done.send(read()).ok())?;
        Ok(Self { identity, text })
    }
}

/// What was written into the FIFO. Without one it never ends.
async fn written(fifo: &mut Option<Fifo>) -> io::Result<String> {
    match fifo {
        Some(fifo) => {
            let read = (&mut fifo.text).await;
            read.unwrap_or_else(|error| Err(io::Error::other(error)))
        }
        None => std::future::pending().await,
    }
}

/// Reads the whole file; a file of configuration is small, and a proxy that waits for it has
/// nothing else to do.
fn read(path: &Path) -> io::Result<String> {
    orion_drain_config::read_text(path)
}

/// Whether the system may do tomorrow what it does not do now: ENFILE, EMFILE, ENOMEM.
fn is_shortage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::OutOfMemory || matches!(error.raw_os_error(), Some(23 | 24))
}

impl fmt::Debug for LdsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LdsFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_file_of_which_no_move_is_reported_is_looked_at_if_that_is_asked_for() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let path = folder.path().join("lds.yaml");
        let mut written = SystemTime::UNIX_EPOCH;
        // No move, so that nothing else reports it.
        let mut write = |version: &str| {
            let text = format!("version_info: '{version}'\nresources: []");
            std::fs::write(&path, text).expect("a file");
            written += AGAIN;
            let file = std::fs::File::options().append(true).open(&path);
            let set = file.expect("the file").set_modified(written);
            set.expect("another time");
        };
        let bootstrap = format!(
            "dynamic_resources: {{ lds_config: {{ path_config_source: {{ path: {path:?} }} }} }}"
        );
        let bootstrap = Bootstrap::from_yaml(&bootstrap).expect("a bootstrap").value;
        let mut file = LdsFile::of(&bootstrap, Stats::new()).expect("a file");
        write("1");
        let first = file.next().await.expect("the file");
        assert_eq!(first.version_info, "1");
        write("2");
        let unasked = tokio::time::timeout(AGAIN * 100, file.next()).await;
        unasked.expect_err("looked at");
        let mut file = file.with_poll(AGAIN * 10);
        let start = Instant::now();
        let second = file.next().await.expect("the file");
        assert_eq!((&*second.version_info, start.elapsed()), ("2", AGAIN * 20));
        let more = tokio::time::timeout(AGAIN * 100, file.next());
        more.await.expect_err("read again");
        write("3");
        // Dropped before each look.
        let mut third = None;
        for _ in 0..30 {
            third = third.or(tokio::time::timeout(AGAIN, file.next()).await.ok());
        }
        let third = third.expect("in time").expect("the file");
        assert_eq!(third.version_info, "3");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_system_was_too_short_of_descriptors_to_read_is_read_again() {
        static READ: AtomicU32 = AtomicU32::new(0);
        let folder = tempfile::TempDir::new().expect("a folder");
        let path = folder.path().join("lds.yaml");
        let bootstrap = format!(
            "dynamic_resources: {{ lds_config: {{ path_config_source: {{ path: {path:?} }} }} }}"
        );
        let bootstrap = Bootstrap::from_yaml(&bootstrap).expect("a bootstrap");
        let mut file = LdsFile::of(&bootstrap.value, Stats::new()).expect("a file");
        file.read = |_| match READ.fetch_add(1, Ordering::Relaxed) {
            0 => Err(io::Error::from_raw_os_error(24)),
            1 => Err(io::Error::from_raw_os_error(23)),
            _ => Ok("version_info: '1'\nresources: []".to_owned()),
        };
        for _ in 0..2 {
            file.next().await.expect_err("no descriptor");
        }
        let update = file.next().await.expect("the file");
        assert_eq!(update.version_info, "1");
        // It has been read: only another file is waited for.
        let more = tokio::time::timeout(AGAIN * 10, file.next());
        more.await.expect_err("read again");
    }
}
