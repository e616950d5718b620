//! listener-versions
