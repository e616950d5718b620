//! What every bench does with its arguments and its rows.

use crate::{Row, Scale};

/// The arguments of a bench: `[--json FILE] [--quick] [PART..]`.
#[derive(Debug)]
pub struct Program {
    /// Run as a test, a bench only shows that it runs.
    pub quick: bool,
    json: Option<String>,
    named: Vec<String>,
}

impl Program {
    /// Reads the program's arguments.
    pub fn from_args() -> Self {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let has = |flag: &str| args.iter().any(|arg| arg == flag);
        let json = args.iter().position(|arg| arg == "--json");
        let json = json.and_then(|at| args.get(at + 1)).cloned();
        let named = args
            .iter()
            .filter(|arg| !arg.starts_with("--") && Some(*arg) != json.as_ref())
            .cloned()
            .collect();
        Self {
            quick: has("--quick") || !has("--bench"),
            json,
            named,
        }
    }

    /// How much of everything.
    pub const fn scale(&self) -> Scale {
        Scale::new(self.quick)
    }

    /// Whether this part is to run: all do unless some are named.
    pub fn wants(&self, part: &str) -> bool {
        self.named.is_empty() || self.named.iter().any(|named| named == part)
    }

    /// Runs the parts that are wanted, each of which makes rows; prints the rows as they come, and
    /// writes them to the file.
    ///
    /// # Panics
    ///
    /// When the file cannot be written.
    pub fn report<'a>(
        &self,
        parts: impl IntoIterator<Item = (&'a str, impl FnOnce() -> Vec<Row>)>,
    ) {
        let mut rows = vec![];
        for (name, part) in parts {
            if self.wants(name) {
                let new = part();
                new.iter().for_each(|row| println!("{row}"));
                rows.extend(new);
            }
        }
        if let Some(file) = &self.json {
            let rows: Vec<String> = rows.iter().map(Row::to_json).collect();
            let written = std::fs::write(file, format!("[\n{}\n]\n", rows.join(",\n")));
            assert!(written.is_ok(), "{file} cannot be written");
        }
    }
}
