//! The facade: one program, which is linked once, of all tests that need no feature and start no
//! example.

mod auto_traits;
mod orion;
mod serve_all;
mod shutdown;
mod stats;
