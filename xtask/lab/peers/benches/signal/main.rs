//! What does a drain signal cost, in units of the least that could do it, and what do others cost
//! in the same minute?
//!
//! `cargo xtask bench signal` runs it and writes its part of `docs/performance.md`; `cargo bench --bench signal -- [--json FILE]
//! [--quick] [ROW..]` in `xtask/lab/peers` runs rows alone. Nanoseconds are the machine's, ratios are the result.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

mod check;
mod crowd;
mod fan_out;
mod guard;
mod instructions;
mod last;
mod memory;
mod repoll;

use measure::{Program, Row, Scale};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = args.iter().position(|arg| arg == "--memory-of") {
        memory::child(&args[at + 1]);
        return;
    }
    if let Some(at) = args.iter().position(|arg| arg == "--instructions-of") {
        instructions::child(&args[at + 1], &args[at + 2], &args[at + 3]);
        return;
    }
    let program = Program::from_args();
    let scale = program.scale();
    type Part = fn(&Scale) -> Vec<Row>;
    let parts: [(&str, Part); 8] = [
        ("memory", memory::rows),
        ("check", check::rows),
        ("repoll", repoll::rows),
        ("guard", guard::rows),
        ("instructions", instructions::rows),
        ("last", last::rows),
        ("fan-out", fan_out::rows),
        ("gradual", fan_out::gradual_rows),
    ];
    program.report(parts.map(|(name, part)| (name, move || part(&scale))));
}
