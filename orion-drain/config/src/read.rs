//! From text to a typed value, with the path of whatever is wrong and of whatever was ignored.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{
    ConfigError,
    document::{Document, without_mark},
    foreign::{self, Root},
    locate,
    path::{FieldPath, Step},
};

/// A value that was read, and what was in the document beside it.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded<T> {
    /// The value.
    pub value: T,
    /// The paths of the fields that are not known here. They are ignored, as Envoy does, and
    /// counted in `server.dynamic_unknown_fields` by what applies the value.
    pub unknown_fields: Vec<String>,
    /// The paths of those among them that Envoy 1.40 has not got either: mistakes, most likely.
    pub foreign_fields: Vec<String>,
}

impl<T> Loaded<T> {
    pub(super) fn new(value: T, unknown: &[Unknown], root: Root) -> Self {
        Self {
            value,
            unknown_fields: unknown.iter().map(|field| field.path.to_string()).collect(),
            foreign_fields: foreign::find(unknown, root),
        }
    }

    /// The same, if every field that Envoy has is carried out; so that none is left out unseen.
    ///
    /// # Errors
    ///
    /// Every field that Envoy has and that is left out here.
    pub fn refuse_unsupported_fields(self) -> Result<Self, ConfigError> {
        ConfigError::left_out(&self.unknown_fields, &self.foreign_fields)?;
        Ok(self)
    }

    /// The same, if Envoy has all of its fields; as Envoy asks of a bootstrap, unless
    /// `--allow-unknown-static-fields` is given.
    ///
    /// # Errors
    ///
    /// Every field that Envoy has not got.
    pub fn refuse_foreign_fields(self) -> Result<Self, ConfigError> {
        ConfigError::no_such(&self.foreign_fields)?;
        Ok(self)
    }
}

/// A field that no type has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unknown {
    pub(super) path: FieldPath,
    pub(super) value: Value,
}

pub(super) fn json(text: &str) -> Result<Value, ConfigError> {
    serde_json::from_str(without_mark(text))
        .map_err(|error| ConfigError::syntax(format!("not JSON: {error}")))
        .and_then(|Document(value)| prepare(value).map_err(|twice| twice.error(text)))
}

/// YAML, which includes JSON.
#[cfg(feature = "yaml")]
pub(super) fn yaml(text: &str) -> Result<Value, ConfigError> {
    let text = without_mark(text);
    let read = yaml_serde::from_str(text).or_else(|error| {
        // Envoy's parser takes a tab before a comment.
        let spaced = text.contains('\t').then(|| tabs_before_comments(text));
        spaced
            .and_then(|text| yaml_serde::from_str(&text).ok())
            .ok_or(error)
    });
    read.map_err(|error| ConfigError::syntax(format!("not YAML: {error}")))
        .and_then(|Document(value)| prepare(value).map_err(|twice| twice.error(text)))
}

/// The text with spaces for tabs that stand before a comment, or at the end of a line.
#[cfg(feature = "yaml")]
pub(super) fn tabs_before_comments(text: &str) -> String {
    let mut spaced = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let end = line.match_indices('\t').map(|(at, _)| at).find(|&at| {
            let rest = line[at..].trim_start();
            rest.is_empty() || rest.starts_with('#')
        });
        let (kept, rest) = line.split_at(end.unwrap_or(line.len()));
        spaced.push_str(kept);
        let gap = rest.len() - rest.trim_start_matches(['\t', ' ']).len();
        spaced.extend(std::iter::repeat_n(' ', gap));
        spaced.push_str(&rest[gap..]);
    }
    spaced
}

/// Fields that are lists wherever they stand. Protobuf's parser takes a value without brackets for
/// a list of one.
const LISTS: &[&str] = &[
    "additional_addresses",
    "allow_paths",
    "alpn_protocols",
    "application_protocols",
    "cipher_suites",
    "client_features",
    "clusters",
    "domains",
    "endpoints",
    "filter_chains",
    "filters",
    "grpc_services",
    "headers",
    "http_filters",
    "initial_metadata",
    "lb_endpoints",
    "listener_filters",
    "listeners",
    "match_typed_subject_alt_names",
    "prefix_ranges",
    "query_parameters",
    "request_headers_to_add",
    "request_headers_to_remove",
    "resource_monitors",
    "resources",
    "response_headers_to_add",
    "response_headers_to_remove",
    "routes",
    "secrets",
    "server_names",
    "source_ports",
    "source_prefix_ranges",
    "tls_certificate_sds_secret_configs",
    "tls_certificates",
    "upgrade_configs",
    "virtual_hosts",
];

