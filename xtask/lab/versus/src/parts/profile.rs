//! `profile`: whose code the processor time of a request is spent in.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::process::Command;

use crate::figure::Figures;
use crate::load::{Load, load};
use crate::owner::{Owner, owners};
use crate::proxies::{Has, Kind};
use crate::stage::Stage;
use crate::tree;

pub(crate) const MEANING: &str = "\
Whose code the processor time of a request is spent in, in µs: `perf record` looks 1 999 times a second at what the processes of a proxy do
under the load of the part *speed*, and the time that the kernel counts for a request is divided in these shares. A function counts for
the crate that it stands in; what the compiler has put into a caller counts for the caller. *The kernel* is system calls, sockets and
waking of threads; *the C library* is allocation and copying. The plain hyper-util server answers itself, so it has no row of a proxy.";

/// The loads whose gap to HAProxy and nginx is asked for.
const LOADS: [Load; 4] = [
    Load::Direct,
    Load::Proxied,
    Load::Http2Direct,
    Load::Http2Proxied,
];

/// Whether `perf` is there and may look at processes.
async fn can_look() -> bool {
    let mut perf = Command::new("perf");
    perf.args(["stat", "-e", "cpu-clock", "true"]);
    perf.stdout(Stdio::null()).stderr(Stdio::null());
    perf.status().await.is_ok_and(|status| status.success())
}

pub(crate) async fn play(stage: &Stage, lasts: Duration) -> anyhow::Result<Figures> {
    let mut figures = Figures::default();
    if !can_look().await {
        stage.leave_out("perf is not installed or may not be used: no profile".to_owned());
        return Ok(figures);
    }
    for what in LOADS {
        let can = |kind: &Kind| {
            matches!(what, Load::Direct | Load::Http2Direct) || kind.has(Has::Upstream)
        };
        for kind in stage.kinds.iter().copied().filter(can) {
            println!("profile: {}, {}", what.name(), kind.name());
            let played = stage.quietly(
                |profile: &Profile| profile.others,
                || profile(stage, kind, what, lasts),
            );
            if let Some(profile) = stage.or_say(kind.name(), what.name(), played.await) {
                let table = format!("Of the processor time, in µs: {}", what.name());
                for owner in Owner::ALL {
                    let Some(share) = profile.shares.get(&owner) else {
                        continue;
                    };
                    figures
                        .at(&table, owner.name(), kind.name(), "")
                        .add(share * profile.time, profile.others);
                }
            }
        }
    }
    figures.0.sort_by_key(|figure| {
        let table = LOADS
            .iter()
            .position(|what| figure.table.ends_with(&format!(": {}", what.name())));
        let row = Owner::ALL
            .iter()
            .position(|owner| owner.name() == figure.row);
        (table, row)
    });
    Ok(figures)
}

#[derive(Debug)]
struct Profile {
    /// Of a request, in µs, without perf beside it.
    time: f64,
    /// Parts of one.
    shares: BTreeMap<Owner, f64>,
    others: f64,
}

async fn profile(
    stage: &Stage,
    kind: Kind,
    what: Load,
    lasts: Duration,
) -> anyhow::Result<Profile> {
    let folder = tempfile::tempdir()?;
    let proxy = stage.proxy(kind, folder.path()).await?;
    let played = async {
        let cost = load(&proxy.place, what, lasts).await?;
        let seen = folder.path().join("perf.data");
        let record = record(tree::ids(), &seen, lasts);
        let (again, recorded) = tokio::join!(load(&proxy.place, what, lasts), record);
        recorded?;
        again?;
        Ok(Profile {
            time: cost.user + cost.system,
            shares: owners(&report(&seen).await?),
            others: cost.others,
        })
    };
    let played = played.await;
    proxy.stop().await;
    played
}

/// Looks at these processes for so long.
async fn record(ids: Vec<u32>, into: &Path, lasts: Duration) -> anyhow::Result<()> {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let mut perf = Command::new("perf");
    perf.args(["record", "--quiet", "--freq=1999", "--pid"]);
    perf.arg(ids.join(",")).arg("--output").arg(into);
    perf.args(["--", "sleep"])
        .arg(lasts.as_secs_f64().to_string());
    let output = perf.output().await.context("perf record")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "perf record: {said}");
    Ok(())
}

/// One line for each function: its share, the program or library it stands in, its name as the
/// linker knows it.
async fn report(seen: &Path) -> anyhow::Result<String> {
    let mut perf = Command::new("perf");
    perf.args(["report", "--stdio", "--no-demangle", "--sort=dso,symbol"]);
    perf.args(["--fields=overhead,dso,symbol", "--field-separator=|"]);
    perf.args(["--percent-limit=0", "--input"]).arg(seen);
    let output = perf.output().await.context("perf report")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "perf report: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
