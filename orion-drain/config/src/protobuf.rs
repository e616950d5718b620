//! Listeners as protobuf messages: turned into protobuf's JSON mapping, so that there is one
//! reader, with one set of rules, for files and for control planes.
//!
//! A field whose number is not known becomes `unknown_<number>`: no type has it, so it is reported
//! with all that is unknown, and its content counts when two listeners are compared. An `Any` of a
//! type that is not known keeps its type URL, by which it is refused wherever its type matters.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use envoy_types::pb::envoy::config::listener::v3 as pb;
use envoy_types::pb::google::protobuf::Any;
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage as _,
    SerializeOptions, UnknownField, Value as Field,
};
use serde_json::{Map, Value};

use super::any::message_name;
use super::path::FieldPath;
use super::{ConfigError, Listener, ListenerUpdate, Loaded, RouteUpdate};

/// What the messages look like that a listener can hold: an excerpt of the descriptors that
/// `envoy-types` is generated from.
static DESCRIPTORS: &[u8] = include_bytes!("protobuf.bin");

/// Empty if the descriptors could not be read, which a test rules out.
static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).unwrap_or_default());

/// How many `Any` may be inside each other. A listener has three.
const NESTED: usize = 16;

impl Listener {
    /// Reads and checks a listener of `envoy-types`, by the same rules as
    /// [`from_json`](Self::from_json). Fields that newer versions of the API have are lost in that
    /// type; [`ListenerUpdate::from_resources`] sees them.
    ///
    /// # Errors
    ///
    /// The first field that has a wrong value, or every field that breaks a rule.
    pub fn from_protobuf(listener: &pb::Listener) -> Result<Loaded<Self>, ConfigError> {
        let bytes = listener.encode_to_vec();
        let json = known(super::discovery::LISTENER, &bytes, &FieldPath::root(), 0)?;
        Self::from_prepared(json)
    }
}

impl ListenerUpdate {
    /// Reads the resources of a discovery response as it comes over gRPC, by the same rules as
    /// [`from_json`](Self::from_json). What is wrong with a single listener is in
    /// [`rejected`](Self::rejected).
    pub fn from_resources<'r>(
        version_info: &str,
        resources: impl IntoIterator<Item = &'r Any>,
    ) -> Self {
        Self::of(version_info.to_owned(), messages(resources))
    }
}

impl RouteUpdate {
    /// Reads the resources of a discovery response as it comes over gRPC, by the same rules as a
    /// table in a listener. Those of which the name is not `wanted` are left out unread, as in
    /// Envoy; what is wrong with another one is in [`rejected`](Self::rejected).
    pub fn from_resources<'r>(
        version_info: &str,
        resources: impl IntoIterator<Item = &'r Any>,
        wanted: impl Fn(&str) -> bool,
    ) -> Self {
        Self::of(version_info.to_owned(), messages(resources), wanted)
    }
}

/// Each resource with its `@type`, or why it cannot be read.
fn messages<'r>(
    resources: impl IntoIterator<Item = &'r Any>,
) -> impl Iterator<Item = Result<Value, ConfigError>> {
    let root = FieldPath::root();
    let resources = resources.into_iter().enumerate();
    resources.map(move |(index, resource)| {
        let at = root.key("resources").index(index);
        any(&resource.type_url, &resource.value, &at, 0)
    })
}

/// A message with its `@type`; of an unknown type with its bytes.
fn any(type_url: &str, bytes: &[u8], at: &FieldPath, depth: usize) -> Result<Value, ConfigError> {
    let name = message_name(type_url);
    let mut message = match POOL.get_message_by_name(name) {
        Some(_) if depth >= NESTED => return Err(ConfigError::shape(at, "too deep")),
        Some(_) => match known(name, bytes, at, depth + 1)? {
            Value::Object(fields) => fields,
            value => Map::from_iter([("value".to_owned(), value)]),
        },
        None => Map::from_iter([("value".to_owned(), Value::String(hex(bytes)))]),
    };
    message.insert("@type".to_owned(), Value::String(type_url.to_owned()));
    Ok(Value::Object(message))
}

