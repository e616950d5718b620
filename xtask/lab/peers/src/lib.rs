//! Nothing: the package exists for its benches and tests.
