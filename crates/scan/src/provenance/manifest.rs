//! Names and hashes of a model's files.
//!
//! A name is the path below the model's folder with `/` between its parts; the files are in the order of these parts, by
//! which the hash of the whole is defined. A model that is one file has one entry, named `.`.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use sha2::{Digest as _, Sha256};
use tsumugi_base::limits::LISTING_FILES_MAX;
use tsumugi_base::progress::{Meter, Observer};
use tsumugi_base::{FileAction, FileError, Hint};
use tsumugi_files::FilesError;
use tsumugi_files::OpenFile;
use tsumugi_files::mmap::MappedFile;

use super::SIGNATURE_FILE;

/// Bytes of one piece, where files are hashed in pieces: `model-signing`'s own.
pub const PIECE_BYTES: u64 = 1_000_000_000;

/// What is never part of a model, as `model-signing` has it; and our own name of a signature.
const IGNORED: [&str; 5] = [".git", ".gitattributes", ".github", ".gitignore", SIGNATURE_FILE];

/// How many bytes are hashed before their memory is given back.
const BLOCK_BYTES: usize = 16 << 20;

/// Which files are taken, and how they are hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Names of files and folders that are left out.
    pub ignored: Vec<String>,
    /// Whether links to files are taken for the files. Otherwise a link is refused.
    pub follow_links: bool,
    /// Bytes of a piece, each of which has a hash of its own; none hashes whole files. An empty file has no piece.
    pub piece_bytes: Option<u64>,
}

impl Default for Selection {
    fn default() -> Self {
        Self { ignored: IGNORED.map(str::to_owned).to_vec(), follow_links: false, piece_bytes: None }
    }
}

impl Selection {
    /// Whether a name is left out: it, or a folder that it lies in.
    pub(super) fn ignores(&self, name: &str) -> bool {
        let covers = |ignored: &String| {
            name.strip_prefix(ignored.trim_end_matches('/'))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.ignored.iter().any(covers)
    }

    /// With the names as the walk has them: `./sub/` is `sub`. None may be the model itself, or lead out of it.
    fn normalized(mut self) -> Result<Self, HashError> {
        for name in &mut self.ignored {
            let parts: Vec<&str> = name.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
            if parts.is_empty() || parts.contains(&"..") || name.starts_with('/') {
                return Err(HashError::Ignored { name: name.clone() });
            }
            *name = parts.join("/");
        }
        Ok(self)
    }
}

/// The hash of a file, or of a piece of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileHash {
    /// The file.
    pub name: String,
    /// Bytes of the file; none is all of them.
    pub range: Option<Range<u64>>,
    /// SHA-256 of these.
    pub sha256: [u8; 32],
}

impl FileHash {
    /// In hexadecimal.
    pub fn hexadecimal(&self) -> String {
        self.sha256.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What a model is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The model's name, which nothing depends on.
    pub model: String,
    /// Its files, in order.
    pub files: Vec<FileHash>,
    /// How they were chosen.
    pub selection: Selection,
}

/// A model could not be hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// The system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// An open file could not be mapped.
    #[error(transparent)]
    Open(#[from] FilesError),
    /// Something in the folder is not a file that can be signed.
    #[error("{path} {reason}", path = .path.display())]
    NotAFile {
        /// What.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// More files than a model has.
    #[error("{path} has more than {LISTING_FILES_MAX} files", path = .path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
    },
    /// What is to be left out is no part of the model.
    #[error("`{name}` cannot be left out: it is no file or folder in the model")]
    Ignored {
        /// As it was given.
        name: String,
    },
    /// A file became shorter or longer meanwhile.
    #[error("{path} was changed while it was read", path = .path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// Ctrl-C.
    #[error("stopped before every file was hashed")]
    Stopped,
}

impl Hint for HashError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::File(file) => file.hint(),
            Self::Open(files) => files.hint(),
            Self::NotAFile { reason: LINK, .. } => Some("`--follow-links` takes links to files for the files".into()),
            Self::NotAFile { .. } => Some("`--ignore NAME` leaves it out".into()),
            Self::Ignored { .. } => Some("name it as it is below the model's folder: `sub/notes.txt`".into()),
            Self::TooMany { .. } => Some("name the folder of one model".into()),
            Self::Changed { .. } | Self::Stopped => Some("run it again".into()),
        }
    }
}

