//! proto-drain-http1
