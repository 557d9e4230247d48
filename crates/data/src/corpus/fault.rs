//! Bad input: counted, named, and left out while the rest goes on.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A file, line or member that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The file, as it was found.
    pub file: PathBuf,
    /// The byte of the file where the bad part begins (of the packed bytes, where a file is packed; of the unpacked ones,
    /// if `unpacked`); none where the reader does not know.
    pub offset: Option<u64>,
    /// Whether `offset` counts unpacked bytes.
    #[serde(default)]
    pub unpacked: bool,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(offset) = self.offset {
            write!(f, ", {}byte {offset}", if self.unpacked { "unpacked " } else { "" })?;
        }
        write!(f, ": {}", self.problem)
    }
}
