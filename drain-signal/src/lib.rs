//! drain-signal
