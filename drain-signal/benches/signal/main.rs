//! What does a drain signal cost, in units of the least that could do it, and what do others cost in the same minute?
//!
//! `cargo xtask bench signal` runs it and writes its part of `docs/performance.md`; `cargo bench -p drain-signal --bench signal --
//! [--json FILE] [--quick] [ROW..]` runs rows alone. Nanoseconds are the machine's, ratios are the result.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
#![cfg_attr(loom, allow(unused, reason = "nothing is measured under loom"))]

#[cfg(not(loom))]
mod check;
#[cfg(not(loom))]
mod crowd;
#[cfg(not(loom))]
mod fan_out;
#[cfg(not(loom))]
mod guard;
#[cfg(not(loom))]
mod instructions;
#[cfg(not(loom))]
mod last;
#[cfg(not(loom))]
mod memory;
#[cfg(not(loom))]
mod repoll;
#[cfg(not(loom))]
mod rounds;
#[cfg(not(loom))]
mod row;

#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
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
    // Run as a test, it only shows that it runs.
    let quick = args.iter().any(|arg| arg == "--quick") || !args.iter().any(|arg| arg == "--bench");
    let json = args
        .iter()
        .position(|arg| arg == "--json")
        .map(|at| args[at + 1].clone());
    let named: Vec<&String> = args
        .iter()
        .filter(|arg| !arg.starts_with("--") && Some(*arg) != json.as_ref())
        .collect();
    let scale = rounds::Scale::new(quick);
    type Part = fn(&rounds::Scale) -> Vec<row::Row>;
    let parts: [(&str, Part); 7] = [
        ("memory", memory::rows),
        ("check", check::rows),
        ("repoll", repoll::rows),
        ("guard", guard::rows),
        ("instructions", instructions::rows),
        ("last", last::rows),
        ("fan-out", fan_out::rows),
    ];
    let mut rows = vec![];
    for (name, part) in parts {
        if named.is_empty() || named.iter().any(|wanted| *wanted == name) {
            let new = part(&scale);
            new.iter().for_each(|row| println!("{row}"));
            rows.extend(new);
        }
    }
    if let Some(file) = json {
        let rows: Vec<String> = rows.iter().map(row::Row::to_json).collect();
        std::fs::write(&file, format!("[\n{}\n]\n", rows.join(",\n"))).expect("the file can be written");
    }
}
