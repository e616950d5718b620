//! Why a configuration was refused: which fields, and what is wrong with each.

use std::fmt;

use super::path::FieldPath;

/// What was wrong with one field.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The path of the field from the root of the document, as in
    /// `resources[0].filter_chains[1].filters[0].typed_config.drain_timeout`; empty for the
    /// document itself.
    pub path: String,
    /// What is wrong with it.
    pub message: String,
}

impl FieldError {
    pub(super) fn new(path: &FieldPath, message: impl Into<String>) -> Self {
        Self {
            path: path.to_string(),
            message: message.into(),
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
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
    pub(super) fn syntax(message: impl Into<String>) -> Self {
        Self {
            kind: ConfigErrorKind::Syntax,
            fields: vec![FieldError::new(&FieldPath::root(), message)],
        }
    }

    pub(super) fn shape(path: &FieldPath, message: impl Into<String>) -> Self {
        Self {
            kind: ConfigErrorKind::Shape,
            fields: vec![FieldError::new(path, message)],
        }
    }

    pub(super) fn invalid(path: &FieldPath, message: impl Into<String>) -> Self {
        Self {
            kind: ConfigErrorKind::Invalid,
            fields: vec![FieldError::new(path, message)],
        }
    }

    /// `Ok` if there are none.
    pub(super) fn no_such(paths: &[String]) -> Result<(), Self> {
        let fields = paths.iter().map(|path| FieldError {
            path: path.clone(),
            message: "no such field".to_owned(),
        });
        Self::unless_empty(fields.collect())
    }

    /// `Ok` if there are none.
    pub(super) fn left_out<'p>(paths: impl Iterator<Item = &'p String>) -> Result<(), Self> {
        let fields = paths.map(|path| FieldError {
            path: path.clone(),
            message: "not carried out here".to_owned(),
        });
        Self::unless_empty(fields.collect())
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

    /// Each field that is wrong; never empty. Reading stops at the first, checking finds all.
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
