//! How the benches of this workspace measure, and the rows that they print.
//!
//! A bench is a program: it makes [`Row`]s in parts and hands them to [`report`](Program::report).
//! `cargo xtask bench` runs several of them with `--json` and writes the rows to
//! `docs/performance.md`.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

mod instructions;
mod program;
mod rounds;
mod row;
mod system_calls;

pub use instructions::instructions;
pub use program::Program;
pub use rounds::{Case, Scale, compare, median, time};
pub use row::{Row, Target};
pub use system_calls::system_calls;
