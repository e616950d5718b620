//! What does it cost to keep the books of connections, in units of the least that could do it, and beside the design of
//! Orion's proposal?
//!
//! `cargo xtask bench registry` runs it and writes its part of `docs/performance.md`; `cargo bench -p conn-tracker --bench
//! registry -- [--json FILE] [--quick] [PART..]` runs parts alone. Nanoseconds are the machine's, ratios are the result.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
#![cfg_attr(loom, allow(unused, reason = "nothing is measured under loom"))]

#[cfg(not(loom))]
mod grow;
#[cfg(not(loom))]
mod open;
#[cfg(not(loom))]
mod patience;
#[cfg(not(loom))]
mod rounds;
#[cfg(not(loom))]
mod row;
#[cfg(not(loom))]
mod seed;
#[cfg(not(loom))]
mod snapshot;

#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name, live, ..] = &args[..] {
        if flag == "--grow" {
            grow::child(name, live);
            return;
        }
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
    let parts: [(&str, Part); 3] = [
        ("open", open::rows),
        ("grow", grow::rows),
        ("snapshot", snapshot::rows),
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
