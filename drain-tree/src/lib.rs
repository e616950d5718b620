//! drain-tree
