//! Plain files and nothing else.

use std::{fs, io, path::Path};

use tsumugi_base::FileError;
use tsumugi_base::io::{TextError, read_limited};

/// At most so many bytes of a plain file: opening a pipe would wait for its writer.
pub fn read_plain(path: &Path, bytes_max: u64) -> Result<Vec<u8>, TextError> {
    let about = fs::metadata(path).map_err(|source| FileError::read(path, source))?;
    if !about.is_file() && !about.is_dir() {
        return Err(FileError::read(path, io::Error::other("it is no plain file")).into());
    }
    read_limited(path, bytes_max)
}
