//! What do versions cost: clients during a storm of updates, a process that drains, the thread that
//! applies an update, each accept?
//!
//! `cargo bench -p listener-versions --features __bench,handover --bench versions -- [--json FILE]
//! [--quick] [PART..]` runs it; nanoseconds are the machine's, ratios are the result. Linux only.
#![expect(
    clippy::disallowed_methods,
    reason = "a bench reads the clock and waits for it"
)]

mod accept;
mod config;
mod idle;
mod many;
mod memory;
mod storm;
mod updates;

use measure::{Program, Row};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, rest @ ..] = &args[..] {
        if flag == "--drain" {
            idle::server(rest);
            return;
        }
        if flag == "--hold" {
            idle::holder(rest);
            return;
        }
    }
    if !args.iter().any(|arg| arg == "--raised") {
        // Again, with as many descriptors as it may have: 10 000 listeners or connections need one
        // each.
        let status = std::process::Command::new("sh")
            .args([
                "-c",
                r#"ulimit -n "$(ulimit -Hn)"; exec "$0" --raised "$@""#,
            ])
            .arg(std::env::current_exe().expect("this program"))
            .args(&args)
            .status();
        std::process::exit(status.expect("a shell").code().unwrap_or(1));
    }
    let program = Program::from_args();
    let quick = program.quick;
    type Part = fn(bool) -> Vec<Row>;
    let parts: [(&str, Part); 6] = [
        ("accept", accept::rows),
        ("updates", updates::rows),
        ("memory", memory::rows),
        ("many", many::rows),
        ("storm", storm::rows),
        ("idle", idle::rows),
    ];
    program.report(parts.map(|(name, part)| (name, move || part(quick))));
}
