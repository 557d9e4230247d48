//! Admission: only what a gate let through is loaded, and the bytes checked are the bytes loaded.
//!
//! [`OpenFolder`] opens every file once. The gate reads through those handles, and so does the loader later: renaming
//! another file into place between the two changes nothing. (A process that may write to the same file can still
//! change its bytes in place; no handle forbids that.) Symbolic links are followed, once: the Hugging Face cache is made
//! of them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tsumugi_base::io::{read_opened_limited, text_from_bytes};
use tsumugi_base::limits::MODEL_FOLDER_FILES_MAX;
use tsumugi_base::{FileAction, FileError, Hint};

use crate::error::FilesError;
use crate::mmap::MappedFile;

/// Decides whether a model may be loaded.
pub trait Gate {
    /// Looks at the open files; `Err` says why not.
    fn check(&self, folder: &OpenFolder) -> Result<(), Refusal>;
}

/// Why a gate does not let a folder through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path} is not admitted: {reason}", path = .path.display())]
pub struct Refusal {
    /// The folder, or the file in it.
    pub path: PathBuf,
    /// One clause.
    pub reason: String,
    /// One next step.
    pub next_step: Option<String>,
}

impl Hint for Refusal {
    fn hint(&self) -> Option<String> {
        self.next_step.clone()
    }
}

/// A gate that admits everything, and says why that is right where it is used.
#[derive(Debug, Clone, Copy)]
pub struct NoScan {
    /// Why no scan is needed here.
    pub reason: &'static str,
}

impl Gate for NoScan {
    fn check(&self, _folder: &OpenFolder) -> Result<(), Refusal> {
        Ok(())
    }
}

/// What a gate let through. Nothing outside of this crate can make one, except by admission.
#[derive(Debug)]
pub struct Admitted<T>(T);

impl<T> Admitted<T> {
    /// Only for what a gate has just checked.
    pub(crate) fn new(checked: T) -> Self {
        Self(checked)
    }
}

impl<T> Deref for Admitted<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// A folder whose files were all opened, once. Folders inside of it are not entered, but for those of the parts that a model
/// of sentence-transformers lists in its `modules.json`: their settings are files of the folder, as `1_Pooling/config.json`.
#[derive(Debug)]
pub struct OpenFolder {
    path: PathBuf,
    files: BTreeMap<String, OpenFile>,
    /// Files that are there but could not be opened.
    closed: BTreeMap<String, io::ErrorKind>,
    /// Whether all files were to be opened, and not only some that were named.
    is_whole: bool,
}

impl OpenFolder {
    /// Opens every file of `path`, in alphabetical order. A file that cannot be opened is an error only when it is
    /// asked for. Pipes, devices and hidden files are left alone.
    pub fn open(path: &Path) -> Result<Self, FilesError> {
        let about = fs::metadata(path).map_err(|source| FileError::read(path, source))?;
        if !about.is_dir() {
            return Err(FilesError::NotAModel { path: path.to_owned() });
        }
        let failed = |source| FileError::new(FileAction::List, path, source);
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(failed)? {
            let Ok(name) = entry.map_err(failed)?.file_name().into_string() else { continue };
            if name.starts_with('.') {
                continue;
            }
            match path.join(&name).is_dir() {
                true if is_part(&name) => names.push(format!("{name}/{PART_SETTINGS}")),
                true => {}
                false => names.push(name),
            }
            if names.len() > MODEL_FOLDER_FILES_MAX {
                return Err(FilesError::TooManyFiles { path: path.to_owned(), limit: MODEL_FOLDER_FILES_MAX });
            }
        }
        let in_parts = names.iter().any(|name| name == PARTS);
        names.retain(|name| !name.contains('/') || in_parts && fs::symlink_metadata(path.join(name)).is_ok());
        names.sort();
        Ok(Self { is_whole: true, ..Self::of_files(path, &names) })
    }

