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
use super::resources::{Raw, Resource as _, place};
use super::{ConfigError, FieldError, Listener, ListenerUpdate, Loaded, RouteUpdate};

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
    /// Every field that is wrong.
    pub fn from_protobuf(listener: &pb::Listener) -> Result<Loaded<Self>, ConfigError> {
        let mut reader = Reader::default();
        let bytes = listener.encode_to_vec();
        let json = reader.message_of(Self::KIND, &bytes, &FieldPath::root(), 0);
        ConfigError::beside(reader.unreadable, Self::from_prepared(json))
    }
}

impl ListenerUpdate {
    /// Reads the resources of a discovery response as it comes over gRPC, by the same rules as
    /// [`from_json`](Self::from_json). What is wrong with a single listener is in
    /// [`rejected`](Self::rejected). `None` has a place in the response, and nothing to read.
    pub fn from_resources<'r>(
        version_info: &str,
        resources: impl IntoIterator<Item = impl Into<Option<&'r Any>>>,
    ) -> Self {
        Self::of(version_info.to_owned(), messages(resources))
    }
}

impl RouteUpdate {
    /// Reads the resources of a discovery response as it comes over gRPC, by the same rules as a
    /// table in a listener. Those of which the name is not `wanted` are left out unread, as in
    /// Envoy; what is wrong with another one is in [`rejected`](Self::rejected). `None` has a place
    /// in the response, and nothing to read.
    pub fn from_resources<'r>(
        version_info: &str,
        resources: impl IntoIterator<Item = impl Into<Option<&'r Any>>>,
        wanted: impl Fn(&str) -> bool,
    ) -> Self {
        Self::of(version_info.to_owned(), messages(resources), wanted)
    }
}

/// Each resource with its `@type`.
fn messages<'r>(
    resources: impl IntoIterator<Item = impl Into<Option<&'r Any>>>,
) -> impl Iterator<Item = Option<Raw>> {
    let resources = resources.into_iter().enumerate();
    resources.map(|(index, resource)| {
        let resource = resource.into()?;
        let mut reader = Reader::default();
        let json = reader.any(&resource.type_url, &resource.value, &place(index), 0);
        Some(Raw {
            json,
            unreadable: reader.unreadable,
        })
    })
}

/// Turns messages into JSON. What cannot be turned is empty there, so that everything else is read.
#[derive(Default)]
struct Reader {
    unreadable: Vec<FieldError>,
}

impl Reader {
    fn refuse(&mut self, at: &FieldPath, why: impl std::fmt::Display) {
        self.unreadable.push(FieldError::new(at, why));
    }

    /// A message with its `@type`; of an unknown type with its bytes.
    fn any(&mut self, type_url: &str, bytes: &[u8], at: &FieldPath, depth: usize) -> Value {
        let name = message_name(type_url);
        let value = match POOL.get_message_by_name(name) {
            Some(_) if depth >= NESTED => {
                self.refuse(at, "too deep");
                Value::Object(Map::new())
            }
            Some(_) => self.message_of(name, bytes, at, depth + 1),
            None => Value::String(hex(bytes)),
        };
        let mut message = match value {
            Value::Object(fields) => fields,
            value => Map::from_iter([("value".to_owned(), value)]),
        };
        message.insert("@type".to_owned(), Value::String(type_url.to_owned()));
        Value::Object(message)
    }

    /// The message of this type.
    fn message_of(&mut self, name: &str, bytes: &[u8], at: &FieldPath, depth: usize) -> Value {
        let descriptor = POOL.get_message_by_name(name);
        let descriptor = descriptor.ok_or_else(|| "its type is not known".to_owned());
        let decoded = descriptor.and_then(|descriptor| {
            DynamicMessage::decode(descriptor, bytes).map_err(|error| error.to_string())
        });
        match decoded {
            Ok(decoded) => self.message(&decoded, at, depth),
            Err(why) => {
                self.refuse(at, format_args!("not a `{name}`: {why}"));
                Value::Object(Map::new())
            }
        }
    }

    fn message(&mut self, message: &DynamicMessage, at: &FieldPath, depth: usize) -> Value {
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
            return self.any(url, bytes.map_or(&[], |bytes| bytes), at, depth);
        }
        if name.starts_with("google.protobuf.") {
            return self.well_known(message, at);
        }
        let mut fields = Map::new();
        for (field, value) in message.fields() {
            let content = self.content(&field, value, &at.key(field.name()), depth);
            fields.insert(field.name().to_owned(), content);
        }
        let mut unknown = BTreeMap::<u32, String>::new();
        for field in message.unknown_fields() {
            let content = unknown.entry(field.number()).or_default();
            content.push_str(&bytes_of(field));
        }
        for (number, content) in unknown {
            fields.insert(format!("unknown_{number}"), Value::String(content));
        }
        Value::Object(fields)
    }

    fn content(
        &mut self,
        field: &FieldDescriptor,
        value: &Field,
        at: &FieldPath,
        depth: usize,
    ) -> Value {
        let kind = field.kind();
        match value {
            Field::List(items) => {
                let items = items.iter().enumerate();
                let items =
                    items.map(|(index, item)| self.one(&kind, item, &at.index(index), depth));
                Value::Array(items.collect())
            }
            Field::Map(entries) => {
                let kind = kind
                    .as_message()
                    .map_or(Kind::Bool, |entry| entry.map_entry_value_field().kind());
                let entries = entries.iter().map(|(key, value)| {
                    let key = key_text(key);
                    let value = self.one(&kind, value, &at.key(&key), depth);
                    (key, value)
                });
                Value::Object(entries.collect())
            }
            value => self.one(&kind, value, at, depth),
        }
    }

    fn one(&mut self, kind: &Kind, value: &Field, at: &FieldPath, depth: usize) -> Value {
        match value {
            Field::Message(inner) => self.message(inner, at, depth),
            Field::EnumNumber(number) => {
                let name = kind.as_enum().and_then(|kind| kind.get_value(*number));
                name.map_or_else(|| (*number).into(), |name| name.name().into())
            }
            Field::Bool(value) => (*value).into(),
            Field::I32(number) => (*number).into(),
            Field::I64(number) => (*number).into(),
            Field::U32(number) => (*number).into(),
            Field::U64(number) => (*number).into(),
            Field::F32(number) => f64::from(*number).into(),
            Field::F64(number) => (*number).into(),
            Field::String(text) => text.as_str().into(),
            Field::Bytes(bytes) => hex(bytes).into(),
            Field::List(_) | Field::Map(_) => {
                self.refuse(at, "a list in a list");
                Value::Null
            }
        }
    }

    /// Durations, wrappers and the like, as protobuf's JSON mapping says.
    fn well_known(&mut self, message: &DynamicMessage, at: &FieldPath) -> Value {
        let options = SerializeOptions::new();
        let json = message.serialize_with_options(serde_json::value::Serializer, &options);
        json.unwrap_or_else(|error| {
            self.refuse(at, error);
            Value::Null
        })
    }
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
        assert!(POOL.get_message_by_name(Listener::KIND).is_some());
    }
}
