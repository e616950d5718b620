//! What is wrong with one field of a configuration, wherever it was read.

use std::fmt;

/// What is wrong with one field of a configuration.
///
/// Displayed as `path: message`; [`in_full`](Self::in_full) adds the line and what is written
/// there.
///
/// ```
/// use listener_versions::FieldError;
///
/// let mut error = FieldError::new("filters[0].drain_timeout", "expected a duration such as `600s`")
///     .below("filter_chains[1]");
/// (error.line, error.written) = (Some(12), Some("\"soon\"".to_owned()));
/// assert_eq!(
///     error.in_full().to_string(),
///     "line 12: filter_chains[1].filters[0].drain_timeout: expected a duration such as `600s` \
///      (written: \"soon\")",
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldError {
    /// The path of the field from the root of the document, as in
    /// `filter_chains[1].filters[0].typed_config.drain_timeout`; empty for the document itself.
    pub path: String,
    /// What is wrong with it.
    pub message: String,
    /// The line that it begins in, from 1 on; `None` if it was read from no text.
    pub line: Option<usize>,
    /// What is written there, if the message does not say so. `None` for what is not there, and for
    /// what is secret.
    pub written: Option<String>,
}

impl FieldError {
    /// What is wrong with the field at this path, which was read from no text.
    pub fn new(path: impl Into<String>, message: impl fmt::Display) -> Self {
        Self {
            path: path.into(),
            message: message.to_string(),
            line: None,
            written: None,
        }
    }

    /// The same error of a field below `holder`.
    #[must_use]
    pub fn below(mut self, holder: &str) -> Self {
        self.path = match self.path.starts_with('[') || self.path.is_empty() {
            true => format!("{holder}{}", self.path),
            false => format!("{holder}.{}", self.path),
        };
        self
    }

    /// All of it in one line: `line 12: admin.allow_paths: must not be empty (written: [])`.
    pub fn in_full(&self) -> impl fmt::Display {
        InFull(self)
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

impl std::error::Error for FieldError {}

struct InFull<'e>(&'e FieldError);

impl fmt::Display for InFull<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.0.line {
            write!(f, "line {line}: ")?;
        }
        write!(f, "{}", self.0)?;
        match &self.0.written {
            Some(written) => write!(f, " (written: {written})"),
            None => Ok(()),
        }
    }
}
