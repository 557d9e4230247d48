//! Files that are there whole or not at all, and text that is read with a limit.
//!
//! A file is written beside its place, flushed to the disk, and renamed (the folder is flushed too), so that a kill
//! or a power cut at any moment leaves either the old content or the new one, never a part.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{FileAction, FileError, Hint};

/// In the name of every unfinished file and folder of ours.
const PARTIAL_MARK: &str = ".tsumugi-partial-";

/// Replaces `path` by a file holding `bytes`, whole or not at all. The folder must exist.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(|source| FileError::write(path, source))?;
    file.commit()
}

/// Creates `path`, which must not be there yet, holding a secret: on Unix only its owner may read it.
pub fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    if fs::symlink_metadata(path).is_ok() {
        return Err(FileError::create(path, io::ErrorKind::AlreadyExists.into()));
    }
    let mut file = AtomicFile::create(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&file.partial, fs::Permissions::from_mode(0o600))
            .map_err(|source| FileError::create(path, source))?;
    }
    file.write_all(bytes).map_err(|source| FileError::write(path, source))?;
    file.commit()
}

/// Creates `path` and the folders above it; no error if it is there.
pub fn create_folder(path: &Path) -> Result<(), FileError> {
    fs::create_dir_all(path).map_err(|source| {
        let file = path.ancestors().find(|above| above.is_file());
        let named = |file: &Path| {
            io::Error::new(io::ErrorKind::NotADirectory, format!("{} is a file, not a folder", file.display()))
        };
        FileError::create(path, file.map_or(source, named))
    })
}

/// A file that takes its place only at [`AtomicFile::commit`]; dropped without it, nothing is left.
///
/// A symbolic link at `path` is replaced, not followed. Leftovers of killed runs beside `path` are removed.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    partial: PathBuf,
    /// None once committed.
    file: Option<BufWriter<File>>,
}

impl AtomicFile {
    /// Begins a file that will stand at `path`.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        if path.is_dir() {
            return Err(FileError::create(path, io::ErrorKind::IsADirectory.into()));
        }
        // A new name over a device or a pipe would take it away from everyone.
        if fs::metadata(path).is_ok_and(|about| !about.is_file()) {
            let reason = io::Error::new(io::ErrorKind::InvalidInput, "it is there and no ordinary file");
            return Err(FileError::create(path, reason));
        }
        remove_leftovers(path);
        let open = |partial: &Path| OpenOptions::new().read(true).write(true).create_new(true).open(partial);
        let (partial, file) = create_partial(path, open)?;
        Ok(Self { path: path.to_owned(), partial, file: Some(BufWriter::with_capacity(1 << 18, file)) })
    }

    /// Where the file will stand.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Flushes everything to the disk and puts the file into its place.
    pub fn commit(mut self) -> Result<(), FileError> {
        self.finish().map_err(|source| FileError::write(&self.path, source))
    }

    fn finish(&mut self) -> io::Result<()> {
        let writer = self.file.as_mut().ok_or_else(closed)?;
        writer.flush()?;
        writer.get_ref().sync_all()?;
        self.file = None;
        if let Err(error) = fs::rename(&self.partial, &self.path) {
            let _ = fs::remove_file(&self.partial); // the rename's error is the one to tell
            return Err(error);
        }
        sync_folder(&self.path)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_mut().ok_or_else(closed)?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().ok_or_else(closed)?.flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, position: io::SeekFrom) -> io::Result<u64> {
        self.file.as_mut().ok_or_else(closed)?.seek(position)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(writer) = self.file.take() {
            drop(writer.into_parts()); // discards what is buffered instead of writing it
            let _ = fs::remove_file(&self.partial); // best effort: a later run removes leftovers
        }
    }
}

fn closed() -> io::Error {
    io::Error::other("the file is already closed")
}

