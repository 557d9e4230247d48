//! Files of documents: JSON lines, packed with Zstandard.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use tsumugi_base::FileError;
use zstd::stream::{read::Decoder, write::Encoder};

use super::CorpusError;
use super::record::{Amount, FileRecord};
use crate::Document;
use crate::hashed_file::HashedFile;

/// The ending of such a file's name.
pub(super) const ENDING: &str = ".jsonl.zst";

/// Writes one file; it is there whole or not at all.
pub(super) struct PackedWriter {
    path: PathBuf,
    encoder: Encoder<'static, HashedFile>,
    record: FileRecord,
    line: Vec<u8>,
}

impl PackedWriter {
    /// Begins `folder/name.jsonl.zst`; `level` is Zstandard's.
    pub fn create(folder: &Path, name: &str, level: i32) -> Result<Self, CorpusError> {
        let name = format!("{name}{ENDING}");
        let path = folder.join(&name);
        let encoder = Encoder::new(HashedFile::create(&path)?, level).and_then(|mut encoder| {
            encoder.include_checksum(true)?;
            Ok(encoder)
        });
        let encoder = encoder.map_err(|source| FileError::write(&path, source))?;
        Ok(Self { path, encoder, record: FileRecord { name, ..FileRecord::default() }, line: Vec::new() })
    }

    /// The file's name in its folder.
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// Bytes of the lines that are in it so far.
    pub fn line_bytes(&self) -> u64 {
        self.record.line_bytes.values().sum()
    }

    /// Writes a document; `amount` is that of its text.
    pub fn push(&mut self, document: &Document, amount: Amount) -> Result<(), CorpusError> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, document).expect("a document is JSON");
        let line = std::mem::take(&mut self.line);
        self.push_line(&line, &document.source, amount)?;
        self.line = line;
        Ok(())
    }

    /// Writes a document that is JSON already, without its line end.
    pub fn push_line(&mut self, line: &[u8], source: &str, amount: Amount) -> Result<(), CorpusError> {
        let written = self.encoder.write_all(line).and_then(|()| self.encoder.write_all(b"\n"));
        written.map_err(|error| FileError::write(&self.path, error))?;
        self.record.amount.add(amount);
        if !self.record.sources.contains_key(source) {
            self.record.sources.insert(source.to_owned(), Amount::default());
            self.record.line_bytes.insert(source.to_owned(), 0);
        }
        self.record.sources.get_mut(source).expect("it was put in").add(amount);
        *self.record.line_bytes.get_mut(source).expect("it was put in") += line.len() as u64 + 1;
        Ok(())
    }

    /// Puts the file into its place.
    pub fn commit(mut self) -> Result<FileRecord, CorpusError> {
        let file = self.encoder.finish().map_err(|source| FileError::write(&self.path, source))?;
        (self.record.sha256, self.record.file_bytes) = file.commit()?;
        Ok(self.record)
    }
}

/// Calls `visit` with each line of a file that we wrote.
pub(super) fn for_each_line(
    path: &Path,
    mut visit: impl FnMut(&[u8]) -> Result<(), CorpusError>,
) -> Result<(), CorpusError> {
    let failed = |source| FileError::read(path, source);
    let file = File::open(path).map_err(failed)?;
    let mut lines = BufReader::with_capacity(1 << 17, Decoder::new(file).map_err(failed)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line).map_err(failed)? == 0 {
            return Ok(());
        }
        visit(line.strip_suffix(b"\n").unwrap_or(&line))?;
    }
}

/// Calls `visit` with each document of a file that we wrote.
pub(super) fn for_each_document(
    path: &Path,
    mut visit: impl FnMut(Document) -> Result<(), CorpusError>,
) -> Result<(), CorpusError> {
    for_each_line(path, |line| visit(document(path, line)?))
}

/// A line of a file that we wrote.
pub(super) fn document(path: &Path, line: &[u8]) -> Result<Document, CorpusError> {
    serde_json::from_slice(line)
        .map_err(|error| CorpusError::Damaged { file: path.to_owned(), problem: format!("a line of it: {error}") })
}
