//! What happens, while it happens: redrawn in place on a terminal, as plain lines otherwise.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::Options;
use super::book::{Book, Pages};
use super::record::{Protocol, State};
use super::table::grouped;
use super::verdict;

const REDRAW: Duration = Duration::from_millis(300);

/// The most versions shown at a time; the oldest of more are left out.
const MOST_ROWS: usize = 12;

/// A plain line is printed once in so many redraws, and after each update.
const PLAIN: u32 = 7;

/// What happens, how often, and how long all of it takes.
type Planned = (&'static str, u32, Duration);

/// The display; it goes on until [`Live::stop`].
#[derive(Debug)]
pub(crate) struct Live {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Live {
    pub(crate) fn start(book: Arc<Book>, admin: SocketAddr, options: &Options) -> Self {
        let (stop, stopped) = oneshot::channel();
        let planned = (options.event(), options.updates, options.planned());
        Self {
            stop,
            task: tokio::spawn(show(book, admin, planned, stopped)),
        }
    }

    pub(crate) async fn stop(self) {
        drop(self.stop);
        // A display that failed has shown less, and nothing else depends on it.
        match self.task.await {
            Ok(()) | Err(_) => {}
        }
    }
}

async fn show(
    book: Arc<Book>,
    admin: SocketAddr,
    planned: Planned,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut screen = Screen {
        terminal: std::io::stdout().is_terminal(),
        lines: 0,
    };
    let mut tick = interval(REDRAW);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut newest, mut count) = (0, 0);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = &mut stopped => return,
        }
        let proxy = proxy_says(admin).await;
        let now = book.now();
        // The clients wait for the book meanwhile: what takes long is done on a copy of the few
        // records that matter.
        let (rows, ok, suspects) =
            book.read(|pages| (rows(pages, now), ok(pages), suspects(pages)));
        let summary = summary(&suspects, ok, now, planned);
        if screen.terminal {
            screen.redraw(&format!("{summary}\n{proxy}\n\n{}", drawn(&rows)));
        } else {
            let top = rows.first().map_or(0, |row| row.version);
            if top != newest || count % PLAIN == 0 {
                screen.redraw(&format!("{summary}   {proxy}   {}\n", in_line(&rows)));
            }
            newest = top;
            count += 1;
        }
    }
}

async fn proxy_says(admin: SocketAddr) -> String {
    let Ok((200, text)) = rig::ask(admin, "GET", "/stats").await else {
        return "proxy: no answer".to_owned();
    };
    let stats = rig::stats(&text);
    let stat = |name| stats.get(name).map_or("?".to_owned(), u64::to_string);
    format!(
        "proxy: listeners {} active, {} draining",
        stat("listener_manager.total_listeners_active"),
        stat("listener_manager.total_listeners_draining"),
    )
}

/// The connections of one listener version, as their clients see them.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    version: u32,
    /// The time until its deadline; `None` for the newest version.
    left: Option<Duration>,
    http1: Cell,
    http2: Cell,
    websocket: Cell,
    tcp: Cell,
}

/// Connections of one protocol, by how far they are on their way out.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Cell {
    all: u32,
    told: u32,
    leaving: u32,
}

impl Cell {
    fn add(&mut self, state: State) {
        self.all += 1;
        match state {
            State::Told => self.told += 1,
            State::Leaving => self.leaving += 1,
            State::Open | State::Ended => {}
        }
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.all == 0 {
            return out.pad("·");
        }
        let mut text = self.all.to_string();
        match (self.told, self.leaving) {
            (0, 0) => {}
            (told, 0) => text += &format!(" ({told} told)"),
            (0, leaving) => text += &format!(" ({leaving} leaving)"),
            (told, leaving) => text += &format!(" ({told} told, {leaving} leaving)"),
        }
        out.pad(&text)
    }
}

/// A row for the newest version, and one for each older one that still has connections; the newest
/// first.
fn rows(pages: &Pages, now: Duration) -> Vec<Row> {
    let updates = &pages.updates;
    let mut rows: Vec<Row> = (1..=updates.newest(now))
        .rev()
        .map(|version| {
            let left = updates
                .deadline(version)
                .map(|deadline| deadline.saturating_sub(now));
            let none = Cell::default();
            Row {
                version,
                left,
                http1: none,
                http2: none,
                websocket: none,
                tcp: none,
            }
        })
        .collect();
    for record in pages.records.iter().filter(|record| record.ended.is_none()) {
        let (state, version) = (record.state(now), updates.version_of(record));
        if let Some(row) = rows.iter_mut().find(|row| row.version == version) {
            match record.class.protocol() {
                Protocol::Http1 => row.http1.add(state),
                Protocol::Http2 => row.http2.add(state),
                Protocol::WebSocket => row.websocket.add(state),
                Protocol::Tcp => row.tcp.add(state),
            }
        }
    }
    rows.retain(|row| {
        let anybody = row.http1.all + row.http2.all + row.websocket.all + row.tcp.all > 0;
        anybody || row.left.is_none()
    });
    rows.truncate(MOST_ROWS);
    rows
}