/// A folder that takes its place only at [`AtomicFolder::commit`]; dropped without it, nothing is left.
#[derive(Debug)]
pub struct AtomicFolder {
    path: PathBuf,
    partial: PathBuf,
    committed: bool,
}

impl AtomicFolder {
    /// Begins a folder that will stand at `path`, which must not exist yet (an empty folder there is replaced).
    pub fn create(path: &Path) -> Result<Self, FileError> {
        if path.is_file() || (path.is_dir() && fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some())) {
            return Err(FileError::create(path, io::ErrorKind::AlreadyExists.into()));
        }
        remove_leftovers(path);
        let (partial, ()) = create_partial(path, |partial| fs::create_dir(partial))?;
        Ok(Self { path: path.to_owned(), partial, committed: false })
    }

    /// The folder to write into until it is committed.
    pub fn partial_path(&self) -> &Path {
        &self.partial
    }

    /// Flushes every file in it to the disk and puts the folder into its place.
    pub fn commit(mut self) -> Result<(), FileError> {
        sync_tree(&self.partial)
            .and_then(|()| fs::rename(&self.partial, &self.path))
            .and_then(|()| {
                self.committed = true;
                sync_folder(&self.path)
            })
            .map_err(|source| FileError::write(&self.path, source))
    }
}

impl Drop for AtomicFolder {
    fn drop(&mut self) {
        if !self.committed {
            let _ = fs::remove_dir_all(&self.partial); // best effort: a later run removes leftovers
        }
    }
}

fn sync_tree(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_opened_folder(folder)
}

/// Flushes the folder that holds `path`, so that the rename itself survives a power cut.
fn sync_folder(path: &Path) -> io::Result<()> {
    match folder_of(path) {
        Some(folder) => sync_opened_folder(folder),
        None => Ok(()),
    }
}

#[cfg(unix)]
fn sync_opened_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some network and overlay file systems cannot flush a folder; the rename stands all the same.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        other => other,
    }
}

#[cfg(not(unix))]
fn sync_opened_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

fn folder_of(path: &Path) -> Option<&Path> {
    let folder = path.parent()?;
    Some(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })
}

/// Whether a file of this name is what a killed run left of an unfinished one.
pub fn is_leftover(name: &str) -> bool {
    name.starts_with('.') && name.contains(PARTIAL_MARK)
}

/// Partial names that may be taken by leftovers of an earlier process of the same number (in a container that is started
/// again, every process has the number of the one before it).
const TAKEN_MAX: usize = 1000;

/// Creates what will stand at `path` under a partial name that is free.
fn create_partial<T>(path: &Path, create: impl Fn(&Path) -> io::Result<T>) -> Result<(PathBuf, T), FileError> {
    for _ in 0..TAKEN_MAX {
        let partial = partial_path(path)?;
        match create(&partial) {
            Ok(made) => return Ok((partial, made)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(FileError::create(path, source)),
        }
    }
    Err(FileError::create(path, io::ErrorKind::AlreadyExists.into()))
}

/// Counts the partial names that this process has given.
static NEXT_PARTIAL: AtomicU64 = AtomicU64::new(0);

/// `.name.tsumugi-partial-HOST-PID-N` beside `path`: two processes, two threads or two hosts never share one.
fn partial_path(path: &Path) -> Result<PathBuf, FileError> {
    let name = path.file_name().ok_or_else(|| FileError::create(path, io::ErrorKind::IsADirectory.into()))?;
    let mut partial = std::ffi::OsString::from(".");
    partial.push(name);
    let number = NEXT_PARTIAL.fetch_add(1, Ordering::Relaxed);
    partial.push(format!("{PARTIAL_MARK}{}-{}-{number}", host_word(), std::process::id()));
    Ok(path.with_file_name(partial))
}

/// This host's name, letters and digits only.
fn host_word() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let word: String = name.chars().filter(char::is_ascii_alphanumeric).take(32).collect();
    if word.is_empty() { "host".into() } else { word }
}