const LINK: &str = "is a link";

/// What a walk through a model's folder met.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Names and paths of files.
    pub files: Vec<(String, PathBuf)>,
    /// What can be no part of a model: its name, and why.
    pub refused: Vec<(String, PathBuf, &'static str)>,
    /// Names that were left out, though they are there.
    pub ignored: Vec<String>,
}

/// Every file of a model that is not left out, in order.
pub(super) fn list(model: &Path, selection: &Selection) -> Result<Listing, HashError> {
    let about = fs::metadata(model).map_err(|source| FileError::read(model, source))?;
    let mut listing = Listing::default();
    if about.is_file() {
        listing.files.push((".".into(), model.to_owned()));
        return Ok(listing);
    }
    let mut folders = vec![(String::new(), model.to_owned())];
    while let Some((prefix, folder)) = folders.pop() {
        let failed = |source| FileError::new(FileAction::List, &folder, source);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
            let Ok(name) = entry.file_name().into_string() else {
                let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
                listing.refused.push((name, path, "has a name that is not UTF-8"));
                continue;
            };
            let name = prefix.clone() + &name;
            if selection.ignores(&name) {
                listing.ignored.push(name);
            } else if kind.is_dir() {
                folders.push((name + "/", path));
            } else if kind.is_file() || kind.is_symlink() && selection.follow_links && path.is_file() {
                listing.files.push((name, path));
            } else {
                let reason = if kind.is_symlink() { LINK } else { "is neither a file nor a folder" };
                listing.refused.push((name, path, reason));
            }
            if listing.files.len() > LISTING_FILES_MAX {
                return Err(HashError::TooMany { path: model.to_owned() });
            }
        }
    }
    listing.files.sort_by(|(a, _), (b, _)| a.split('/').cmp(b.split('/')));
    listing.refused.sort();
    listing.ignored.sort();
    Ok(listing)
}

impl Manifest {
    /// Hashes every file of a model: a folder, or one file.
    pub fn of(model: &Path, selection: Selection, threads: usize, observer: &dyn Observer) -> Result<Self, HashError> {
        let selection = selection.normalized()?;
        let listing = list(model, &selection)?;
        if let Some((_, path, reason)) = listing.refused.into_iter().next() {
            return Err(HashError::NotAFile { path, reason });
        }
        let files: Vec<_> = listing.files.into_iter().map(|(name, path)| (name, Source::Path(path))).collect();
        let files = hash_files(&files, selection.piece_bytes, threads, observer)?;
        let whole = model.canonicalize().map_err(|source| FileError::read(model, source))?;
        let name = whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { model: name, files, selection })
    }

    /// The hash of the whole: SHA-256 of the files' hashes, one after the other.
    pub fn root(&self) -> [u8; 32] {
        self.files.iter().fold(Sha256::new(), |hasher, file| hasher.chain_update(file.sha256)).finalize().into()
    }
}

/// A file to hash: by its path, or through a handle that is open.
#[derive(Debug)]
pub(crate) enum Source<'a> {
    /// Opened when it is hashed.
    Path(PathBuf),
    /// Open.
    Open(&'a OpenFile),
}

impl Source<'_> {
    fn bytes(&self) -> Result<u64, HashError> {
        match self {
            Self::Path(path) => Ok(fs::metadata(path).map_err(|source| FileError::read(path, source))?.len()),
            Self::Open(file) => Ok(file.size_bytes()),
        }
    }

    fn map(&self) -> Result<MappedFile, HashError> {
        match self {
            Self::Path(path) => Ok(MappedFile::open(path)?),
            Self::Open(file) => Ok(file.map()?),
        }
    }
}

