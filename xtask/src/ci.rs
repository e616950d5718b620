//! `cargo xtask ci`: a list of named steps, each runnable alone; all run even if one fails; a
//! summary last.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use xshell::Shell;

use crate::{adopter, full, lab, steps};

/// What to check.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Only these steps, by name.
    steps: Vec<String>,
    /// Also the steps that need tools to be compiled or a network.
    #[arg(long)]
    full: bool,
    /// Print the names of the steps and what each does.
    #[arg(long)]
    list: bool,
}

/// How a step ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It found nothing wrong; what it counted, if anything.
    Passed(String),
    /// It could not run here, and why.
    Skipped(String),
}

impl Outcome {
    pub(crate) const PASSED: Self = Self::Passed(String::new());
}

struct Step {
    name: &'static str,
    what: &'static str,
    run: fn(&Shell) -> Result<Outcome>,
}

/// Needs Rust with rustfmt and clippy, git and a C compiler. The order: quick answers first.
const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        what: "the code is formatted",
        run: steps::fmt,
    },
    Step {
        name: "layers",
        what: "crates import only whom they may",
        run: steps::layers,
    },
    Step {
        name: "adopter",
        what: "a program that depends on the crates gets no model checker into its lock file",
        run: adopter::step,
    },
    Step {
        name: "tidy",
        what: "the rules of the house that no other tool knows",
        run: steps::tidy,
    },
    Step {
        name: "clippy",
        what: "no warning in any crate, its tests, benches and examples",
        run: steps::clippy,
    },
    Step {
        name: "features",
        what: "each library below the facade alone: no warning without features and with all of them",
        run: steps::features,
    },
    Step {
        name: "doc",
        what: "the documentation has no broken link",
        run: steps::doc,
    },
    Step {
        name: "test",
        what: "tests, doctests and README examples of each crate",
        run: steps::test,
    },
    Step {
        name: "peers",
        what: "drains run under smol, in the workspace of the benches' peers",
        run: steps::peers,
    },
    Step {
        name: "loom",
        what: "every interleaving of the models in tests/loom",
        run: steps::loom,
    },
    Step {
        name: "package",
        what: "the crates build as crates.io would get them",
        run: steps::package,
    },
    Step {
        name: "demo",
        what: "three listener updates, and a hot restart, under live traffic lose nothing",
        run: steps::demo,
    },
];

/// Those that need a tool install it if it is not there.
const FULL: &[Step] = &[
    Step {
        name: "deny",
        what: "licences, sources and bans (deny.toml)",
        run: full::deny,
    },
    Step {
        name: "powerset",
        what: "each published library alone: no warning without features, with each feature and each pair",
        run: full::powerset,
    },
    Step {
        name: "benches",
        what: "no warning in the benches that compare with crates of others",
        run: full::benches,
    },
    Step {
        name: "semver",
        what: "the public API keeps its promises since the last release",
        run: full::semver,
    },
    Step {
        name: "stress",
        what: "each test in a process of its own, and the core's fifty times over",
        run: full::stress,
    },
    Step {
        name: "mutants",
        what: "a small change of a protocol crate makes one of its tests fail (a thirtieth a day, XTASK_MUTANTS_SHARE=0/1: all)",
        run: full::mutants,
    },
    Step {
        name: "shuttle",
        what: "crowds on several executors, in random interleavings",
        run: full::shuttle,
    },
    Step {
        name: "elsewhere",
        what: "the leaf crates compile for Windows and macOS",
        run: full::elsewhere,
    },
    Step {
        name: "native",
        what: "the leaf crates compile for the system that this is",
        run: full::native,
    },
    Step {
        name: "msrv",
        what: "the published crates compile with the oldest compiler that they promise",
        run: full::msrv,
    },
    Step {
        name: "soak",
        what: "nothing is left behind by 100 000 connections and 2 000 updates",
        run: full::soak,
    },
    Step {
        name: "rarely",
        what: "clients that speak rarely lose no request to an update",
        run: full::rarely,
    },
    Step {
        name: "memcheck",
        what: "the core's tests under valgrind",
        run: full::memcheck,
    },
    Step {
        name: "jemalloc",
        what: "edge builds with jemalloc and serves (skipped without make)",
        run: full::jemalloc,
    },
    Step {
        name: "newcomer",
        what: "who follows docs/adopting.md ends with a working drain",
        run: full::newcomer,
    },
    Step {
        name: "prometheus",
        what: "the exposition before promtool and Prometheus' Python client",
        run: |_| lab::step(&lab::PROMETHEUS, &[]),
    },
    Step {
        name: "conformance",
        what: "edge beside a real Envoy, rule by rule",
        run: |_| lab::step(&lab::CONFORMANCE, &[]),
    },
    Step {
        name: "clients",
        what: "a drain as seen by clients that are not ours (XTASK_OFFLINE=1 does without those that are absent)",
        run: |_| lab::step(&lab::CLIENTS, &[]),
    },
    Step {
        name: "versus",
        what: "the clients of `cargo xtask versus` find out a proxy that drops connections, and its peers have no warning",
        run: full::versus,
    },
    Step {
        name: "xds",
        what: "one control plane configures Envoy and edge alike (skipped where PyPI cannot be reached)",
        run: |_| lab::step(&lab::XDS, &[]),
    },
];

enum Verdict {
    Ended(Outcome),
    Failed(anyhow::Error),
}

