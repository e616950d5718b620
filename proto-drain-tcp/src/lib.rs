//! proto-drain-tcp
