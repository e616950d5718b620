//! `typed_config`: a message that says its type in `@type`.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, Error as _, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::{Map, Value};

/// A choice of messages, distinguished by the type URL.
pub(super) trait TypedConfig: Sized {
    /// The full names of the messages that are known.
    const KNOWN: &'static [&'static str];

    /// Reads the message `KNOWN[known]`.
    fn read<'de, D: Deserializer<'de>>(known: usize, message: D) -> Result<Self, D::Error>;

    /// Keeps a message that is not in `KNOWN` and may be left out; `None`: it may not.
    fn left_out(_type_url: &str, _message: Map<String, Value>) -> Option<Self> {
        None
    }
}

/// Reads the message; to be called from the choice's `Deserialize`.
pub(super) fn deserialize<'de, T: TypedConfig, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    deserializer.deserialize_map(Message(PhantomData))
}

struct Message<T>(PhantomData<T>);

impl<'de, T: TypedConfig> Visitor<'de> for Message<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message with an `@type`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<T, A::Error> {
        let mut early = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            if key != "@type" {
                // It sorts before `@type`: no field has such a name. What is behind it would be
                // read by itself, and fields that are not known would go unseen.
                if !key.starts_with(|first: char| first.is_ascii_alphabetic()) {
                    return Err(A::Error::custom(format_args!("`{key}`: no such field")));
                }
                early.insert(key, fields.next_value()?);
                continue;
            }
            let known = match fields.next_value_seed(TypeUrl::<T>(PhantomData))? {
                Known::Of(known) => known,
                Known::LeftOut(type_url) => {
                    while let Some((key, value)) = fields.next_entry()? {
                        early.insert(key, value);
                    }
                    return T::left_out(&type_url, early)
                        .ok_or_else(|| A::Error::custom("cannot be left out with these fields"));
                }
            };
            if early.is_empty() {
                return T::read(known, MapAccessDeserializer::new(fields));
            }
            while let Some((key, value)) = fields.next_entry()? {
                early.insert(key, value);
            }
            return T::read(known, Value::Object(early)).map_err(A::Error::custom);
        }
        Err(A::Error::missing_field("@type"))
    }
}

/// What a type URL stands for.
enum Known {
    /// A message of `KNOWN`.
    Of(usize),
    /// A message that may be left out.
    LeftOut(String),
}

/// Reads a type URL.
struct TypeUrl<T>(PhantomData<T>);

impl<'de, T: TypedConfig> DeserializeSeed<'de> for TypeUrl<T> {
    type Value = Known;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Known, D::Error> {
        let url = String::deserialize(deserializer)?;
        let name = message_name(&url);
        if let Some(known) = T::KNOWN.iter().position(|known| *known == name) {
            return Ok(Known::Of(known));
        }
        if T::left_out(&url, Map::new()).is_some() {
            return Ok(Known::LeftOut(url));
        }
        let known: Vec<_> = T::KNOWN.iter().map(|name| format!("`{name}`")).collect();
        Err(de::Error::custom(format_args!(
            "unknown extension type `{url}`, expected one of {}",
            known.join(", ")
        )))
    }
}

/// What follows the last slash of a type URL names the message, whatever host stands before it.
pub(super) fn message_name(type_url: &str) -> &str {
    type_url.rsplit_once('/').map_or(type_url, |(_, name)| name)
}
