//! `?mask=PATHS`: the fields that a dump is asked for.

use serde_json::Value;

/// Of each message what a field mask names, and its type; those of which nothing is named are left
/// out. A path ends at a list.
pub(super) fn masked(configs: Vec<Value>, mask: &str) -> Vec<Value> {
    let masked = configs.into_iter().filter_map(|config| {
        let mut kept = Value::Null;
        for path in mask.split(',') {
            keep(&config, path, &mut kept);
        }
        let kept = kept.as_object_mut()?;
        if let Some(kind) = config.get("@type") {
            kept.insert("@type".to_owned(), kind.clone());
        }
        Some(Value::Object(std::mem::take(kept)))
    });
    masked.collect()
}

/// Copies what stands at a path.
fn keep(from: &Value, path: &str, to: &mut Value) {
    let (field, rest) = path.split_once('.').unwrap_or((path, ""));
    let Some(value) = from.get(field.trim()) else {
        return;
    };
    if rest.is_empty() || !value.is_object() {
        to[field.trim()] = value.clone();
        return;
    }
    let mut kept = to.get(field.trim()).cloned().unwrap_or_default();
    keep(value, rest, &mut kept);
    if !kept.is_null() {
        to[field.trim()] = kept;
    }
}
