//! Listeners as messages and from a control plane.

mod bootstrap;
mod client;
mod convert;
mod descriptors;
mod support;

use support::protobuf;