/// A step that has been taken.
struct Ended {
    name: &'static str,
    verdict: Verdict,
    took: Duration,
    /// Of all processors, by the programs that it has started: on a busy machine it says more than
    /// the time.
    processor: Duration,
}

/// What the programs started so far, and ended, have used of processors; zero where the kernel does
/// not say.
fn processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name in parentheses, by proc(5): cutime and cstime, in hundredths of a second.
    let behind = stat.rsplit(") ").next().unwrap_or_default();
    let fields = behind.split(' ').skip(13).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Runs the steps and says how each ended.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if options.list {
        for (steps, note) in [(STEPS, ""), (FULL, " (--full)")] {
            for step in steps {
                println!("{:<11} {}{note}", step.name, step.what);
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let sh = Shell::new()?;
    sh.change_dir(crate::root());
    // Nothing here is built twice by the same person: incremental state would only cost time and
    // space.
    sh.set_var("CARGO_INCREMENTAL", "0");

    let mut ended = Vec::new();
    for step in chosen(options)? {
        println!("\n=== {}: {}", step.name, step.what);
        let (began, used) = (now(), processor());
        let verdict = match (step.run)(&sh) {
            Ok(outcome) => Verdict::Ended(outcome),
            Err(error) => {
                println!("{}: {error:#}", step.name);
                Verdict::Failed(error)
            }
        };
        ended.push(Ended {
            name: step.name,
            verdict,
            took: began.elapsed(),
            processor: processor().saturating_sub(used),
        });
    }
    Ok(summary(&ended))
}

#[expect(
    clippy::disallowed_methods,
    reason = "steps are measured as a clock on the wall would"
)]
fn now() -> Instant {
    Instant::now()
}

fn all() -> impl Iterator<Item = &'static Step> {
    STEPS.iter().chain(FULL)
}

/// The first name of no step.
pub(crate) fn unknown(options: &Options) -> Option<&String> {
    options
        .steps
        .iter()
        .find(|name| all().all(|step| step.name != **name))
}

fn chosen(options: &Options) -> Result<Vec<&'static Step>> {
    if options.steps.is_empty() {
        return Ok(if options.full {
            all().collect()
        } else {
            STEPS.iter().collect()
        });
    }
    if let Some(unknown) = unknown(options) {
        let names: Vec<_> = all().map(|step| step.name).collect();
        bail!(
            "there is no step `{unknown}`; there are: {}",
            names.join(", ")
        );
    }
    let named = |step: &&Step| options.steps.iter().any(|name| name == step.name);
    Ok(all().filter(named).collect())
}

fn summary(ended: &[Ended]) -> ExitCode {
    println!("\n=== summary");
    let mut failed = Vec::new();
    for Ended {
        name,
        verdict,
        took,
        processor,
    } in ended
    {
        let (word, note) = match verdict {
            Verdict::Ended(Outcome::Passed(note)) => ("ok", note.clone()),
            Verdict::Ended(Outcome::Skipped(reason)) => ("SKIPPED", reason.clone()),
            Verdict::Failed(error) => {
                failed.push(*name);
                // The outermost sentence; the whole chain stands where the step ran.
                ("FAILED", error.to_string())
            }
        };
        println!(
            "{name:<11} {word:<8} {:>6.1} s, processors {:>6.1} s  {note}",
            took.as_secs_f64(),
            processor.as_secs_f64()
        );
    }
    let total: Duration = ended.iter().map(|ended| ended.took).sum();
    if failed.is_empty() {
        println!(
            "all {} steps ended well in {:.0} s",
            ended.len(),
            total.as_secs_f64()
        );
        ExitCode::SUCCESS
    } else {
        println!(
            "failed: {}; run one alone with `cargo xtask ci {}`",
            failed.join(", "),
            failed[0]
        );
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(steps: &[&str], full: bool) -> Options {
        Options {
            steps: steps.iter().map(|&name| name.to_owned()).collect(),
            full,
            list: false,
        }
    }

    fn names(options: &Options) -> Vec<&'static str> {
        chosen(options)
            .expect("known steps")
            .iter()
            .map(|step| step.name)
            .collect()
    }

    #[test]
    fn without_names_every_step_runs_and_full_adds_to_them() {
        assert_eq!(names(&options(&[], false)).len(), STEPS.len());
        assert_eq!(names(&options(&[], true)).len(), STEPS.len() + FULL.len());
    }

    #[test]
    fn named_steps_run_alone_in_the_order_of_the_list() {
        assert_eq!(names(&options(&["test", "fmt"], false)), ["fmt", "test"]);
        assert_eq!(names(&options(&["deny"], false)), ["deny"]);
    }

    #[test]
    fn an_unknown_step_is_refused_with_the_names_there_are() {
        let error = chosen(&options(&["tset"], false))
            .err()
            .expect("refused")
            .to_string();
        assert!(
            error.contains("tset") && error.contains("clippy"),
            "{error}"
        );
    }

    #[test]
    fn one_failed_step_fails_the_whole() {
        let step = |name, verdict| Ended {
            name,
            verdict,
            took: Duration::ZERO,
            processor: Duration::ZERO,
        };
        let ok = || step("fmt", Verdict::Ended(Outcome::PASSED));
        let skipped = Outcome::Skipped("no network".to_owned());
        let skipped = step("deny", Verdict::Ended(skipped));
        assert_eq!(summary(&[ok(), skipped]), ExitCode::SUCCESS);
        let failed = step("test", Verdict::Failed(anyhow::anyhow!("2 failed")));
        assert_eq!(summary(&[failed, ok()]), ExitCode::FAILURE);
    }
}
