//! What the tests share.

pub(crate) mod plane;
pub(crate) mod protobuf;
