//! Listeners as messages and from a control plane.

mod client;
mod convert;
mod descriptors;
mod support;

use support::protobuf;
