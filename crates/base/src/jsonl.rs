//! JSON lines: one JSON value per line, appended as a run goes on, whole lines only.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{FileError, Hint};
use crate::io::AtomicFile;
use crate::limits::JSON_LINE_BYTES_MAX;

/// A JSON lines file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JsonLinesError {
    /// The system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// A line is not the JSON that is needed here.
    #[error("{path}, line {line}: {source}", path = .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A line beyond [`JSON_LINE_BYTES_MAX`].
    #[error("{path}, line {line}: longer than {limit}", path = .path.display(),
            limit = crate::units::bytes(JSON_LINE_BYTES_MAX))]
    LongLine {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
    },
    /// A value of ours could not be written as JSON.
    #[error("cannot write a record to {path} as JSON: {source}", path = .path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

impl Hint for JsonLinesError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::File(file) => file.hint(),
            Self::Line { path, line, .. } => Some(format!("look at it: `sed -n {line}p {}`", path.display())),
            Self::LongLine { .. } => Some("the file needs one JSON value per line".into()),
            Self::Record { .. } => None,
        }
    }
}

/// Appends records, one line each. A line is handed to the system whole, so a killed run loses none that was written
/// (a power cut may: call [`JsonLinesWriter::sync`] where that matters).
#[derive(Debug)]
pub struct JsonLinesWriter {
    path: PathBuf,
    file: File,
    line: Vec<u8>,
}

impl JsonLinesWriter {
    /// Opens `path` to append, creating it if need be. A torn last line (one without its line feed) is cut off.
    pub fn open_append(path: &Path) -> Result<Self, JsonLinesError> {
        let failed = |source| FileError::write(path, source);
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed)?;
        let whole = end_of_last_whole_line(&mut file).map_err(failed)?;
        file.set_len(whole).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file, line: Vec::new() })
    }

    /// Like [`JsonLinesWriter::open_append`], but first drops the records for which `keep` is false: a run that
    /// resumes at step 100 drops what it logged after its checkpoint. The file is replaced atomically; lines that
    /// are not JSON are dropped too.
    pub fn open_keeping(path: &Path, mut keep: impl FnMut(&serde_json::Value) -> bool) -> Result<Self, JsonLinesError> {
        if path.exists() {
            let mut kept = AtomicFile::create(path)?;
            let mut dropped = false;
            for_each_line(path, LastLine::MayBeTorn, |_, line| {
                let value = serde_json::from_slice::<serde_json::Value>(line);
                if value.is_ok_and(|value| keep(&value)) {
                    kept.write_all(line).and_then(|()| kept.write_all(b"\n")).map_err(|e| FileError::write(path, e))?;
                } else {
                    dropped = true;
                }
                Ok(())
            })?;
            if dropped {
                kept.commit()?;
            }
        }
        Self::open_append(path)
    }

    /// Appends one record.
    pub fn write(&mut self, record: &impl Serialize) -> Result<(), JsonLinesError> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, record)
            .map_err(|source| JsonLinesError::Record { path: self.path.clone(), source })?;
        self.line.push(b'\n');
        self.file.write_all(&self.line).map_err(|source| FileError::write(&self.path, source).into())
    }

    /// Waits until everything is on the disk.
    pub fn sync(&self) -> Result<(), JsonLinesError> {
        self.file.sync_data().map_err(|source| FileError::write(&self.path, source).into())
    }
}

/// The position after the last line feed; 0 if there is none. Reads from the end, in blocks.
fn end_of_last_whole_line(file: &mut File) -> io::Result<u64> {
    const BLOCK: u64 = 64 * 1024;
    let mut end = file.metadata()?.len();
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        block.clear();
        (&*file).take(end - start).read_to_end(&mut block)?;
        if let Some(at) = block.iter().rposition(|&byte| byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Reads every record. Empty lines are passed over; a torn last line (without its line feed, and not JSON) is left
/// out, because a killed run may leave one.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, JsonLinesError> {
    Ok(records(path, LastLine::MayBeTorn)?.into_iter().map(|(_, record)| record).collect())
}

/// Reads every record of a file that was not written by a run of ours, with the number of its line, from 1. A broken last line
/// is an error like any other: it may be a download that ended early.
pub fn read_numbered<T: DeserializeOwned>(path: &Path) -> Result<Vec<(u64, T)>, JsonLinesError> {
    records(path, LastLine::Counts)
}

/// What a last line is that has no line feed and is no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastLine {
    /// What a killed run left: passed over.
    MayBeTorn,
    /// A line like the others.
    Counts,
}

