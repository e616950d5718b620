//! Secrets, which no dump shows.

use serde_json::Value;

/// Takes out what is secret, under the names of the fields that Envoy marks `sensitive`.
pub(super) fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match name.as_str() {
                    "private_key" | "password" | "token" | "secret" => blot(value),
                    _ => redact(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(redact),
        _ => {}
    }
}

/// The content of a data source is secret; the name of a file is not.
fn blot(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let inline = fields
                .iter_mut()
                .filter(|(name, _)| *name != "filename" && *name != "environment_variable");
            inline.for_each(|(_, value)| blot(value));
        }
        Value::Array(values) => values.iter_mut().for_each(blot),
        Value::Null => {}
        _ => *value = "[redacted]".into(),
    }
}
