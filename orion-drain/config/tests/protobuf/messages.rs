//! From JSON to protobuf by a library, so that what we read from it was not written by us.

use std::sync::LazyLock;

use envoy_types::pb::google::protobuf::Any;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::Value;

pub(crate) const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
#[allow(dead_code, reason = "not every test has routes")]
pub(crate) const ROUTES: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(include_bytes!("../../src/protobuf.bin").as_slice())
        .expect("descriptors")
});

/// A listener in JSON as the message on the wire.
pub(crate) fn resource(json: Value) -> Any {
    message(LISTENER, json)
}

/// A route configuration in JSON as the message on the wire.
#[allow(dead_code, reason = "not every test has routes")]
pub(crate) fn routes(json: Value) -> Any {
    message(ROUTES, json)
}

fn message(kind: &str, mut json: Value) -> Any {
    if let Some(fields) = json.as_object_mut() {
        fields.remove("@type");
    }
    let name = kind.rsplit('/').next().expect("a name");
    let descriptor = POOL.get_message_by_name(name);
    let message = DynamicMessage::deserialize(descriptor.expect("a descriptor"), json);
    Any {
        type_url: kind.to_owned(),
        value: message
            .expect("a resource as protobuf has it")
            .encode_to_vec(),
    }
}
