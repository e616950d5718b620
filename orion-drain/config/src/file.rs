//! The files that a configuration is in, or names: regular ones alone.

use std::io;
use std::path::Path;

/// The whole of a regular file; links are followed.
///
/// # Errors
///
/// What the system says; [`io::ErrorKind::InvalidInput`] for what is no regular file. A FIFO that no
/// process writes to would be waited for, and a device may have no end.
///
/// ```
/// let error = orion_drain_config::read_file("/".as_ref()).expect_err("a folder");
/// assert_eq!(error.to_string(), "not a regular file");
/// ```
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    if std::fs::metadata(path)?.is_file() {
        return std::fs::read(path);
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "not a regular file",
    ))
}

/// The same as text.
///
/// # Errors
///
/// Those of [`read_file`]; [`io::ErrorKind::InvalidData`] for what is not UTF-8.
///
/// ```
/// let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
/// let text = orion_drain_config::read_text(manifest.as_ref()).expect("a text");
/// assert!(text.contains("orion-drain-config"));
/// ```
pub fn read_text(path: &Path) -> io::Result<String> {
    let text = String::from_utf8(read_file(path)?);
    text.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("not UTF-8: {error}")))
}
