//! Byte strings one after another in a file of our own: a little-endian u32 length before each. Sketches and decisions of
//! a shard lie in it; they are written by the run that reads them.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use tsumugi_base::FileError;
use tsumugi_base::io::AtomicFile;

use super::CorpusError;

/// Writes byte strings; the file is there whole or not at all.
#[derive(Debug)]
pub(super) struct FrameWriter {
    file: AtomicFile,
}

impl FrameWriter {
    pub fn create(path: &Path) -> Result<Self, CorpusError> {
        Ok(Self { file: AtomicFile::create(path)? })
    }

    pub fn push(&mut self, frame: &[u8]) -> Result<(), CorpusError> {
        let length = u32::try_from(frame.len()).expect("a sketch or decision is smaller than 4 GiB");
        let written = self.file.write_all(&length.to_le_bytes()).and_then(|()| self.file.write_all(frame));
        Ok(written.map_err(|source| FileError::write(self.file.path(), source))?)
    }

    pub fn commit(self) -> Result<(), CorpusError> {
        Ok(self.file.commit()?)
    }
}

/// Reads what [`FrameWriter`] wrote.
#[derive(Debug)]
pub(super) struct FrameReader {
    path: PathBuf,
    file: BufReader<File>,
    /// Bytes that are left, so that a damaged length cannot ask for more.
    left: u64,
    frame: Vec<u8>,
}

impl FrameReader {
    pub fn open(path: &Path) -> Result<Self, CorpusError> {
        let open = || {
            let file = File::open(path)?;
            let left = file.metadata()?.len();
            Ok((BufReader::with_capacity(1 << 18, file), left))
        };
        let (file, left) = open().map_err(|source: io::Error| FileError::read(path, source))?;
        Ok(Self { path: path.to_owned(), file, left, frame: Vec::new() })
    }

    pub fn next(&mut self) -> Result<Option<&[u8]>, CorpusError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.read_frame().map_err(|source| FileError::read(&self.path, source))?;
        Ok(Some(&self.frame))
    }

    fn read_frame(&mut self) -> io::Result<()> {
        let mut length = [0; 4];
        self.file.read_exact(&mut length)?;
        let length = u64::from(u32::from_le_bytes(length));
        self.left = self.left.checked_sub(4 + length).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.frame.resize(length as usize, 0);
        self.file.read_exact(&mut self.frame)
    }
}