/// What protobuf's JSON mapping says before fields have types: `null` is absent, and `portValue` is
/// `port_value`. Puts `@type` first, so that a message is read in one pass once its type is known,
/// and errors in it have a path.
fn prepare(value: Value) -> Result<Value, Twice> {
    Ok(match value {
        Value::Object(mut map) => {
            let mut prepared = Map::new();
            if let Some(type_url) = map.remove("@type") {
                prepared.insert("@type".to_owned(), type_url);
            }
            for (key, value) in map {
                match key.as_str() {
                    // A struct of somebody else's: its keys are no fields.
                    "metadata" => _ = prepared.insert(key, value),
                    _ if value.is_null() => {}
                    // Neither are the runtime's, such as the name of a listener.
                    "static_layer" | "staticLayer" => {
                        prepared.insert("static_layer".to_owned(), value);
                    }
                    _ => {
                        let key = snake_case(key);
                        if prepared.contains_key(&key) {
                            return Err(Twice(vec![Step::Key(key)]));
                        }
                        let value = prepare(value);
                        let mut value =
                            value.map_err(|twice| twice.within(Step::Key(key.clone())))?;
                        if LISTS.contains(&key.as_str()) && !value.is_array() {
                            value = Value::Array(vec![value]);
                        }
                        prepared.insert(key, value);
                    }
                }
            }
            Value::Object(prepared)
        }
        Value::Array(items) => {
            let items = items.into_iter().enumerate().map(|(index, item)| {
                prepare(item).map_err(|twice| twice.within(Step::Index(index)))
            });
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        other => other,
    })
}

/// A field that stands in one message as `port_value` and as `portValue`; its path, from the inside
/// out.
#[derive(Debug)]
struct Twice(Vec<Step>);

impl Twice {
    fn within(mut self, step: Step) -> Self {
        self.0.push(step);
        self
    }

    fn error(self, text: &str) -> ConfigError {
        let path: FieldPath = self.0.into_iter().rev().collect();
        let error = ConfigError::shape(&path, "duplicate key, once in camel case");
        error.in_text(text, &Value::Null)
    }
}

pub(super) fn snake_case(key: String) -> String {
    let camel = key.starts_with(|first: char| first.is_ascii_lowercase())
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && key.bytes().any(|byte| byte.is_ascii_uppercase());
    if !camel {
        return key;
    }
    let mut snake = String::with_capacity(key.len() + 4);
    for letter in key.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// Why a value could not be read: the first field that is wrong, from the value on.
#[derive(Debug)]
pub(super) struct ReadError {
    pub(super) path: FieldPath,
    pub(super) message: String,
}

/// Reads the value that stands at `at` in its document.
#[cfg(feature = "tls")]
pub(super) fn typed<T: DeserializeOwned>(
    value: &Value,
    at: &FieldPath,
) -> Result<(T, Vec<Unknown>), ConfigError> {
    let (read, mut unknown) =
        parse(value).map_err(|error| ConfigError::shape(&at.join(&error.path), error.message))?;
    for field in &mut unknown {
        field.path = at.join(&field.path);
    }
    Ok((read, unknown))
}

/// Reads a value; paths begin at it.
pub(super) fn parse<T: DeserializeOwned>(value: &Value) -> Result<(T, Vec<Unknown>), ReadError> {
    // A derived struct would take a list of its fields as well.
    if !value.is_object() {
        let found = if value.is_null() {
            "nothing"
        } else {
            "something else"
        };
        return Err(ReadError {
            path: FieldPath::root(),
            message: format!("expected a message, found {found}"),
        });
    }
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(value, &mut track);
    let read = serde_ignored::deserialize(tracked, |path| {
        let path = FieldPath::from(&path);
        let value = path.find(value).cloned().unwrap_or_default();
        unknown.push(Unknown { path, value });
    });
    match read {
        Ok(read) => Ok((read, unknown)),
        Err(error) => {
            let path = FieldPath::from(&track.path());
            let message = locate::without_secret(&path.to_string(), error.to_string());
            Err(ReadError { path, message })
        }
    }
}