/// Hashes files over threads, the largest first; what comes back is in the order of the files, and within each of its pieces.
pub(crate) fn hash_files(
    files: &[(String, Source<'_>)],
    piece_bytes: Option<u64>,
    threads: usize,
    observer: &dyn Observer,
) -> Result<Vec<FileHash>, HashError> {
    let sizes = files.iter().map(|(_, source)| source.bytes()).collect::<Result<Vec<_>, _>>()?;
    let pieces = pieces(&sizes, piece_bytes);
    let mut order: Vec<usize> = (0..pieces.len()).collect();
    order.sort_by_key(|&piece| std::cmp::Reverse(pieces[piece].1.end - pieces[piece].1.start));
    let total = pieces.iter().map(|(_, range)| range.end - range.start).sum();
    let meter = Mutex::new(Meter::new("hash", 0, total, "bytes"));
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let tell = |bytes: u64| {
        let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let mut meter = meter.lock().unwrap_or_else(PoisonError::into_inner);
        if meter.is_due() {
            observer.event(&meter.step(done, Vec::new()));
        }
        !observer.stop_requested()
    };
    let hashes = Mutex::new(Vec::with_capacity(pieces.len()));
    let work = || {
        while let Some(&piece) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (file, range) = &pieces[piece];
            let hash = hash_piece(&files[*file].1, sizes[*file], range, &tell);
            let failed = hash.is_err();
            hashes.lock().unwrap_or_else(PoisonError::into_inner).push((piece, hash));
            if failed {
                return;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(pieces.len()) {
            scope.spawn(work);
        }
        work();
    });
    let mut hashes = hashes.into_inner().unwrap_or_else(PoisonError::into_inner);
    hashes.sort_by_key(|(piece, _)| *piece);
    let named = |(piece, hash): (usize, Result<[u8; 32], HashError>)| {
        let (file, range) = &pieces[piece];
        let range = piece_bytes.map(|_| range.clone());
        Ok(FileHash { name: files[*file].0.clone(), range, sha256: hash? })
    };
    hashes.into_iter().map(named).collect()
}

/// What is hashed in one go: the number of a file, and bytes of it.
fn pieces(sizes: &[u64], piece_bytes: Option<u64>) -> Vec<(usize, Range<u64>)> {
    let mut pieces = Vec::new();
    for (file, &bytes) in sizes.iter().enumerate() {
        match piece_bytes {
            None => pieces.push((file, 0..bytes)),
            Some(step) => {
                let mut start = 0;
                while start < bytes {
                    let end = bytes.min(start.saturating_add(step));
                    pieces.push((file, start..end));
                    start = end;
                }
            }
        }
    }
    pieces
}

/// The hash of a piece of a file that has `size` bytes, before and after.
fn hash_piece(
    source: &Source<'_>,
    size: u64,
    range: &Range<u64>,
    go_on: &dyn Fn(u64) -> bool,
) -> Result<[u8; 32], HashError> {
    let bytes = source.map()?;
    let changed = || HashError::Changed { path: bytes.path().to_owned() };
    let place = |at: u64| usize::try_from(at).map_err(|_| changed());
    if bytes.len() != place(size)? {
        return Err(changed());
    }
    let (mut start, end) = (place(range.start)?, place(range.end)?);
    let mut hasher = Sha256::new();
    while start < end {
        let stop = end.min(start + BLOCK_BYTES);
        hasher.update(bytes.get(start..stop).ok_or_else(changed)?);
        bytes.release(start..stop);
        if !go_on((stop - start) as u64) {
            return Err(HashError::Stopped);
        }
        start = stop;
    }
    if source.map()?.len() != bytes.len() {
        return Err(changed());
    }
    Ok(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use tsumugi_base::testing::temporary_folder;

    use super::*;

    #[test]
    fn a_file_that_grows_or_shrinks_is_told() {
        let folder = temporary_folder();
        let path = folder.path().join("weights");
        fs::write(&path, [7; 100]).unwrap();
        let source = Source::Path(path.clone());
        let hash = |go_on: &dyn Fn(u64) -> bool| hash_piece(&source, 100, &(0..100), go_on);
        assert_eq!(hash(&|_| true).unwrap(), <[u8; 32]>::from(Sha256::digest([7; 100])));
        for len in [99, 101] {
            let resize = |len: u64| fs::File::options().write(true).open(&path).unwrap().set_len(len).unwrap();
            resize(len);
            assert!(matches!(hash(&|_| true), Err(HashError::Changed { .. })), "{len} bytes when it is mapped");
            resize(100);
            let meanwhile = |_| {
                resize(len);
                true
            };
            assert!(matches!(hash(&meanwhile), Err(HashError::Changed { .. })), "{len} bytes when it is hashed");
            resize(100);
        }
        assert!(matches!(hash(&|_| false), Err(HashError::Stopped)));
    }
}
