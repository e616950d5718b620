//! Headers that are added to requests and responses, or taken out of them.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::{
    RequestHead, flags, format,
    names::{self, Named, is_default},
};

/// A header to add: `config.core.v3.HeaderValueOption`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderValueOption {
    /// The header.
    pub header: HeaderField,
    /// The older form of `append_action`: `false` overwrites.
    #[serde(
        default,
        deserialize_with = "flags::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub append: Option<bool>,
    /// What happens if the header is there already.
    #[serde(default, with = "names", skip_serializing_if = "is_default")]
    pub append_action: AppendAction,
    /// Whether the header is added with an empty value as well. Default: no.
    #[serde(
        default,
        deserialize_with = "flags::deserialize",
        skip_serializing_if = "is_default"
    )]
    pub keep_empty_value: bool,
}

/// A header: `config.core.v3.HeaderValue`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderField {
    /// Its name.
    pub key: String,
    /// Its value. In a header to add, `%REQ(name)%`, `%PROTOCOL%`, `%DOWNSTREAM_REMOTE_ADDRESS%`,
    /// `%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%`, both `.._WITHOUT_PORT%` and `.._REMOTE_PORT%` stand
    /// for what they say, and `%%` for a percent sign; other commands of Envoy's are refused.
    #[serde(default)]
    pub value: String,
}

/// What happens if a header is there already.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AppendAction {
    /// `APPEND_IF_EXISTS_OR_ADD`: the message has both values.
    #[default]
    AppendIfExistsOrAdd,
    /// `ADD_IF_ABSENT`: it stays as it is.
    AddIfAbsent,
    /// `OVERWRITE_IF_EXISTS_OR_ADD`: it is replaced.
    OverwriteIfExistsOrAdd,
    /// `OVERWRITE_IF_EXISTS`: it is replaced, and not added if it was not there.
    OverwriteIfExists,
}

impl Named for AppendAction {
    const NAMES: &'static [(&'static str, u64, Self)] = &[
        ("APPEND_IF_EXISTS_OR_ADD", 0, Self::AppendIfExistsOrAdd),
        ("ADD_IF_ABSENT", 1, Self::AddIfAbsent),
        (
            "OVERWRITE_IF_EXISTS_OR_ADD",
            2,
            Self::OverwriteIfExistsOrAdd,
        ),
        ("OVERWRITE_IF_EXISTS", 3, Self::OverwriteIfExists),
    ];
}

/// They are the codec's: where one contradicts the body, the message is cut off.
const FRAMING: [&str; 2] = ["content-length", "transfer-encoding"];

impl HeaderField {
    /// The header as HTTP has it; `None` if it is none.
    pub fn parts(&self) -> Option<(HeaderName, HeaderValue)> {
        Some((
            self.key.parse().ok()?,
            HeaderValue::from_str(&self.value).ok()?,
        ))
    }

    /// What is wrong with it as a header to add.
    pub(super) fn problem(&self) -> Option<String> {
        let key = &self.key;
        if key.starts_with(':') || key.eq_ignore_ascii_case("host") {
            return Some("`:`-prefixed or host headers may not be modified".to_owned());
        }
        if FRAMING.iter().any(|name| key.eq_ignore_ascii_case(name)) {
            return Some(format!(
                "`{key}` says how long a message is, and no route can"
            ));
        }
        if self.parts().is_none() {
            return Some("not a header that HTTP allows".to_owned());
        }
        format::check(&self.value).err()
    }
}

/// What is wrong with the name of a header to remove.
pub(super) fn removal_problem(name: &str) -> Option<&'static str> {
    if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
        return Some("`:`-prefixed or host headers may not be removed");
    }
    match name.parse::<HeaderName>() {
        Ok(_) => None,
        Err(_) => Some("not a header name that HTTP allows"),
    }
}

/// Changes of a message's headers, one after the other. Nothing is allocated for none.
#[derive(Debug, Clone, Default)]
pub struct HeaderEdits(Vec<Edit>);

#[derive(Debug, Clone)]
enum Edit {
    Remove(HeaderName),
    Add(HeaderName, HeaderValue, AppendAction),
}

impl HeaderEdits {
    /// The same, then without the headers `remove`, then with `add`, made of this request.
    pub(super) fn then(
        &mut self,
        remove: &[String],
        add: &[HeaderValueOption],
        request: &RequestHead<'_>,
    ) {
        // A checked table has no name or value that HTTP does not allow.
        let removed = remove.iter().filter_map(|name| name.parse().ok());
        self.0.extend(removed.map(Edit::Remove));
        for option in add {
            let Ok(name) = option.header.key.parse() else {
                continue;
            };
            let value = format::fill(&option.header.value, request);
            let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) else {
                continue;
            };
            if value.is_empty() && !option.keep_empty_value {
                continue;
            }
            let action = match option.append {
                Some(false) => AppendAction::OverwriteIfExistsOrAdd,
                _ => option.append_action,
            };
            self.0.push(Edit::Add(name, value, action));
        }
    }

    /// Makes the changes.
    pub fn apply(self, headers: &mut HeaderMap) {
        for edit in self.0 {
            let (name, value, action) = match edit {
                Edit::Remove(name) => {
                    headers.remove(name);
                    continue;
                }
                Edit::Add(name, value, action) => (name, value, action),
            };
            let present = headers.contains_key(&name);
            match action {
                AppendAction::AppendIfExistsOrAdd => {
                    headers.append(name, value);
                }
                AppendAction::AddIfAbsent if present => {}
                AppendAction::OverwriteIfExists if !present => {}
                _ => {
                    headers.insert(name, value);
                }
            }
        }
    }
}