/// Removes what killed processes of this host left beside `path`. Silent: it is only tidying.
fn remove_leftovers(path: &Path) {
    let (Some(folder), Some(name)) = (folder_of(path), path.file_name().and_then(|name| name.to_str())) else { return };
    let prefix = format!(".{name}{PARTIAL_MARK}{}-", host_word());
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let file_name = entry.file_name();
        let Some(rest) = file_name.to_str().and_then(|name| name.strip_prefix(&prefix)) else { continue };
        let (process, number) = rest.split_once('-').unwrap_or((rest, ""));
        // Without /proc we cannot know whether its writer lives, so it stays.
        if process.parse::<u32>().is_err() || !Path::new("/proc/self").exists() {
            continue;
        }
        // One of our own number that we have not given is of an earlier process that had the same.
        let is_ours = process.parse() == Ok(std::process::id());
        let given = number.parse().is_ok_and(|number: u64| number < NEXT_PARTIAL.load(Ordering::Relaxed));
        if if is_ours { given } else { is_running(process) } {
            continue;
        }
        let _ = match entry.file_type() {
            Ok(kind) if kind.is_dir() => fs::remove_dir_all(entry.path()),
            _ => fs::remove_file(entry.path()),
        };
    }
}

/// Whether a process of this number writes still. One that was killed and that nobody has waited for stays in the table of
/// processes as a zombie (`Z`), for ever where nothing does (containers without an init); it has let go of its files.
fn is_running(process: &str) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat")) else {
        return Path::new("/proc").join(process).exists();
    };
    // `NUMBER (NAME) STATE ...`; a name may have parentheses.
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    !matches!(state, Some('Z' | 'X'))
}

/// A text could not be read. Each way has its own sentence.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// The path is a folder.
    #[error("{path} is a folder, but a text file is needed", path = .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// The file has no bytes.
    #[error("{path} is empty", path = .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// More bytes than the limit.
    #[error("{path} has {found}, but at most {limit} are read", path = .path.display(),
            found = bytes_found(*.bytes), limit = crate::units::bytes(*.limit_bytes))]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size; none for a pipe, whose size is unknown.
        bytes: Option<u64>,
        /// The limit.
        limit_bytes: u64,
    },
    /// A NUL byte, or bytes that are not UTF-8.
    #[error("{path} is not a text file: {what} at byte {offset}", path = .path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// Where the first wrong byte is, from 0.
        offset: u64,
        /// What is there.
        what: NotText,
    },
}

/// Why bytes are not text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotText {
    /// A NUL byte: no text has one.
    Nul,
    /// A byte-order mark of UTF-16 or UTF-32.
    Utf16Mark,
    /// A byte that UTF-8 does not allow there.
    InvalidByte(u8),
}

impl std::fmt::Display for NotText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nul => f.write_str("a NUL byte"),
            Self::Utf16Mark => f.write_str("a UTF-16 byte-order mark"),
            Self::InvalidByte(byte) => write!(f, "0x{byte:02x}, which is not UTF-8,"),
        }
    }
}

fn bytes_found(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "more".into(), crate::units::bytes)
}

impl Hint for TextError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::File(file) => file.hint(),
            Self::Folder { path } => Some(format!("name one file in it: `ls {}`", path.display())),
            Self::Empty { .. } => Some("was it written completely?".into()),
            Self::TooLarge { .. } => Some("split it into smaller files".into()),
            Self::NotText { path, what: NotText::Utf16Mark, .. } => {
                Some(format!("convert it first: `iconv -f UTF-16 -t UTF-8 {}`", path.display()))
            }
            Self::NotText { path, what: NotText::InvalidByte(_), .. } => Some(format!(
                "if it is text in another encoding, convert it first: `iconv -f LATIN1 -t UTF-8 {}`",
                path.display()
            )),
            Self::NotText { .. } => Some("give a plain text file in UTF-8".into()),
        }
    }
}

