//! Where in its text a field stands, and what is written there.
//!
//! Only looked for when something is wrong. The parsers say lines in their errors alone, so the
//! text is read once more for each field, up to the field, which is then an error.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde_json::Value;

use super::document::without_mark;
use super::read::snake_case;

/// The longest text that is shown.
const SHOWN: usize = 60;

/// Fields whose content is shown nowhere.
const SECRET: &[&str] = &[
    // One to add may be a credential.
    "header",
    "inline_bytes",
    "inline_string",
    "initial_metadata",
    "password",
    "pkcs12",
    "private_key",
    "secrets",
];

/// The line of a YAML or JSON text that the field at `path` begins in, from 1 on; the line of what
/// would contain it if it is not there. `None` if the text cannot be read; YAML needs the feature
/// `yaml`.
///
/// ```
/// let text = "{\n \"admin\": {\n  \"address\": {} }}";
/// assert_eq!(orion_drain_config::line_of(text, "admin.address"), Some(3));
/// ```
pub fn line_of(text: &str, path: &str) -> Option<usize> {
    #[cfg(feature = "yaml")]
    let spaced = super::read::tabs_before_comments(text);
    #[cfg(feature = "yaml")]
    let text = &spaced;
    let mut path = path;
    loop {
        let line = seek(text, path);
        if line.is_some() || path.is_empty() {
            return line;
        }
        path = parent(path);
    }
}

/// The path of what contains the field at `path`.
fn parent(path: &str) -> &str {
    let step = path.rfind(['.', '[']);
    step.map_or("", |step| &path[..step])
}

/// Whether `path` is `of`, or below it.
pub(super) fn is_within(path: &str, of: &str) -> bool {
    below(path, of).is_some()
}

/// What is left of `path` below its first steps.
fn below<'p>(path: &'p str, first: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(first)?;
    match rest.chars().next() {
        None | Some('[') => Some(rest),
        Some('.') => Some(&rest[1..]),
        Some(_) if first.is_empty() => Some(rest),
        Some(_) => None,
    }
}

/// What is left of `path` below this item.
fn below_item(path: &str, index: usize) -> Option<&str> {
    below(path, &format!("[{index}]"))
}

/// What is written at `path`, as short as it fits into a line; `None`: nothing, or what is secret.
pub(super) fn written(document: &Value, path: &str) -> Option<String> {
    if is_secret(path) {
        return None;
    }
    let value = find(document, path)?;
    let text = match value {
        Value::Object(_) => return None,
        value => value.to_string(),
    };
    match text.char_indices().nth(SHOWN) {
        None => Some(text),
        Some((end, _)) => Some(format!("{}..", &text[..end])),
    }
}

fn is_secret(path: &str) -> bool {
    let mut keys = path.split(['.', '[']);
    keys.any(|key| SECRET.contains(&key))
}

/// The message of serde's about the value at `path`, without the value if that is secret.
pub(super) fn without_secret(path: &str, message: String) -> String {
    if !is_secret(path) {
        return message;
    }
    match message.rsplit_once("expected ") {
        Some((_, expected)) => format!("invalid value, expected {expected}"),
        // Only this names a field, and quotes no value.
        None if message.starts_with("missing field") => message,
        None => "invalid value".to_owned(),
    }
}

fn find<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    match value {
        _ if path.is_empty() => Some(value),
        Value::Object(fields) => fields
            .iter()
            .find_map(|(key, value)| find(value, below(path, key)?)),
        Value::Array(items) => {
            let mut items = items.iter().enumerate();
            items.find_map(|(index, item)| find(item, below_item(path, index)?))
        }
        _ => None,
    }
}

fn seek(text: &str, path: &str) -> Option<usize> {
    let found = Cell::new(false);
    let seek = Seek {
        path,
        found: &found,
    };
    #[cfg(feature = "yaml")]
    let line = {
        let text = yaml_serde::Deserializer::from_str(without_mark(text));
        seek.deserialize(text).err()?.location()?.line()
    };
    #[cfg(not(feature = "yaml"))]
    let line = {
        let mut text = serde_json::Deserializer::from_str(without_mark(text));
        seek.deserialize(&mut text).err()?.line()
    };
    Some(line).filter(|_| found.get())
}

