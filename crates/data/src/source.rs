//! Text files.

use std::path::Path;

use tsumugi_base::io::read_to_string_limited;
use tsumugi_base::limits::TEXT_BYTES_MAX;

use crate::DataError;

/// Reads a whole UTF-8 text. Missing, empty, binary and too large files, and folders, are distinct errors.
pub fn read_text(path: &Path) -> Result<String, DataError> {
    Ok(read_to_string_limited(path, TEXT_BYTES_MAX)?)
}
