//! Errors that say what, where, and one next step.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// An error that may know one next step for the user.
pub trait Hint {
    /// What to do about it, or nothing if we would only be guessing.
    fn hint(&self) -> Option<String> {
        None
    }
}

impl<T: Hint + ?Sized> Hint for Box<T> {
    fn hint(&self) -> Option<String> {
        (**self).hint()
    }
}

/// An error and its causes in one line, outermost first.
///
/// Many of our messages already end with the text of their cause (`cannot read a.txt: no such file or folder`), and
/// `#[error(transparent)]` repeats it whole; a cause whose text the line already contains is left out.
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !text.is_empty() && !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}

/// What was being done to a file when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileAction {
    /// Opening or reading a file.
    Read,
    /// Writing, flushing or renaming a file into its place.
    Write,
    /// Creating a file or a folder.
    Create,
    /// Removing a file or a folder.
    Remove,
    /// Listing a folder.
    List,
}

impl fmt::Display for FileAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Create => "create",
            Self::Remove => "remove",
            Self::List => "list",
        })
    }
}

/// The operating system refused something about a file: `cannot read notes.txt: no such file or folder`.
#[derive(Debug)]
pub struct FileError {
    action: FileAction,
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    /// `action` on `path` failed with `source`.
    pub fn new(action: FileAction, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self { action, path: path.into(), source }
    }

    /// Opening or reading `path` failed.
    pub fn read(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::new(FileAction::Read, path, source)
    }

    /// Writing `path` failed.
    pub fn write(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::new(FileAction::Write, path, source)
    }

    /// Creating `path` failed.
    pub fn create(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::new(FileAction::Create, path, source)
    }

    /// What was being done.
    pub fn action(&self) -> FileAction {
        self.action
    }

    /// The file or folder it was done to.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The operating system's kind of failure.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

/// The kinds that people meet, in plain words; everything else as the system says it.
fn plain_words(source: &io::Error) -> Option<&'static str> {
    if source.kind() == io::ErrorKind::NotADirectory && source.get_ref().is_some() {
        return None; // `create_folder` has said already which part of the path is a file
    }
    Some(match source.kind() {
        io::ErrorKind::NotFound => "no such file or folder",
        io::ErrorKind::PermissionDenied => "permission denied",
        io::ErrorKind::StorageFull => "the disk is full",
        io::ErrorKind::QuotaExceeded => "the disk quota is used up",
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only",
        io::ErrorKind::IsADirectory => "it is a folder",
        io::ErrorKind::NotADirectory => "a part of the path is a file, not a folder",
        io::ErrorKind::AlreadyExists => "it already exists",
        io::ErrorKind::FileTooLarge => "the file would be larger than the file system or a limit allows",
        _ => return None,
    })
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}: ", self.action, self.path.display())?;
        match plain_words(&self.source) {
            Some(words) => f.write_str(words),
            None => write!(f, "{}", self.source),
        }
    }
}

impl Error for FileError {
    /// None when the message already says it in plain words, so that a printed chain does not say it twice.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        if plain_words(&self.source).is_some() { None } else { Some(&self.source) }
    }
}

impl Hint for FileError {
    fn hint(&self) -> Option<String> {
        match self.source.kind() {
            io::ErrorKind::NotFound => Some(self.missing_hint()),
            io::ErrorKind::PermissionDenied if self.action == FileAction::Read => {
                Some(format!("look at its permissions: `ls -ld {}`", self.path.display()))
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Some("choose a folder that you may write to".into())
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Some("free some space and run the same command again; nothing half-written was left behind".into())
            }
            io::ErrorKind::IsADirectory => Some("give the path of a file".into()),
            io::ErrorKind::AlreadyExists => Some("give another path, or remove what is there".into()),
            io::ErrorKind::NotADirectory => Some("give the path of a folder".into()),
            _ => None,
        }
    }
}

impl FileError {
    /// Names the last part of the path that does exist: that is where the typing error begins.
    fn missing_hint(&self) -> String {
        let mut existing = self.path.parent();
        while let Some(folder) = existing {
            if folder.as_os_str().is_empty() || folder.exists() {
                break;
            }
            existing = folder.parent();
        }
        match existing {
            Some(folder) if folder.as_os_str().is_empty() => {
                "check the path; it is taken relative to the current folder".into()
            }
            Some(folder) => format!("check the path; {} exists", folder.display()),
            None => "check the path".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_names_the_last_part_that_exists() {
        let folder = crate::testing::temporary_folder();
        let path = folder.path().join("a/b/c.txt");
        let error = FileError::read(&path, std::fs::read(&path).unwrap_err());
        assert_eq!(error.to_string(), format!("cannot read {}: no such file or folder", path.display()));
        assert_eq!(error.hint(), Some(format!("check the path; {} exists", folder.path().display())));
        assert_eq!(error_chain(&error), error.to_string());
    }

    #[test]
    fn a_full_disk_is_told_in_plain_words() {
        // ENOSPC, as the system gives it.
        let error = FileError::write("model.safetensors", io::Error::from_raw_os_error(28));
        assert_eq!(error.to_string(), "cannot write model.safetensors: the disk is full");
        assert!(error.hint().is_some_and(|hint| hint.contains("free some space")));
    }

    #[derive(Debug, thiserror::Error)]
    #[error("the recipe cannot be used")]
    struct Outer(#[source] FileError);

    #[test]
    fn a_chain_says_each_cause_once() {
        let error = Outer(FileError::read("x", io::Error::other("odd")));
        assert_eq!(error_chain(&error), "the recipe cannot be used: cannot read x: odd");
    }
}