fn ok(pages: &Pages) -> u64 {
    pages.records.iter().map(|record| record.ok).sum()
}

/// The records that can have lost anything.
fn suspects(pages: &Pages) -> Pages {
    let records = pages
        .records
        .iter()
        .filter(|record| verdict::suspicious(record, &pages.updates));
    Pages {
        records: records.cloned().collect(),
        updates: pages.updates.clone(),
    }
}

fn summary(pages: &Pages, ok: u64, now: Duration, (event, updates, planned): Planned) -> String {
    let verdicts = verdict::judge(&pages.records, &pages.updates, now);
    let lost: usize = verdicts.iter().map(|class| class.lost.len()).sum();
    format!(
        "{:5.1} s of {:.0} s   {event} {} of {updates}   {} ok   {lost} lost",
        now.as_secs_f64(),
        planned.as_secs_f64(),
        pages.updates.at.len(),
        grouped(ok),
    )
}

fn left(row: &Row) -> String {
    row.left.map_or("newest".to_owned(), |left| {
        format!("{:.1} s left", left.as_secs_f64())
    })
}

fn drawn(rows: &[Row]) -> String {
    let mut out = format!(
        "  {:8} {:12} {:26} {:26} {:12} TCP\n",
        "version", "", "HTTP/1.1", "HTTP/2", "WebSocket"
    );
    for row in rows {
        let (http1, http2, websocket) = (row.http1, row.http2, row.websocket);
        // Writing to a String cannot fail.
        match writeln!(
            out,
            "  {:8} {:12} {http1:26} {http2:26} {websocket:12} {}",
            format!("v{}", row.version),
            left(row),
            row.tcp
        ) {
            Ok(()) | Err(_) => {}
        }
    }
    out
}

fn in_line(rows: &[Row]) -> String {
    let versions = rows.iter().map(|row| {
        let (http1, http2, websocket, tcp) = (row.http1, row.http2, row.websocket, row.tcp);
        format!(
            "v{} {}: h1 {http1}, h2 {http2}, ws {websocket}, tcp {tcp}",
            row.version,
            left(row)
        )
    });
    versions.collect::<Vec<_>>().join(" | ")
}

/// Standard output, and how many lines of it are drawn over next time.
#[derive(Debug)]
struct Screen {
    terminal: bool,
    lines: usize,
}

impl Screen {
    fn redraw(&mut self, text: &str) {
        const NO_WRAP: &str = "\x1b[?7l";
        const WRAP: &str = "\x1b[?7h";
        let mut out = String::new();
        if self.terminal {
            // Lines too long for the terminal are cut, or going up by lines would go wrong.
            out += NO_WRAP;
            if self.lines > 0 {
                out += &format!("\x1b[{}A", self.lines);
            }
        }
        for line in text.lines() {
            out += line;
            out += if self.terminal { "\x1b[K\n" } else { "\n" };
        }
        if self.terminal {
            // What is left of a longer picture below.
            out += "\x1b[J";
            out += WRAP;
            self.lines = text.lines().count();
        }
        let mut stdout = std::io::stdout().lock();
        // Who closed the output does not want to see more.
        match stdout
            .write_all(out.as_bytes())
            .and_then(|()| stdout.flush())
        {
            Ok(()) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{Class, Record, Saw, Updates};
    use super::*;

    #[test]
    fn connections_are_counted_by_version_protocol_and_state_and_empty_old_versions_go() {
        let s = Duration::from_secs;
        let updates = Updates {
            at: vec![s(2), s(5)],
            drain_time: s(4),
        };
        let record = |class, version, saw: &[Saw]| {
            let mut record = Record::new(class, s(0));
            record.version = Some(version);
            record.saw = saw.iter().map(|saw| (s(6), *saw)).collect();
            record
        };
        let records = vec![
            record(Class::H1Busy, 2, &[Saw::CloseHeader]),
            record(Class::H1Idle, 2, &[]),
            record(Class::Tcp, 3, &[]),
        ];
        let rows = rows(&Pages { records, updates }, s(7));
        assert_eq!(
            rows.iter().map(|row| row.version).collect::<Vec<_>>(),
            [3, 2]
        );
        assert_eq!((rows[0].left, rows[0].tcp.all), (None, 1));
        assert_eq!(
            (rows[1].left, rows[1].http1),
            (
                Some(s(2)),
                Cell {
                    all: 2,
                    told: 1,
                    leaving: 0
                }
            )
        );
        assert_eq!(rows[1].http1.to_string(), "2 (1 told)");
    }
}