    /// Opens these files of `path` and no others.
    pub(crate) fn of_files(path: &Path, names: &[String]) -> Self {
        let mut folder =
            Self { path: path.to_owned(), files: BTreeMap::new(), closed: BTreeMap::new(), is_whole: false };
        for name in names {
            match OpenFile::open(path.join(name)) {
                Ok(Some(file)) => {
                    folder.files.insert(name.clone(), file);
                }
                Ok(None) => {}
                Err(error) => {
                    folder.closed.insert(name.clone(), error.kind());
                }
            }
        }
        folder
    }

    /// Opens one file of a folder and no others.
    pub fn of_file(path: &Path) -> Result<Self, FilesError> {
        let failed = |source| FileError::read(path, source);
        let file = OpenFile::open(path.to_owned()).map_err(failed)?;
        let file = file.ok_or_else(|| failed(io::Error::other("it is no plain file")))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Self { path: folder, files: BTreeMap::from([(name, file)]), closed: BTreeMap::new(), is_whole: false })
    }

    /// The folder, as it was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file, if one was opened and not a folder.
    pub fn only_file(&self) -> Option<&OpenFile> {
        self.files.values().next().filter(|_| self.files.len() == 1 && !self.is_whole)
    }

    /// Names and files, in alphabetical order.
    pub fn files(&self) -> impl Iterator<Item = (&str, &OpenFile)> {
        self.files.iter().map(|(name, file)| (name.as_str(), file))
    }

    /// Names of all files that are there, those that could not be opened last.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().chain(self.closed.keys()).map(String::as_str)
    }

    /// Whether a plain file of that name in the folder would be among these. What stands in its place, as a folder, is not.
    pub fn takes(&self, name: &str) -> bool {
        let is_taken = match name.split_once('/') {
            None => !name.starts_with('.'),
            Some((part, file)) => file == PART_SETTINGS && is_part(part) && self.files.contains_key(PARTS),
        };
        self.is_whole && is_taken
    }

    /// The file of that name: none if it is not there, an error if it is but cannot be opened.
    pub fn file(&self, name: &str) -> Result<Option<&OpenFile>, FilesError> {
        match self.closed.get(name) {
            Some(&kind) => Err(FileError::read(self.path.join(name), kind.into()).into()),
            None => Ok(self.files.get(name)),
        }
    }
}

/// The list of a model's parts.
const PARTS: &str = "modules.json";

/// The one file that is opened of a part.
const PART_SETTINGS: &str = "config.json";

/// Whether a folder inside of a model's is named like a part of it: `1_Pooling`, `2_Normalize`.
fn is_part(name: &str) -> bool {
    name.split_once('_').is_some_and(|(number, kind)| {
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        digits && !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// One open file of a folder.
#[derive(Debug)]
pub struct OpenFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    text: OnceLock<String>,
}

impl OpenFile {
    /// None for what is not a plain file: opening a pipe would wait for its writer.
    fn open(path: PathBuf) -> io::Result<Option<Self>> {
        if !fs::metadata(&path)?.is_file() {
            return Ok(None);
        }
        let file = File::open(&path)?;
        let about = file.metadata()?;
        let bytes = about.len();
        Ok(about.is_file().then_some(Self { path, file, bytes, text: OnceLock::new() }))
    }

    /// As it was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its size when it was opened.
    pub fn size_bytes(&self) -> u64 {
        self.bytes
    }

    /// Its content as bytes, without reading it first.
    pub fn map(&self) -> Result<MappedFile, FilesError> {
        Ok(MappedFile::of(&self.file, &self.path)?)
    }

    /// A copy of its content, of at most `bytes_max`.
    pub fn bytes(&self, bytes_max: u64) -> Result<Vec<u8>, FilesError> {
        // A handle has one position, which another thread may be moving; the mapping has none.
        if self.bytes > bytes_max {
            return Ok(read_opened_limited(&self.file, &self.path, bytes_max)?); // its error names both sizes
        }
        Ok(self.map()?.to_vec())
    }

    /// Its content as UTF-8 text of at most `bytes_max`, read once and kept.
    pub fn text(&self, bytes_max: u64) -> Result<&str, FilesError> {
        if let Some(text) = self.text.get() {
            return Ok(text);
        }
        let text = text_from_bytes(self.bytes(bytes_max)?, &self.path)?;
        Ok(self.text.get_or_init(|| text))
    }
}
