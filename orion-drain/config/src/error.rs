//! Why a configuration was refused: which fields, and what is wrong with each.

use std::fmt;

use serde_json::Value;

use super::{FieldError, RejectedResource, locate, path::FieldPath};

/// A field that Envoy has not got.
pub(super) fn no_such(path: &str) -> FieldError {
    FieldError::new(path, "no such field")
}

/// A field that Envoy has and that is left out here.
pub(super) fn left_out(path: &str) -> FieldError {
    FieldError::new(path, "not carried out here")
}

/// How far a configuration came before it was refused.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConfigErrorKind {
    /// It is not YAML or JSON at all.
    Syntax,
    /// A field has a value that its type cannot take, or an extension is of an unknown type. Envoy
    /// cannot turn such a file into a message either: it counts `update_failure`.
    Shape,
    /// Every field can be read, but they make no listener: a rule of Envoy's is broken. Counted as
    /// `update_rejected`.
    Invalid,
}

/// A configuration that is refused, with every field that is to blame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    kind: ConfigErrorKind,
    fields: Vec<FieldError>,
}

impl ConfigError {
    pub(super) fn syntax(message: impl fmt::Display) -> Self {
        Self {
            kind: ConfigErrorKind::Syntax,
            fields: vec![FieldError::new(&FieldPath::root(), message)],
        }
    }

    pub(super) fn shape(path: &FieldPath, message: impl fmt::Display) -> Self {
        Self {
            kind: ConfigErrorKind::Shape,
            fields: vec![FieldError::new(path, message)],
        }
    }

    pub(super) fn invalid(path: &FieldPath, message: impl fmt::Display) -> Self {
        Self {
            kind: ConfigErrorKind::Invalid,
            fields: vec![FieldError::new(path, message)],
        }
    }

    /// `Ok` if there are none.
    pub(super) fn no_such(paths: &[String]) -> Result<(), Self> {
        Self::unless_empty(paths.iter().map(|path| no_such(path)).collect())
    }

    /// `Ok` if all of the `unknown` fields are `foreign` ones.
    pub(super) fn left_out(unknown: &[String], foreign: &[String]) -> Result<(), Self> {
        let paths = unknown.iter().filter(|path| !foreign.contains(path));
        Self::unless_empty(paths.map(|path| left_out(path)).collect())
    }

    /// What was read, unless some of it was `unreadable` before: that, and whatever else is wrong.
    /// What reading has found in an unreadable field is not said: the field was empty by then.
    pub(super) fn beside<T>(
        mut unreadable: Vec<FieldError>,
        read: Result<T, Self>,
    ) -> Result<T, Self> {
        if unreadable.is_empty() {
            return read;
        }
        let mut found = read.err().map_or_else(Vec::new, |error| error.fields);
        let is_new = |field: &FieldError| {
            let mut before = unreadable.iter();
            !before.any(|before| locate::is_within(&field.path, &before.path))
        };
        found.retain(is_new);
        unreadable.append(&mut found);
        Err(Self::shapes(unreadable))
    }

    /// Both.
    pub(super) fn and(mut self, mut other: Self) -> Self {
        self.fields.append(&mut other.fields);
        self
    }

    /// Values that cannot be read, and whatever else is wrong beside them.
    pub(super) fn shapes(fields: Vec<FieldError>) -> Self {
        Self {
            kind: ConfigErrorKind::Shape,
            fields,
        }
    }

    /// The same with the lines of its fields in `text`, and with what is written there. In the
    /// order of the text.
    pub(super) fn in_text(mut self, text: &str, document: &Value) -> Self {
        // Each line is looked for from the beginning of the text on.
        for field in self.fields.iter_mut().take(100) {
            field.line = locate::line_of(text, &field.path);
            let written = locate::written(document, &field.path);
            field.written = written.filter(|written| {
                let bare = written.trim_matches('"');
                bare.is_empty() || !field.message.contains(bare)
            });
        }
        self.fields.sort_by_key(|field| field.line);
        self
    }

    /// The same with what is wrong with these.
    pub(super) fn with(mut self, rejected: &[RejectedResource]) -> Self {
        let fields = rejected.iter().flat_map(|one| &one.error.fields);
        self.fields.extend(fields.cloned());
        self
    }

    /// `Ok` if nothing was found.
    pub(super) fn unless_empty(fields: Vec<FieldError>) -> Result<(), Self> {
        if fields.is_empty() {
            Ok(())
        } else {
            Err(Self {
                kind: ConfigErrorKind::Invalid,
                fields,
            })
        }
    }

    /// How far the configuration came.
    pub fn kind(&self) -> ConfigErrorKind {
        self.kind
    }

    /// Each field that is wrong; never empty. Text that is not YAML or JSON is one error; of values
    /// that cannot be read the first 50 are here.
    pub fn fields(&self) -> &[FieldError] {
        &self.fields
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, field) in self.fields.iter().enumerate() {
            if at > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{field}")?;
        }
        Ok(())
    }
}
