//! A statistic that is a text, such as a version.

use std::fmt;
use std::sync::{Mutex, PoisonError};

/// A text that is replaced now and then, and read with the statistics.
#[derive(Default)]
pub struct Text(Mutex<String>);

impl Text {
    /// Replaces it.
    pub fn set(&self, text: impl Into<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text.into();
    }

    /// What it is.
    pub fn value(&self) -> String {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value().fmt(f)
    }
}