/// Reads a value up to the field at `path`, which is an error.
#[derive(Clone, Copy)]
struct Seek<'s> {
    path: &'s str,
    found: &'s Cell<bool>,
}

impl<'s> Seek<'s> {
    fn below<'p>(self, path: &'p str) -> Seek<'p>
    where
        's: 'p,
    {
        Seek {
            path,
            found: self.found,
        }
    }

    fn found<E: Error>(self) -> E {
        self.found.set(true);
        E::custom("here")
    }

    /// A value without fields: a list may be written as its one item.
    fn value<E: Error>(self) -> Result<(), E> {
        match below_item(self.path, 0) {
            Some("") => Err(self.found()),
            _ if self.path.is_empty() => Err(self.found()),
            _ => Ok(()),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message, a list or a value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.value()
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        self.value()
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.value()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.value()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.value()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.value()
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.value()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        if self.path.is_empty() {
            return Err(self.found());
        }
        for index in 0.. {
            let item = match below_item(self.path, index) {
                Some(path) => items.next_element_seed(self.below(path))?,
                None => items.next_element::<IgnoredAny>()?.map(drop),
            };
            if item.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let path = below_item(self.path, 0).unwrap_or(self.path);
        if path.is_empty() {
            return Err(self.found());
        }
        while let Some(below) = fields.next_key_seed(Key(self.below(path)))? {
            match below {
                Some(path) => fields.next_value_seed(self.below(&path))?,
                None => _ = fields.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<(), A::Error> {
        let (IgnoredAny, tagged) = tagged.variant()?;
        tagged.newtype_variant_seed(self)
    }
}

/// Reads a key: what is left of the path below it. The last one of the path is an error.
struct Key<'s>(Seek<'s>);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        let seek = self.0;
        match below(seek.path, &snake_case(key.to_owned())) {
            Some("") => Err(seek.found()),
            Some(path) => Ok(Some(path.to_owned())),
            // Orion's own file has the bootstrap below this key.
            None if key == "envoy_bootstrap" => Ok(Some(seek.path.to_owned())),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_within_another_by_whole_steps() {
        assert!(is_within("a.b", "a"));
        assert!(is_within("a[0]", "a"));
        assert!(is_within("a", "a"));
        assert!(is_within("a", ""));
        assert!(!is_within("ab", "a"));
        assert!(!is_within("a[10]", "a[1]"));
        assert_eq!(parent("a.b[1]"), "a.b");
        assert_eq!(parent("a"), "");
    }

    #[cfg(feature = "yaml")]
    #[test]
    fn a_line_is_the_keys_or_of_what_would_contain_it() {
        let text = "# first\nname: x\nfilterChains:\n- filters:\n  - a: 1\n  - a: 2\n    b: { c: 3 }\ndomains: '*'\n";
        for (path, expected) in [
            ("name", 2),
            ("filter_chains", 3),
            ("filter_chains[0].filters", 4),
            ("filter_chains[0].filters[0]", 5),
            ("filter_chains[0].filters[1].a", 6),
            ("filter_chains[0].filters[1].b.c", 7),
            ("filter_chains[0].filters[1].b.none.at_all", 7),
            ("domains[0]", 8),
        ] {
            assert_eq!(line_of(text, path), Some(expected), "{path}");
        }
        assert_eq!(
            line_of("envoy_bootstrap:\n  admin:\n    x: 1\n", "admin.x"),
            Some(3)
        );
        assert_eq!(line_of("{\n \"a\":\n {\"b\": 1}}", "a.b"), Some(3));
    }

    #[test]
    fn what_is_secret_is_not_shown() {
        let document = serde_json::json!({
            "a": { "inline_string": "s" }, "b": [1, "x".repeat(99)],
        });
        assert_eq!(written(&document, "a.inline_string"), None);
        assert_eq!(written(&document, "b[0]").as_deref(), Some("1"));
        assert_eq!(written(&document, "b[1]").map(|text| text.len()), Some(62));
        assert_eq!(written(&document, "a"), None);
    }
}