fn known(name: &str, bytes: &[u8], at: &FieldPath, depth: usize) -> Result<Value, ConfigError> {
    let refuse =
        |why: &dyn std::fmt::Display| ConfigError::shape(at, format!("not a `{name}`: {why}"));
    let descriptor = POOL.get_message_by_name(name);
    let descriptor = descriptor.ok_or_else(|| refuse(&"its type is not known"))?;
    let decoded = DynamicMessage::decode(descriptor, bytes).map_err(|error| refuse(&error))?;
    message(&decoded, at, depth)
}

fn message(message: &DynamicMessage, at: &FieldPath, depth: usize) -> Result<Value, ConfigError> {
    let descriptor = message.descriptor();
    let name = descriptor.full_name();
    if name == "google.protobuf.Any" {
        let part = |number| message.get_field_by_number(number);
        let (url, bytes) = (part(1), part(2));
        let url = url
            .as_ref()
            .and_then(|url| url.as_str())
            .unwrap_or_default();
        let bytes = bytes.as_ref().and_then(|bytes| bytes.as_bytes());
        return any(url, bytes.map_or(&[], |bytes| bytes), at, depth);
    }
    if name.starts_with("google.protobuf.") {
        return well_known(message, at);
    }
    let mut fields = Map::new();
    for (field, value) in message.fields() {
        let at = at.key(field.name());
        fields.insert(field.name().to_owned(), content(&field, value, &at, depth)?);
    }
    let mut unknown = BTreeMap::<u32, String>::new();
    for field in message.unknown_fields() {
        let content = unknown.entry(field.number()).or_default();
        content.push_str(&bytes_of(field));
    }
    for (number, content) in unknown {
        fields.insert(format!("unknown_{number}"), Value::String(content));
    }
    Ok(Value::Object(fields))
}

fn content(
    field: &FieldDescriptor,
    value: &Field,
    at: &FieldPath,
    depth: usize,
) -> Result<Value, ConfigError> {
    let one = |kind: &Kind, value: &Field, at: &FieldPath| match value {
        Field::Message(inner) => message(inner, at, depth),
        Field::EnumNumber(number) => {
            let name = kind.as_enum().and_then(|kind| kind.get_value(*number));
            Ok(name.map_or_else(|| (*number).into(), |name| name.name().into()))
        }
        Field::Bool(value) => Ok((*value).into()),
        Field::I32(number) => Ok((*number).into()),
        Field::I64(number) => Ok((*number).into()),
        Field::U32(number) => Ok((*number).into()),
        Field::U64(number) => Ok((*number).into()),
        Field::F32(number) => Ok(f64::from(*number).into()),
        Field::F64(number) => Ok((*number).into()),
        Field::String(text) => Ok(text.as_str().into()),
        Field::Bytes(bytes) => Ok(hex(bytes).into()),
        Field::List(_) | Field::Map(_) => Err(ConfigError::shape(at, "a list in a list")),
    };
    let kind = field.kind();
    match value {
        Field::List(items) => {
            let items = items.iter().enumerate();
            let items = items.map(|(index, item)| one(&kind, item, &at.index(index)));
            items.collect::<Result<Vec<_>, _>>().map(Value::Array)
        }
        Field::Map(entries) => {
            let kind = kind
                .as_message()
                .map(|entry| entry.map_entry_value_field().kind());
            let entries = entries.iter().map(|(key, value)| {
                let key = key_text(key);
                let value = one(kind.as_ref().unwrap_or(&Kind::Bool), value, &at.key(&key))?;
                Ok((key, value))
            });
            entries.collect::<Result<_, _>>().map(Value::Object)
        }
        value => one(&kind, value, at),
    }
}

/// Durations, wrappers and the like, as protobuf's JSON mapping says.
fn well_known(message: &DynamicMessage, at: &FieldPath) -> Result<Value, ConfigError> {
    let options = SerializeOptions::new();
    let json = message.serialize_with_options(serde_json::value::Serializer, &options);
    json.map_err(|error| ConfigError::shape(at, error.to_string()))
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

/// The field as it was on the wire.
fn bytes_of(field: &UnknownField) -> String {
    let mut bytes = Vec::new();
    field.encode(&mut bytes);
    hex(&bytes)
}

/// Bytes are not read here; it is enough that other bytes are another text.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_descriptors_can_be_read() {
        assert!(
            POOL.get_message_by_name(super::super::discovery::LISTENER)
                .is_some()
        );
    }
}
