//! The values of the bootstrap's `layered_runtime`: which limit connections, and which would change
//! what other fields mean.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    FieldError,
    path::{FieldPath, Step},
    read::Unknown,
};

/// The values of all static layers of a bootstrap's `layered_runtime`: a later layer replaces what
/// an earlier one says.
#[derive(Debug, Clone, Default)]
pub struct RuntimeValues {
    by_key: BTreeMap<String, Value>,
    /// Some have no effect here, or come from elsewhere.
    pub(super) have_more: bool,
}

const GLOBAL_LIMIT: &str = "overload.global_downstream_max_connections";

/// The values of a runtime; none if there is no runtime.
pub(super) fn values(runtime: Option<&Map<String, Value>>) -> RuntimeValues {
    let mut values = RuntimeValues::default();
    let layers = runtime.and_then(|runtime| runtime.get("layers"));
    let layers = match layers {
        Some(Value::Array(layers)) => &layers[..],
        // One may stand where a list may.
        Some(layer) => std::slice::from_ref(layer),
        None => &[],
    };
    for layer in layers.iter().filter_map(Value::as_object) {
        for (field, value) in layer {
            match &**field {
                "name" => {}
                "static_layer" => flatten("", value, &mut values.by_key),
                _ => values.have_more = true,
            }
        }
    }
    let mut keys = values.by_key.keys();
    values.have_more |= keys.any(|key| key != GLOBAL_LIMIT && listener_of(key).is_none());
    values
}

/// What `a: { b: 1 }` and `a.b: 1` say is the same, unless it is a share.
fn flatten(prefix: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) if prefix.is_empty() || !is_share(fields) => {
            for (key, value) in fields {
                let key = match prefix {
                    "" => key.clone(),
                    prefix => format!("{prefix}.{key}"),
                };
                flatten(&key, value, into);
            }
        }
        Value::Null => {}
        value => drop(into.insert(prefix.to_owned(), value.clone())),
    }
}

/// Whether a message is one value. Envoy takes one without fields for a share, too: of nothing.
fn is_share(fields: &Map<String, Value>) -> bool {
    fields.is_empty() || fields.contains_key("numerator") || fields.contains_key("denominator")
}

/// The listener whose connections this key limits.
fn listener_of(key: &str) -> Option<&str> {
    let name = key.strip_prefix("envoy.resource_limits.listener.")?;
    name.strip_suffix(".connection_limit")
}

fn number(value: &Value) -> Option<usize> {
    match value {
        Value::String(text) => text.parse().ok(),
        value => usize::try_from(value.as_u64()?).ok(),
    }
}

impl RuntimeValues {
    pub(super) fn connection_limit(&self) -> Option<usize> {
        number(self.by_key.get(GLOBAL_LIMIT)?)
    }

    pub(super) fn listener_limits(&self) -> BTreeMap<String, usize> {
        let limits = self.by_key.iter().filter_map(|(key, value)| {
            let listener = listener_of(key)?;
            Some((listener.to_owned(), number(value)?))
        });
        limits.collect()
    }

    /// The fields among these in whose place a value stands.
    pub(super) fn replaced(&self, unknown: &[Unknown], wrong: &mut Vec<FieldError>) {
        for field in unknown {
            let Some(key) = field.value.as_str().filter(|key| !key.is_empty()) else {
                continue;
            };
            let replaces = match key_of(field) {
                Some("runtime_key") => self.by_key.contains_key(key),
                Some("runtime_key_prefix") => self.sets_below(key),
                _ => false,
            };
            if replaces {
                let message = format!(
                    "not supported: `{key}` is set in `layered_runtime`, and would change what is served"
                );
                wrong.push(FieldError::new(&field.path, message));
            }
        }
    }

    fn sets_below(&self, prefix: &str) -> bool {
        let mut keys = self.by_key.keys();
        keys.any(|key| {
            key.strip_prefix(prefix)
                .is_some_and(|key| key.starts_with('.'))
        })
    }
}

/// Whether a field names a value that may stand in its place.
pub(super) fn is_named_by(field: &Unknown) -> bool {
    matches!(key_of(field), Some("runtime_key" | "runtime_key_prefix"))
}

fn key_of(field: &Unknown) -> Option<&str> {
    match field.path.steps().last()? {
        Step::Key(key) => Some(key),
        Step::Index(_) => None,
    }
}

/// A limit that is no number, and a value that would take the place of what a field says.
pub(super) fn rules(
    runtime: &Map<String, Value>,
    at: &FieldPath,
    unknown: &[Unknown],
    wrong: &mut Vec<FieldError>,
) {
    let values = values(Some(runtime));
    for (key, value) in &values.by_key {
        let limits = key == GLOBAL_LIMIT || listener_of(key).is_some();
        if limits && number(value).is_none() {
            let message = format!("`{key}`: expected a number of connections, found {value}");
            wrong.push(FieldError::new(at, message));
        }
    }
    values.replaced(unknown, wrong);
}
