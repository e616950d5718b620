//! What does it cost to register connections, in units of the least that could do it, and beside
//! the design of Orion's proposal?
//!
//! `cargo xtask bench registry` runs it and writes its part of `docs/performance.md`; `cargo bench --bench registry --
//! [--json FILE] [--quick] [PART..]` in `xtask/lab/peers` runs parts alone. Nanoseconds are the machine's, ratios are the result.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

mod grow;
mod open;
mod patience;
mod proposal;
mod snapshot;

use measure::{Program, Row, Scale};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name, live, ..] = &args[..] {
        if flag == "--grow" {
            grow::child(name, live);
            return;
        }
    }
    let program = Program::from_args();
    let scale = program.scale();
    type Part = fn(&Scale) -> Vec<Row>;
    let parts: [(&str, Part); 3] = [
        ("open", open::rows),
        ("grow", grow::rows),
        ("snapshot", snapshot::rows),
    ];
    program.report(parts.map(|(name, part)| (name, move || part(&scale))));
}

/// How many connections are there.
const fn live(scale: &Scale) -> usize {
    if scale.quick { 1000 } else { 1_000_000 }
}
