//! Long columns of numbers that are written once from front to back and then read in order, by several readers if need
//! be. What does not fit the writer's buffer goes to a file without a name, which the system removes however the process
//! ends.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tsumugi_base::FileError;

/// Where columns go when they outgrow their buffers.
#[derive(Debug, Clone)]
pub(super) struct Scratch {
    /// A folder on a disk with room.
    pub(super) folder: PathBuf,
    /// What each writer and each reader keeps in memory.
    pub(super) buffer_bytes: usize,
}

impl Scratch {
    pub(super) fn writer(&self) -> ColumnWriter {
        ColumnWriter { scratch: self.clone(), buffer: Vec::new(), file: None, spilled: 0 }
    }
}

/// A column that grows.
#[derive(Debug)]
pub(super) struct ColumnWriter {
    scratch: Scratch,
    buffer: Vec<u8>,
    file: Option<File>,
    /// Bytes in the file.
    spilled: u64,
}

impl ColumnWriter {
    #[inline]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) -> Result<(), FileError> {
        if self.buffer.len() + N > self.scratch.buffer_bytes {
            self.spill()?;
        }
        self.buffer.extend_from_slice(&bytes);
        Ok(())
    }

    #[inline]
    pub(super) fn u32(&mut self, value: u32) -> Result<(), FileError> {
        self.put(value.to_le_bytes())
    }

    #[inline]
    pub(super) fn f32(&mut self, value: f32) -> Result<(), FileError> {
        self.put(value.to_le_bytes())
    }

    /// A place in a column, below 2^40.
    #[inline]
    pub(super) fn place(&mut self, value: u64) -> Result<(), FileError> {
        debug_assert!(value < 1 << 40);
        let [a, b, c, d, e, ..] = value.to_le_bytes();
        self.put([a, b, c, d, e])
    }

    /// Seven bits a byte, the lowest first: counts are mostly small.
    #[inline]
    pub(super) fn varint(&mut self, mut value: u64) -> Result<(), FileError> {
        while value >= 0x80 {
            self.put([value as u8 | 0x80])?;
            value >>= 7;
        }
        self.put([value as u8])
    }

    #[cold]
    fn spill(&mut self) -> Result<(), FileError> {
        let failed = |source| FileError::write(&self.scratch.folder, source);
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile_in(&self.scratch.folder).map_err(failed)?),
        };
        file.write_all(&self.buffer).map_err(failed)?;
        self.spilled += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Column, FileError> {
        if self.file.is_some() {
            self.spill()?;
        }
        let file = self.file.map(|file| Arc::new(Mutex::new(file)));
        self.buffer.shrink_to_fit();
        Ok(Column { scratch: self.scratch, file, spilled: self.spilled, memory: Arc::new(self.buffer) })
    }
}

/// A column that is whole. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Column {
    scratch: Scratch,
    file: Option<Arc<Mutex<File>>>,
    spilled: u64,
    /// All of it, where it never outgrew its buffer.
    memory: Arc<Vec<u8>>,
}

impl Column {
    pub(super) fn reader(&self) -> ColumnReader {
        self.reader_at(0)
    }

    /// A reader that begins at a byte, which must be the first of a value.
    pub(super) fn reader_at(&self, byte: u64) -> ColumnReader {
        ColumnReader { column: self.clone(), buffer: Vec::new(), at: 0, next: byte }
    }

    fn folder(&self) -> &Path {
        &self.scratch.folder
    }
}

/// Reads a column from its begin on. Reading past the end is an error of the caller, and told as one of the file.
#[derive(Debug)]
pub(super) struct ColumnReader {
    column: Column,
    buffer: Vec<u8>,
    /// The next byte of the buffer.
    at: usize,
    /// The next byte of the column that is not in the buffer.
    next: u64,
}

impl ColumnReader {
    /// Makes sure that `count` bytes are in the buffer, or all that are left.
    #[cold]
    fn fill(&mut self) -> Result<(), FileError> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let Some(file) = &self.column.file else {
            self.buffer.extend_from_slice(self.column.memory.get(self.next as usize..).unwrap_or_default());
            self.next = self.column.memory.len() as u64;
            return Ok(());
        };
        let wanted = (self.column.scratch.buffer_bytes as u64).min(self.column.spilled.saturating_sub(self.next));
        let begin = self.buffer.len();
        self.buffer.resize(begin + wanted as usize, 0);
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.next))
            .and_then(|_| file.read_exact(&mut self.buffer[begin..]))
            .map_err(|source| FileError::read(self.column.folder(), source))?;
        self.next += wanted;
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], FileError> {
        if self.buffer.len() - self.at < N {
            self.fill()?;
        }
        match self.buffer.get(self.at..self.at + N) {
            Some(bytes) => {
                self.at += N;
                Ok(bytes.try_into().expect("a slice of N bytes"))
            }
            None => Err(FileError::read(self.column.folder(), std::io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// Whether every byte was read.
    pub(super) fn is_at_end(&mut self) -> Result<bool, FileError> {
        if self.at == self.buffer.len() {
            self.fill()?;
        }
        Ok(self.at == self.buffer.len())
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Result<u32, FileError> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    #[inline]
    pub(super) fn f32(&mut self) -> Result<f32, FileError> {
        Ok(f32::from_le_bytes(self.take()?))
    }

    #[inline]
    pub(super) fn place(&mut self) -> Result<u64, FileError> {
        let [a, b, c, d, e] = self.take()?;
        Ok(u64::from_le_bytes([a, b, c, d, e, 0, 0, 0]))
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, FileError> {
        let [mut byte] = self.take()?;
        let mut value = u64::from(byte & 0x7f);
        let mut shift = 7;
        while byte >= 0x80 {
            [byte] = self.take()?;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_comes_back_whatever_the_buffer() {
        let folder = tsumugi_base::testing::temporary_folder();
        for buffer_bytes in [16, 17, 64, 1 << 20] {
            let scratch = Scratch { folder: folder.path().to_owned(), buffer_bytes };
            let mut writer = scratch.writer();
            let varint = |i: u64| 1_u64.checked_shl((i % 64) as u32).unwrap_or(0) - (i & 1);
            for i in 0..500 {
                writer.u32(i as u32 * 7).unwrap();
                writer.varint(varint(i)).unwrap();
                writer.place((i << 31) | i).unwrap();
                writer.f32(i as f32 / 3.0).unwrap();
            }
            let column = writer.finish().unwrap();
            for _ in 0..2 {
                let mut reader = column.reader();
                for i in 0..500 {
                    assert!(!reader.is_at_end().unwrap());
                    assert_eq!(reader.u32().unwrap(), i as u32 * 7);
                    assert_eq!(reader.varint().unwrap(), varint(i));
                    assert_eq!(reader.place().unwrap(), (i << 31) | i);
                    assert_eq!(reader.f32().unwrap(), i as f32 / 3.0);
                }
                assert!(reader.is_at_end().unwrap());
                assert!(reader.u32().is_err());
            }
            let mut writer = scratch.writer();
            (0..100).for_each(|i| writer.u32(i).unwrap());
            assert_eq!(writer.finish().unwrap().reader_at(4 * 70).u32().unwrap(), 70);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "spilled files have no name");
    }
}
