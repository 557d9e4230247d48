//! A file that is hashed as it is written, so that nobody has to read it again.

use std::io::{self, Write};
use std::path::Path;

use sha2::{Digest, Sha256};
use tsumugi_base::FileError;
use tsumugi_base::io::AtomicFile;

/// Writes one file; it is there whole or not at all.
#[derive(Debug)]
pub(crate) struct HashedFile {
    file: AtomicFile,
    hash: Sha256,
    bytes: u64,
}

impl HashedFile {
    /// Begins the file at `path`.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        Ok(Self { file: AtomicFile::create(path)?, hash: Sha256::new(), bytes: 0 })
    }

    /// Where it will be.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Puts it into its place; gives its SHA-256 in hexadecimal digits, and its bytes.
    pub fn commit(self) -> Result<(String, u64), FileError> {
        self.file.commit()?;
        Ok((self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect(), self.bytes))
    }
}

impl Write for HashedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
