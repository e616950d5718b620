//! The end of a process: one program of all tests, which is linked once.

mod audit;
mod several;
