//! What is said of a listener that was not taken, to a log or to a control plane.

use std::fmt;

/// Why a listener of an update was not taken. Its present version goes on.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The listener's name, if that can be read.
    pub name: Option<String>,
    /// The field, and what is wrong with it.
    pub message: String,
}

impl Refused {
    /// A refusal of the listener of this name.
    pub fn new(name: Option<String>, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { name, message }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "listener {name:?}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}
