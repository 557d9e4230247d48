//! The cache in the layout of `huggingface_hub`, so that its tools and ours share every file:
//!
//! ```text
//! models--org--name/blobs/HASH                        the bytes; HASH.incomplete until they are whole
//! models--org--name/refs/main                         the commit that a branch was last seen at
//! models--org--name/snapshots/COMMIT/config.json      a link to its blob
//! .locks/models--org--name/HASH.lock                  held while a blob is fetched
//! ```

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use tsumugi_base::FileError;
use tsumugi_base::io::{create_folder, read_limited, write_atomic};
use tsumugi_base::limits::MODEL_FOLDER_FILES_MAX;
use tsumugi_base::progress::Observer;

use super::listing::RemoteFile;
use crate::download::Lock;
use crate::error::HubError;
use crate::links::link;
use crate::names::{SHA1_DIGITS, is_hex, is_safe_path};

/// One repository in the cache.
#[derive(Debug)]
pub(super) struct Repository {
    cache: PathBuf,
    name: String,
}

impl Repository {
    /// `repository` is `org/name`, checked.
    pub(super) fn new(cache: &Path, repository: &str) -> Self {
        Self { cache: cache.to_owned(), name: format!("models--{}", repository.replace('/', "--")) }
    }

    fn path(&self) -> PathBuf {
        self.cache.join(&self.name)
    }

    fn blob(&self, file: &RemoteFile) -> PathBuf {
        self.path().join("blobs").join(file.digest.digits())
    }

    /// Whether a file of its size is there under its hash; nobody has looked whether it has that hash.
    pub(super) fn has(&self, file: &RemoteFile) -> bool {
        self.about(file).is_some()
    }

    /// The same, with what the file system says of it.
    pub(super) fn about(&self, file: &RemoteFile) -> Option<Metadata> {
        let about = fs::metadata(self.blob(file)).ok()?;
        (about.is_file() && about.len() == file.bytes).then_some(about)
    }

    /// Where it lies until it is whole, and then.
    pub(super) fn blob_paths(&self, file: &RemoteFile) -> Result<(PathBuf, PathBuf), HubError> {
        let place = self.blob(file);
        create_folder(&self.path().join("blobs"))?;
        Ok((place.with_added_extension("incomplete"), place))
    }

    /// The lock that `huggingface_hub` takes for the same blob.
    pub(super) fn lock(&self, file: &RemoteFile, observer: &dyn Observer) -> Result<Lock, HubError> {
        let folder = self.cache.join(".locks").join(&self.name);
        Lock::take(&folder.join(format!("{}.lock", file.digest.digits())), &file.path, observer)
    }

    /// The folder of a commit.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.path().join("snapshots").join(commit)
    }

    /// Makes a blob appear in the folder of a commit under its own name.
    pub(super) fn link(&self, commit: &str, file: &RemoteFile) -> Result<(), HubError> {
        let pointer = self.snapshot(commit).join(&file.path);
        let is_linked = fs::metadata(&pointer).is_ok_and(|about| about.len() == file.bytes);
        let leads_here = fs::canonicalize(&pointer).ok() == fs::canonicalize(self.blob(file)).ok();
        if is_linked && leads_here {
            return Ok(());
        }
        if let Some(folder) = pointer.parent() {
            create_folder(folder)?;
        }
        let _ = fs::remove_file(&pointer); // a link that leads elsewhere; if it cannot go, the next line says so
        // Relative, so that the cache may be moved: up out of the file's folders, the commit's, and `snapshots`.
        let up = "../".repeat(file.path.split('/').count() + 1);
        let target = format!("{up}blobs/{}", file.digest.digits());
        link(Path::new(&target), &self.blob(file), &pointer).map_err(|source| FileError::create(&pointer, source))?;
        Ok(())
    }

    /// Remembers which commit a branch or tag is.
    pub(super) fn set_reference(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        let path = self.path().join("refs").join(revision);
        if revision == commit || self.commit_of(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            create_folder(folder)?;
        }
        Ok(write_atomic(&path, commit.as_bytes())?)
    }

    /// The commit that a branch, a tag or a commit was last seen to be.
    pub(super) fn commit_of(&self, revision: &str) -> Option<String> {
        if is_hex(revision, SHA1_DIGITS) {
            return Some(revision.to_owned());
        }
        let bytes = read_limited(&self.path().join("refs").join(revision), SHA1_DIGITS as u64 + 1).ok()?;
        let commit = String::from_utf8(bytes).ok()?.trim().to_owned();
        is_hex(&commit, SHA1_DIGITS).then_some(commit)
    }

    /// Paths and sizes of a commit's files that are there, in alphabetical order.
    pub(super) fn files_of(&self, commit: &str) -> Vec<(String, u64)> {
        let mut files = Vec::new();
        add_files(&self.snapshot(commit), "", &mut files);
        files.sort();
        files
    }
}

/// As deep as repositories of models go: `onnx/`, `1_Pooling/`, `original/…`.
const DEPTH_MAX: usize = 4;

fn add_files(folder: &Path, prefix: &str, files: &mut Vec<(String, u64)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let (path, Ok(about)) = (format!("{prefix}{name}"), fs::metadata(entry.path())) else { continue };
        if !is_safe_path(&path) || files.len() == MODEL_FOLDER_FILES_MAX {
            continue;
        }
        if about.is_file() {
            files.push((path, about.len()));
        } else if prefix.split('/').count() < DEPTH_MAX && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            add_files(&entry.path(), &format!("{path}/"), files);
        }
    }
}

#[cfg(test)]
mod tests {
    use tsumugi_base::testing::temporary_folder;

    use super::*;
    use crate::digest::Digest;

    #[test]
    fn a_blob_appears_under_its_own_name() {
        let folder = temporary_folder();
        let repository = Repository::new(folder.path(), "org/name");
        let commit = "0".repeat(40);
        let file = RemoteFile { path: "a/b.json".into(), bytes: 2, digest: Digest::GitBlob("1".repeat(40)) };
        assert!(!repository.has(&file));
        let (partial, place) = repository.blob_paths(&file).unwrap();
        assert_eq!(partial, folder.path().join(format!("models--org--name/blobs/{}.incomplete", "1".repeat(40))));
        fs::write(&place, "{}").unwrap();
        assert!(repository.has(&file));
        for _ in 0..2 {
            repository.link(&commit, &file).unwrap();
            repository.set_reference("refs/pr/1", &commit).unwrap();
        }
        assert_eq!(fs::read_to_string(repository.snapshot(&commit).join("a/b.json")).unwrap(), "{}");
        assert_eq!(repository.commit_of("refs/pr/1"), Some(commit.clone()));
        assert_eq!(repository.commit_of("main"), None);
        assert_eq!(repository.files_of(&commit), [("a/b.json".into(), 2)]);
    }
}
