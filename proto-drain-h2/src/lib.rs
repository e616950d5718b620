//! proto-drain-h2
