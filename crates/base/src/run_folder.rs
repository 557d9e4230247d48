//! The output folder of a run: locked while a run works in it, so that two never write the same files.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use crate::error::{FileError, Hint};
use crate::io::is_leftover;

const LOCK: &str = ".tsumugi-lock";

/// A folder could not be had for one run alone.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another process works in the folder.
    #[error("another run is at work in {}", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
}

impl Hint for LockError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::InUse { .. } => Some("wait for it, stop it, or choose another --out".into()),
        }
    }
}

/// A folder that nobody else works in until this is dropped.
#[derive(Debug)]
pub struct FolderLock {
    file: Option<File>,
    path: PathBuf,
}

impl FolderLock {
    /// Locks a folder that exists.
    pub fn take(folder: &Path) -> Result<Self, LockError> {
        let path = folder.join(LOCK);
        let file = File::create(&path).map_err(|source| FileError::create(&path, source))?;
        match file.try_lock() {
            // The run before may have removed the file between our opening and locking it: then another may make it anew.
            Ok(()) if !is_at(&file, &path) => Self::take(folder),
            Ok(()) => Ok(Self { file: Some(file), path }),
            Err(TryLockError::WouldBlock) => Err(LockError::InUse { folder: folder.to_owned() }),
            // A file system without locks: then there is none, as before there were locks.
            Err(TryLockError::Error(_)) => Ok(Self { file: Some(file), path }),
        }
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path); // while it is locked, so nobody else's; only tidiness is lost
        drop(self.file.take());
    }
}

/// Names in a run's folder; its lock and the leftovers of killed runs are not counted.
pub fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| !is_leftover(name) && name != LOCK).collect()
}

/// Whether an open file is the one that stands at a path.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |about: std::fs::Metadata| (about.dev(), about.ino());
    let there = std::fs::metadata(path).map(place);
    file.metadata().map(place).is_ok_and(|ours| there.is_ok_and(|there| there == ours))
}

#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::temporary_folder;

    #[test]
    fn one_run_at_a_time() {
        let folder = temporary_folder();
        let lock = FolderLock::take(folder.path()).unwrap();
        let error = FolderLock::take(folder.path()).unwrap_err();
        assert!(matches!(error, LockError::InUse { .. }) && error.hint().is_some(), "{error}");
        assert!(names(folder.path()).is_empty(), "the lock is not counted");
        drop(lock);
        FolderLock::take(folder.path()).unwrap();
    }
}
