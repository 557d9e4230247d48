//! Which files of the hub's cache have been hashed. Other tools write into that cache too, and a name and a size prove nothing;
//! so each blob is hashed once, and the record says what it looked like then:
//!
//! ```text
//! $TSUMUGI_HOME/verified/HASH                           {"bytes": 90868376, "modified_ns": 1764120000123456789}
//! ```

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use tsumugi_base::io::{create_folder, read_limited, write_atomic};

use crate::digest::Digest;
use crate::error::HubError;

/// Largest record; one has some 60 bytes.
const RECORD_BYTES_MAX: u64 = 1024;

/// The records.
#[derive(Debug, Clone)]
pub(crate) struct Verified {
    folder: PathBuf,
}

/// What a file looks like without reading it: when these are the same, so are its bytes.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Look {
    bytes: u64,
    modified_ns: u64,
}

impl Look {
    /// None where the file system keeps no times: then nothing is remembered.
    fn of(about: &Metadata) -> Option<Self> {
        let modified = about.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(Self { bytes: about.len(), modified_ns: u64::try_from(modified.as_nanos()).ok()? })
    }
}

impl Verified {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Whether the file of this look had this hash.
    pub(crate) fn knows(&self, digest: &Digest, about: &Metadata) -> bool {
        let record = read_limited(&self.folder.join(digest.digits()), RECORD_BYTES_MAX).ok();
        let look: Option<Look> = record.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        look.is_some() && look == Look::of(about)
    }

    /// Remembers that the file at `place` has this hash.
    pub(crate) fn keep(&self, digest: &Digest, place: &Path) -> Result<(), HubError> {
        let look = fs::metadata(place).ok().as_ref().and_then(Look::of);
        let Some(json) = look.and_then(|look| serde_json::to_vec(&look).ok()) else { return Ok(()) };
        create_folder(&self.folder)?;
        Ok(write_atomic(&self.folder.join(digest.digits()), &json)?)
    }
}