/// Reads at most `bytes_max` bytes of a file or pipe. Never allocates more than that, whatever the file claims.
pub fn read_limited(path: &Path, bytes_max: u64) -> Result<Vec<u8>, TextError> {
    let file = File::open(path).map_err(|source| FileError::read(path, source))?;
    read_opened_limited(&file, path, bytes_max)
}

/// [`read_limited`] of an open file, from its current position; `path` is for messages only.
pub fn read_opened_limited(mut file: &File, path: &Path, bytes_max: u64) -> Result<Vec<u8>, TextError> {
    let about = file.metadata().map_err(|source| FileError::read(path, source))?;
    if about.is_dir() {
        return Err(TextError::Folder { path: path.to_owned() });
    }
    let size = about.is_file().then_some(about.len());
    if let Some(bytes) = size.filter(|&bytes| bytes > bytes_max) {
        return Err(TextError::TooLarge { path: path.to_owned(), bytes: Some(bytes), limit_bytes: bytes_max });
    }
    let mut bytes = Vec::new();
    let reserve = usize::try_from(size.unwrap_or(0)).unwrap_or(0);
    bytes.try_reserve(reserve).map_err(|error| FileError::read(path, io::Error::other(error)))?;
    (&mut file)
        .take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|source| FileError::new(FileAction::Read, path, source))?;
    if bytes.len() as u64 > bytes_max {
        return Err(TextError::TooLarge { path: path.to_owned(), bytes: None, limit_bytes: bytes_max });
    }
    Ok(bytes)
}

/// [`read_limited`] of a plain file: opening a pipe by its name would wait for its writer. One that is open already
/// (`/dev/stdin`, a shell's `<(…)`) is read.
pub fn read_plain(path: &Path, bytes_max: u64) -> Result<Vec<u8>, TextError> {
    let about = fs::metadata(path).map_err(|source| FileError::read(path, source))?;
    if !about.is_file() && !about.is_dir() && !is_open_pipe(path) {
        return Err(FileError::read(path, io::Error::other("it is no plain file")).into());
    }
    read_limited(path, bytes_max)
}

/// Whether a path that leads to a pipe has no name behind it, but a handle of a process: links of `/dev/fd` lead to
/// `pipe:[123]`, which is no path.
fn is_open_pipe(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|about| about.is_symlink())
        && fs::canonicalize(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Reads a UTF-8 text of at most `bytes_max` bytes. A missing, empty, binary and too large file, and a folder, are
/// distinct errors. A UTF-8 byte-order mark is dropped.
pub fn read_to_string_limited(path: &Path, bytes_max: u64) -> Result<String, TextError> {
    text_from_bytes(read_limited(path, bytes_max)?, path)
}

/// The checks of [`read_to_string_limited`] on bytes that are already here; `path` is for messages only.
pub fn text_from_bytes(mut bytes: Vec<u8>, path: &Path) -> Result<String, TextError> {
    if bytes.is_empty() {
        return Err(TextError::Empty { path: path.to_owned() });
    }
    let not_text = |offset: usize, what| TextError::NotText { path: path.to_owned(), offset: offset as u64, what };
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(not_text(0, NotText::Utf16Mark));
    }
    if bytes.starts_with(&[0xef, 0xbb, 0xbf]) {
        bytes.drain(..3);
    }
    let nul = bytes.iter().position(|&byte| byte == 0);
    match String::from_utf8(bytes) {
        Ok(text) => match nul {
            None => Ok(text),
            Some(offset) => Err(not_text(offset, NotText::Nul)),
        },
        Err(error) => {
            let invalid = error.utf8_error().valid_up_to();
            match nul {
                Some(offset) if offset < invalid => Err(not_text(offset, NotText::Nul)),
                _ => Err(not_text(invalid, NotText::InvalidByte(error.as_bytes()[invalid]))),
            }
        }
    }
}

#[cfg(test)]
#[path = "io_tests.rs"]
mod tests;
