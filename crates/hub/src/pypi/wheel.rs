//! A wheel as an archive: entries copied out one by one, each of the size and checksum that it says.
//!
//! The walk over the archive is that of `tsumugi_files::zip`, which reads both of its halves. A wheel in which they
//! disagree, or which hides anything, is refused whole.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use flate2::read::DeflateDecoder;
use sha2::{Digest as _, Sha256};
use tsumugi_base::limits::UNPACKED_BYTES_MAX;
use tsumugi_base::progress::Observer;
use tsumugi_base::{FileError, units};
use tsumugi_files::mmap::MappedFile;
use tsumugi_files::zip::{self, STORED};

use crate::error::HubError;
use crate::names::{hex, is_safe_path};

/// The method of deflated entries (APPNOTE 4.4.5). Wheels have no other but [`STORED`].
const DEFLATED: u16 = 8;
/// General purpose flag of an encrypted entry.
const ENCRYPTED: u16 = 1;
const BUFFER_BYTES: usize = 256 << 10;

/// An open wheel.
pub(super) struct Wheel {
    name: String,
    bytes: MappedFile,
    entries: Vec<Entry>,
}

struct Entry {
    /// A safe path.
    path: String,
    method: u16,
    packed: Range<usize>,
    bytes: u64,
    crc32: u32,
}

impl Wheel {
    /// Reads the directory of a wheel; `name` is for messages.
    pub(super) fn open(path: &Path, name: &str) -> Result<Self, HubError> {
        let refuse = |reason: String| HubError::Wheel { wheel: name.to_owned(), reason };
        let bytes = MappedFile::open(path)?;
        let archive = zip::walk(&bytes);
        if let Some(fault) = archive.faults.first() {
            return Err(refuse(fault.to_string()));
        }
        let mut entries = Vec::with_capacity(archive.entries.len());
        for entry in archive.entries {
            let path = entry.name_text();
            if path.ends_with('/') {
                continue; // a folder
            }
            if !is_safe_path(&path) {
                return Err(refuse(format!("entry `{}` is no path inside of it", path.escape_debug())));
            }
            if entry.flags & ENCRYPTED != 0 || ![STORED, DEFLATED].contains(&entry.method) {
                return Err(refuse(format!("entry `{path}` is packed in a way that wheels have not")));
            }
            let (method, packed, bytes, crc32) = (entry.method, entry.packed, entry.size, entry.crc32);
            entries.push(Entry { path, method, packed, bytes, crc32 });
        }
        Ok(Self { name: name.to_owned(), bytes, entries })
    }

    /// Paths and sizes.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, u64)> {
        self.entries.iter().map(|entry| (entry.path.as_str(), entry.bytes))
    }

    fn entry(&self, path: &str) -> Result<&Entry, HubError> {
        let found = self.entries.iter().find(|entry| entry.path == path);
        found.ok_or_else(|| HubError::Wheel { wheel: self.name.clone(), reason: format!("it has no entry `{path}`") })
    }

    /// The size that an entry says it has.
    pub(super) fn size_of(&self, path: &str) -> Result<u64, HubError> {
        Ok(self.entry(path)?.bytes)
    }

    /// Appends the content of an entry.
    pub(super) fn unpack(&self, path: &str, writer: &mut Writer<'_>) -> Result<(), HubError> {
        let entry = self.entry(path)?;
        let refuse = |reason: String| HubError::Wheel { wheel: self.name.clone(), reason };
        if entry.bytes > UNPACKED_BYTES_MAX {
            let (found, limit) = (units::bytes(entry.bytes), units::bytes(UNPACKED_BYTES_MAX));
            return Err(refuse(format!("entry `{path}` has {found}, but at most {limit} are unpacked")));
        }
        let packed = &self.bytes[entry.packed.clone()];
        let mut reader: Box<dyn Read> = match entry.method {
            STORED => Box::new(packed),
            _ => Box::new(DeflateDecoder::new(packed)),
        };
        let (mut left, mut crc32) = (entry.bytes, crc32fast::Hasher::new());
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let count = reader.read(&mut buffer).map_err(|error| refuse(format!("entry `{path}`: {error}")))?;
            if count == 0 {
                break;
            }
            left = left.checked_sub(count as u64).ok_or_else(|| {
                refuse(format!("entry `{path}` has more than the {} bytes that it says", entry.bytes))
            })?;
            crc32.update(&buffer[..count]);
            writer.write(&buffer[..count])?;
        }
        if left > 0 {
            return Err(refuse(format!("entry `{path}` has {left} bytes less than the {} that it says", entry.bytes)));
        }
        match crc32.finalize() {
            found if found == entry.crc32 => Ok(()),
            found => Err(refuse(format!("entry `{path}` has the checksum {found:08x} instead of {:08x}", entry.crc32))),
        }
    }
}

/// Writes a file and hashes what it writes.
pub(super) struct Writer<'a> {
    path: PathBuf,
    file: BufWriter<File>,
    bytes: u64,
    sha256: Sha256,
    observer: &'a dyn Observer,
}

impl<'a> Writer<'a> {
    pub(super) fn create(path: PathBuf, observer: &'a dyn Observer) -> Result<Self, HubError> {
        let file = File::create_new(&path).map_err(|source| FileError::create(&path, source))?;
        Ok(Self { path, file: BufWriter::new(file), bytes: 0, sha256: Sha256::new(), observer })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), HubError> {
        if self.observer.stop_requested() {
            return Err(HubError::Stopped);
        }
        self.file.write_all(bytes).map_err(|source| FileError::write(&self.path, source))?;
        self.sha256.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Its size and SHA-256.
    pub(super) fn finish(mut self) -> Result<(u64, String), HubError> {
        self.file.flush().map_err(|source| FileError::write(&self.path, source))?;
        Ok((self.bytes, hex(&self.sha256.finalize())))
    }
}
