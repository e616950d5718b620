//! All that is wrong with a document at once.
//!
//! Reading stops at the first value that its type cannot take. That value is replaced by one that
//! it can take, or taken out with what contains it, and the document is read again: whatever is
//! wrong behind it is found too. What only the replacement breaks is not reported.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    ConfigError, FieldError,
    locate::is_within,
    path::{FieldPath, Step},
    read::{self, ReadError, Unknown},
};

/// So many values that cannot be read are looked for.
const MOST: usize = 50;

/// Reads a value and checks it by rules that a type cannot express; `rules` gets the paths of what
/// could not be read and is something else in the value.
///
/// # Errors
///
/// Everything that is wrong with it.
pub(super) fn read<T: DeserializeOwned>(
    value: &Value,
    at: &FieldPath,
    rules: impl FnOnce(&mut T, &mut Vec<Unknown>, &[String]) -> Vec<FieldError>,
) -> Result<(T, Vec<Unknown>), ConfigError> {
    let mut repair = Repair {
        document: value.clone(),
        at: at.to_string(),
        removed: Vec::new(),
        replaced: Vec::new(),
    };
    let mut wrong = Vec::new();
    let read = loop {
        match read::parse::<T>(&repair.document) {
            Ok(read) => break Some(read),
            Err(error) => {
                let path = repair.original(&join(at, &error.path));
                wrong.push(FieldError::new(path, &error.message));
                if wrong.len() == MOST || !repair.go_on::<T>(&error) {
                    break None;
                }
            }
        }
    };
    let is_readable = wrong.is_empty();
    let Some((mut value, mut unknown)) = read else {
        return Err(ConfigError::shapes(wrong));
    };
    for field in &mut unknown {
        field.path = at.join(&field.path);
    }
    let mut broken = rules(&mut value, &mut unknown, &repair.replaced);
    if is_readable {
        ConfigError::unless_empty(broken)?;
        return Ok((value, unknown));
    }
    for field in &mut broken {
        field.path = repair.original(&field.path);
    }
    // What a replacement breaks is no mistake of the document's.
    broken.retain(|field| !repair.concerns(&field.path));
    wrong.append(&mut broken);
    Err(ConfigError::shapes(wrong))
}

fn join(at: &FieldPath, path: &FieldPath) -> String {
    at.join(path).to_string()
}

/// A document of which some values are replaced.
struct Repair {
    document: Value,
    /// Where it stands in the whole.
    at: String,
    /// The items that are taken out: their list, and their index in it, as they were.
    removed: Vec<(String, usize)>,
    /// The paths of what is replaced or taken out, as they were.
    replaced: Vec<String>,
}

impl Repair {
    /// The path that a field had before anything was taken out.
    fn original(&self, path: &str) -> String {
        let mut original = String::with_capacity(path.len());
        let mut rest = path;
        while let Some((before, behind)) = rest.split_once('[') {
            original.push_str(before);
            let Some((index, behind)) = behind.split_once(']') else {
                break;
            };
            let Ok(mut index) = index.parse::<usize>() else {
                break;
            };
            let mut gone: Vec<usize> = self
                .removed
                .iter()
                .filter(|(list, _)| *list == original)
                .map(|(_, index)| *index)
                .collect();
            gone.sort_unstable();
            for gone in gone {
                index += usize::from(gone <= index);
            }
            original.push_str(&format!("[{index}]"));
            rest = behind;
        }
        original.push_str(rest);
        original
    }

    /// Whether a field is replaced, is inside of what is, or contains it.
    fn concerns(&self, path: &str) -> bool {
        let mut replaced = self.replaced.iter();
        replaced.any(|replaced| is_within(replaced, path) || is_within(path, replaced))
    }

    /// Replaces what this error is about, so that reading comes further.
    fn go_on<T: DeserializeOwned>(&mut self, error: &ReadError) -> bool {
        let at = match (missing(&error.message), error.path.steps().last()) {
            (Some(key), _) => error.path.key(key),
            // The rest of the message is of that type.
            (None, Some(Step::Key(key))) if key == "@type" => {
                error.path.parent().unwrap_or_default()
            }
            (None, _) => error.path.clone(),
        };
        let mut candidates: Vec<Option<Value>> = vec![None];
        if let Some(allowed) = first_allowed(&error.message) {
            candidates.push(Some(allowed.into()));
        }
        candidates.extend(stand_ins().into_iter().map(Some));
        for candidate in candidates {
            // Its list would be another one.
            let is_item = matches!(at.steps().last(), Some(Step::Index(_)));
            if candidate.is_none() && is_item {
                continue;
            }
            if self.comes_further::<T>(&at, candidate) {
                return true;
            }
        }
        // With what contains it.
        let mut at = at;
        loop {
            if self.comes_further::<T>(&at, None) {
                return true;
            }
            at = match at.parent() {
                Some(parent) if !parent.steps().is_empty() => parent,
                _ => return false,
            };
        }
    }

    /// Puts this at `at`, or takes out what is there, if reading comes further then.
    fn comes_further<T: DeserializeOwned>(&mut self, at: &FieldPath, by: Option<Value>) -> bool {
        let removes = by.is_none();
        let mut document = self.document.clone();
        if !put(&mut document, at, by) {
            return false;
        }
        if let Err(next) = read::parse::<T>(&document) {
            let (at, next_at) = (at.to_string(), next.path.to_string());
            let own_key = at.rsplit('.').next();
            let is_another = missing(&next.message).is_some_and(|key| Some(key) != own_key);
            if is_within(&next_at, &at) || is_within(&at, &next_at) && !is_another {
                return false;
            }
        }
        self.document = document;
        let place = match self.at.is_empty() {
            true => at.to_string(),
            false => format!("{}.{at}", self.at),
        };
        let place = self.original(&place);
        if let (true, Some(Step::Index(_))) = (removes, at.steps().last()) {
            if let Some((list, index)) = place.rsplit_once('[') {
                let index = index.trim_end_matches(']').parse().unwrap_or_default();
                self.removed.push((list.to_owned(), index));
            }
        }
        self.replaced.push(place);
        true
    }
}

/// The key that is missing by this message of serde's.
fn missing(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.split('`').next()
}

/// The first value that is allowed by a message.
fn first_allowed(message: &str) -> Option<&str> {
    let (_, allowed) = message.split_once("expected ")?;
    allowed.split('`').nth(1)
}

/// Values of which most types take one.
fn stand_ins() -> Vec<Value> {
    vec![
        json!(""),
        json!(1),
        json!(false),
        json!("1s"),
        json!("127.0.0.1"),
        json!({}),
        json!([]),
        json!({ "socket_address": { "address": "127.0.0.1", "port_value": 1 } }),
    ]
}

/// Puts a value at `at`, or takes out what is there.
fn put(document: &mut Value, at: &FieldPath, value: Option<Value>) -> bool {
    let Some((last, before)) = at.steps().split_last() else {
        return false;
    };
    let mut holder = document;
    for step in before {
        let next = match step {
            Step::Key(key) => holder.get_mut(key),
            Step::Index(index) => holder.get_mut(index),
        };
        let Some(next) = next else {
            return false;
        };
        holder = next;
    }
    match (last, holder, value) {
        (Step::Key(key), Value::Object(fields), Some(value)) => {
            fields.insert(key.clone(), value);
            true
        }
        (Step::Key(key), Value::Object(fields), None) => fields.remove(key).is_some(),
        (Step::Index(index), Value::Array(items), value) if *index < items.len() => {
            match value {
                Some(value) => items[*index] = value,
                None => _ = items.remove(*index),
            }
            true
        }
        _ => false,
    }
}
