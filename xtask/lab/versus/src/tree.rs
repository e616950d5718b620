//! All processes below this one, as the kernel counts them: processor time, memory, and how many
//! there are.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use tokio::time::sleep;

/// From now on, processes whose parents have ended are this one's children.
pub(crate) fn adopt_orphans() {
    // Without it an upgraded nginx is not counted after the old master's end.
    if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        eprintln!("orphans cannot be adopted: {error}");
    }
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stat {
    id: u32,
    parent: u32,
    zombie: bool,
    user: u64,
    system: u64,
    /// Of its children that have ended.
    reaped: u64,
}

/// `/proc/ID/stat`; the name may have spaces and parentheses in it.
fn parse(text: &str) -> Option<Stat> {
    let (id, rest) = text.split_once(" (")?;
    let (_, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        id: id.parse().ok()?,
        parent: fields.get(1)?.parse().ok()?,
        zombie: fields.first() == Some(&"Z"),
        user: number(11)?,
        system: number(12)?,
        reaped: number(13)? + number(14)?,
    })
}

/// All processes, by their parents.
fn by_parent() -> BTreeMap<u32, Vec<Stat>> {
    let mut all: BTreeMap<u32, Vec<Stat>> = BTreeMap::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        if !name
            .to_string_lossy()
            .starts_with(|c: char| c.is_ascii_digit())
        {
            continue;
        }
        let stat = fs::read_to_string(entry.path().join("stat"));
        if let Some(stat) = stat.ok().as_deref().and_then(parse) {
            all.entry(stat.parent).or_default().push(stat);
        }
    }
    all
}

/// All that this process has started, and what they have started.
fn below() -> Vec<Stat> {
    let all = by_parent();
    let mut found: Vec<Stat> = Vec::new();
    let mut parents = vec![std::process::id()];
    while let Some(parent) = parents.pop() {
        for stat in all.get(&parent).into_iter().flatten() {
            parents.push(stat.id);
            found.push(stat.clone());
        }
    }
    found
}

/// Processor time of all processes below this one, user and system.
pub(crate) fn processor_time() -> [Duration; 2] {
    let all = below();
    let sum = |of: fn(&Stat) -> u64| ticks(all.iter().map(of).sum());
    [sum(|stat| stat.user), sum(|stat| stat.system)]
}

/// Processor time of this process and of all below it, those that have ended too.
pub(crate) fn all_of_ours() -> Duration {
    let own = fs::read_to_string("/proc/self/stat");
    let own = own.ok().as_deref().and_then(parse);
    let all = below().into_iter().chain(own);
    ticks(all.map(|stat| stat.user + stat.system + stat.reaped).sum())
}

/// The kernel counts in hundredths of a second for all programs (`USER_HZ`).
pub(crate) const fn ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 10)
}

/// The processes below this one that run.
pub(crate) fn ids() -> Vec<u32> {
    let alive = below().into_iter().filter(|stat| !stat.zombie);
    alive.map(|stat| stat.id).collect()
}

/// How many processes below this one run.
pub(crate) fn count() -> usize {
    below().iter().filter(|stat| !stat.zombie).count()
}

/// The memory of all processes below this one, in bytes: what several share counts once (PSS).
pub(crate) fn memory() -> u64 {
    let of = |stat: Stat| {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", stat.id)).ok()?;
        let line = text.lines().find(|line| line.starts_with("Pss:"))?;
        line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()
    };
    below().into_iter().filter_map(of).sum::<u64>() * 1024
}

/// Ends whatever is left below this process, and waits until it is gone.
pub(crate) async fn end_children() {
    for _ in 0..200 {
        let alive: Vec<Stat> = below().into_iter().filter(|stat| !stat.zombie).collect();
        if alive.is_empty() {
            break;
        }
        for stat in alive {
            // It may have ended meanwhile.
            crate::proxies::signal(Some(stat.id), "KILL").ok();
        }
        sleep(Duration::from_millis(10)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let text = "42 (a (b) c) S 7 42 42 0 -1 4194560 1 2 3 4 150 50 11 22 20 0 1 0 9 10 11";
        let stat = parse(text).unwrap();
        assert_eq!((stat.id, stat.parent), (42, 7));
        assert_eq!((stat.user, stat.system, stat.reaped), (150, 50, 33));
        assert_eq!(ticks(stat.user), Duration::from_millis(1500));
    }
}
