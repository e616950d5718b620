//! What goes over the stream between an `XdsClient` and a control plane.

mod client;
#[path = "../../../config/tests/protobuf/messages.rs"]
mod messages;
mod plane;