fn records<T: DeserializeOwned>(path: &Path, last: LastLine) -> Result<Vec<(u64, T)>, JsonLinesError> {
    let mut records = Vec::new();
    for_each_line(path, last, |number, line| {
        let record = serde_json::from_slice(line).map_err(|source| JsonLinesError::Line {
            path: path.to_owned(),
            line: number,
            source,
        })?;
        records.push((number, record));
        Ok(())
    })?;
    Ok(records)
}

/// Calls `each` with number (from 1) and bytes of every line that is not blank, without its line feed.
fn for_each_line(
    path: &Path,
    last: LastLine,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), JsonLinesError>,
) -> Result<(), JsonLinesError> {
    let failed = |source| FileError::read(path, source);
    let mut reader = BufReader::new(File::open(path).map_err(failed)?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = reader.by_ref().take(JSON_LINE_BYTES_MAX + 1).read_until(b'\n', &mut line).map_err(failed)?;
        if read == 0 {
            break;
        }
        let whole = line.last() == Some(&b'\n');
        if !whole && line.len() as u64 > JSON_LINE_BYTES_MAX {
            return Err(JsonLinesError::LongLine { path: path.to_owned(), line: number });
        }
        // Some editors of Windows begin a file with a byte-order mark.
        let content =
            if number == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line }.trim_ascii();
        if content.is_empty() {
            continue;
        }
        let may_be_torn = !whole && last == LastLine::MayBeTorn;
        let torn = may_be_torn && serde_json::from_slice::<serde::de::IgnoredAny>(content).is_err();
        if !torn {
            each(number, content)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::temporary_folder;
    use serde_json::{Value, json};

    #[test]
    fn a_torn_last_line_is_cut_off_and_writing_goes_on() {
        let folder = temporary_folder();
        let path = folder.path().join("log.jsonl");
        let long = "x".repeat(200_000);
        std::fs::write(&path, format!("{{\"step\":1}}\n{{\"step\":2,\"t\":\"{long}")).unwrap();
        let mut log = JsonLinesWriter::open_append(&path).unwrap();
        log.write(&json!({"step": 3})).unwrap();
        log.sync().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"step\":1}\n{\"step\":3}\n");
        assert_eq!(read::<Value>(&path).unwrap(), [json!({"step": 1}), json!({"step": 3})]);
    }

    #[test]
    fn reading_leaves_out_a_torn_line_and_refuses_a_wrong_one() {
        let folder = temporary_folder();
        let path = folder.path().join("log.jsonl");
        std::fs::write(&path, "1\n\n2\n[3,").unwrap();
        assert_eq!(read::<u32>(&path).unwrap(), [1, 2]);
        let error = read_numbered::<u32>(&path).unwrap_err();
        assert!(error.to_string().starts_with(&format!("{}, line 4: ", path.display())), "{error}");
        std::fs::write(&path, "1\n2\n3").unwrap();
        assert_eq!(read::<u32>(&path).unwrap(), [1, 2, 3]);
        assert_eq!(read_numbered::<u32>(&path).unwrap(), [(1, 1), (2, 2), (3, 3)]);
        std::fs::write(&path, "1\n\"two\"\n3\n").unwrap();
        let error = read::<u32>(&path).unwrap_err();
        assert!(error.to_string().starts_with(&format!("{}, line 2: invalid type", path.display())), "{error}");
        assert_eq!(error.hint(), Some(format!("look at it: `sed -n 2p {}`", path.display())));
    }

    #[test]
    fn resuming_drops_what_came_after_the_checkpoint() {
        let folder = temporary_folder();
        let path = folder.path().join("log.jsonl");
        std::fs::write(&path, "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n{\"st").unwrap();
        let mut log = JsonLinesWriter::open_keeping(&path, |value| value["step"].as_u64() <= Some(2)).unwrap();
        log.write(&json!({"step": 9})).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"step\":1}\n{\"step\":2}\n{\"step\":9}\n");
    }
}
