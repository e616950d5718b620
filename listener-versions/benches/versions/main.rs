//! What do versions cost: clients during a storm of updates, a process that drains, whoever applies an update, each accept?
//!
//! `cargo bench -p listener-versions --features __bench --bench versions -- [--json FILE] [--quick] [PART..]` runs it; nanoseconds
//! are the machine's, ratios are the result. Linux only.
#![expect(
    clippy::disallowed_methods,
    reason = "a bench reads the clock and waits for it"
)]

mod accept;
mod config;
mod idle;
mod memory;
mod row;
mod storm;
mod updates;

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

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
        // Again, with as many descriptors as it may have: 10 000 listeners or connections need one each.
        let status = std::process::Command::new("sh")
            .args(["-c", r#"ulimit -n "$(ulimit -Hn)"; exec "$0" --raised "$@""#])
            .arg(std::env::current_exe().expect("this program"))
            .args(&args)
            .status();
        std::process::exit(status.expect("a shell").code().unwrap_or(1));
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
    type Part = fn(bool) -> Vec<row::Row>;
    let parts: [(&str, Part); 5] = [
        ("accept", accept::rows),
        ("updates", updates::rows),
        ("memory", memory::rows),
        ("storm", storm::rows),
        ("idle", idle::rows),
    ];
    let mut rows = vec![];
    for (name, part) in parts {
        if named.is_empty() || named.iter().any(|wanted| *wanted == name) {
            let new = part(quick);
            new.iter().for_each(|row| println!("{row}"));
            rows.extend(new);
        }
    }
    if let Some(file) = json {
        let rows: Vec<String> = rows.iter().map(row::Row::to_json).collect();
        std::fs::write(&file, format!("[\n{}\n]\n", rows.join(",\n"))).expect("the file can be written");
    }
}
