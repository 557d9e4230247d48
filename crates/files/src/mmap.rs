//! A file as bytes in memory, without reading it first. The only unsafe code of this crate.
#![allow(unsafe_code, reason = "a mapping is unsafe by nature; the reason stands at the block")]

mod lost;

use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use tsumugi_base::FileError;

use lost::Watched;
#[cfg(unix)]
pub use lost::tell_lost_mappings;

/// A read-only mapping of a whole file. Pages are read when they are touched and shared between processes.
///
/// The file must not be made shorter while it is mapped: touching a page that is gone ends the process (SIGBUS), after
/// [`tell_lost_mappings`] with a message. Our own writers never shorten a file in place; they rename a new one over it, which
/// leaves a mapping whole.
#[derive(Debug)]
pub struct MappedFile {
    path: PathBuf,
    // Before the mapping, so that it is dropped first.
    watched: Watched,
    map: Mmap,
}

impl MappedFile {
    /// Opens and maps `path`.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let file = File::open(path).map_err(|source| FileError::read(path, source))?;
        Self::of(&file, path)
    }

    /// Maps a file that is already open; `path` is for messages only. The handle may be closed afterwards.
    pub fn of(file: &File, path: &Path) -> Result<Self, FileError> {
        Self::mapped(file, path, false)
    }

    /// The same for whoever looks at many files and can do without one: where [`tell_lost_mappings`] is in force, a page that
    /// is gone reads as zeros, and [`is_whole`](Self::is_whole) says so afterwards.
    pub fn of_fleeting(file: &File, path: &Path) -> Result<Self, FileError> {
        Self::mapped(file, path, true)
    }

    /// Whether all that was read of it up to now was the file's.
    pub fn is_whole(&self) -> bool {
        !self.watched.is_lost()
    }

    fn mapped(file: &File, path: &Path, goes_on: bool) -> Result<Self, FileError> {
        let failed = |source| FileError::read(path, source);
        if file.metadata().map_err(failed)?.is_dir() {
            return Err(failed(std::io::ErrorKind::IsADirectory.into()));
        }
        // SAFETY: a mapping is sound while nobody changes the bytes behind it. We cannot forbid that to another
        // process, and neither can any loader that maps weights; what we can do is done: the mapping is read-only and
        // private, our writers replace files by renaming (the old bytes stay), and every parser works on bounds that
        // it checked itself, so that changed bytes may give wrong numbers but never an access out of bounds.
        let map = unsafe { Mmap::map(file) }.map_err(failed)?;
        let addresses = map.as_ptr_range();
        let watched = Watched::new(addresses.start as usize..addresses.end as usize, path, goes_on);
        Ok(Self { path: path.to_owned(), watched, map })
    }

    /// Gives the memory of these bytes back to the system, which reads them again when they are touched. For what was
    /// copied elsewhere.
    pub fn release(&self, range: std::ops::Range<usize>) {
        #[cfg(unix)]
        if range.start < range.end && range.end <= self.map.len() {
            // SAFETY: pages of a private mapping that nobody wrote to are the file's, before and after.
            let _ = unsafe {
                self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len())
            }; // advice: without it more memory is held
        }
    }

    /// The file, as it was named.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsumugi_base::testing::temporary_folder;

    #[test]
    fn bytes_stay_while_the_file_is_replaced() {
        let folder = temporary_folder();
        let path = folder.path().join("a");
        std::fs::write(&path, "old").unwrap();
        let mapped = MappedFile::open(&path).unwrap();
        tsumugi_base::io::write_atomic(&path, b"newer").unwrap();
        assert_eq!(&*mapped, b"old");
        assert_eq!(&*MappedFile::open(&path).unwrap(), b"newer");
    }

    #[test]
    fn empty_files_folders_and_missing_files() {
        let folder = temporary_folder();
        let path = folder.path().join("a");
        std::fs::write(&path, "").unwrap();
        assert!(MappedFile::open(&path).unwrap().is_empty());
        let text = MappedFile::open(folder.path()).unwrap_err().to_string();
        assert_eq!(text, format!("cannot read {}: it is a folder", folder.path().display()));
        assert!(MappedFile::open(&folder.path().join("none")).is_err());
    }
}
