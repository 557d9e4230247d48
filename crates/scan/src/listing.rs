//! Which files there are at and below a path.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tsumugi_base::{FileAction, FileError};

/// Every plain file at or below `paths`, in order, but for what `excluded` says; and how many that left out.
///
/// Links are followed, but no folder is entered twice. A file that is there under several paths is listed once for each
/// name that it has, by its first path; by a path without links only if there is no other: in a hub's cache
/// `snapshots/…/model.safetensors` is a link to `blobs/<hash>`, and its name is the link's.
pub fn list(paths: &[PathBuf], excluded: &dyn Fn(&Path) -> bool) -> Result<(Vec<PathBuf>, usize), FileError> {
    let mut listing = Listing { excluded, entered: BTreeSet::new(), files: BTreeMap::new(), left_out: 0 };
    for path in paths {
        listing.add(path)?;
    }
    let mut files = Vec::new();
    for (real, named) in listing.files {
        let is_link = |path: &PathBuf| path.file_name() != real.file_name();
        let has_link = named.values().any(is_link);
        files.extend(named.into_values().filter(|path| !has_link || is_link(path)));
    }
    files.sort();
    Ok((files, listing.left_out))
}

struct Listing<'e> {
    excluded: &'e dyn Fn(&Path) -> bool,
    entered: BTreeSet<PathBuf>,
    /// Real path to the names that it has, each with its first path.
    files: BTreeMap<PathBuf, BTreeMap<PathBuf, PathBuf>>,
    left_out: usize,
}

impl Listing<'_> {
    fn add(&mut self, path: &Path) -> Result<(), FileError> {
        let about = fs::metadata(path).map_err(|source| FileError::read(path, source))?;
        if !about.is_file() && !about.is_dir() {
            return Ok(()); // a pipe or a device: opening it would wait for its writer
        }
        if (self.excluded)(path) {
            self.left_out += 1;
            return Ok(());
        }
        let failed = |source: io::Error| FileError::new(FileAction::List, path, source);
        let real = path.canonicalize().map_err(failed)?;
        if about.is_file() {
            let name = path.file_name().unwrap_or_default().into();
            let first = self.files.entry(real).or_default().entry(name).or_insert_with(|| path.to_owned());
            if path < first.as_path() {
                path.clone_into(first);
            }
            return Ok(());
        }
        if !self.entered.insert(real) {
            return Ok(());
        }
        let mut inside = Vec::new();
        for entry in fs::read_dir(path).map_err(failed)? {
            inside.push(entry.map_err(failed)?.path());
        }
        inside.sort();
        for path in inside.iter().filter(|path| !path.ends_with(".git")) {
            match self.add(path) {
                // A link to nowhere inside of a folder has nothing to load.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsumugi_base::testing::temporary_folder;

    fn names(root: &Path, paths: &[&str], excluded: &dyn Fn(&Path) -> bool) -> (Vec<String>, usize) {
        let paths: Vec<PathBuf> = paths.iter().map(|path| root.join(path)).collect();
        let (files, left_out) = list(&paths, excluded).expect("it is there");
        let name = |file: PathBuf| file.strip_prefix(root).expect("it is below").display().to_string();
        (files.into_iter().map(name).collect(), left_out)
    }

    #[test]
    #[cfg(unix)]
    fn a_blob_of_a_hub_is_listed_once_by_its_name() {
        use std::os::unix::fs::symlink;
        let folder = temporary_folder();
        let root = folder.path();
        for path in ["m/blobs", "m/snapshots/1", "m/snapshots/2"] {
            fs::create_dir_all(root.join(path)).expect("it is made");
        }
        for blob in ["aa", "bb", "cc"] {
            fs::write(root.join("m/blobs").join(blob), blob).expect("it is written");
        }
        let links =
            [("1/model.bin", "aa"), ("2/model.bin", "aa"), ("2/other.pt", "aa"), ("2/a.json", "bb"), ("2/no", "none")];
        for (link, blob) in links {
            symlink(format!("../../blobs/{blob}"), root.join("m/snapshots").join(link)).expect("it is made");
        }
        symlink("..", root.join("m/snapshots/up")).expect("it is made");
        let (files, _) = names(root, &["m"], &|_| false);
        let expected = ["m/blobs/cc", "m/snapshots/1/model.bin", "m/snapshots/2/a.json", "m/snapshots/2/other.pt"];
        assert_eq!(files, expected);
        assert_eq!(names(root, &["m/blobs/aa"], &|_| false).0, ["m/blobs/aa"]);
        let (files, left_out) = names(root, &["m", "m"], &|path| path.ends_with("snapshots"));
        assert_eq!((files, left_out), (vec!["m/blobs/aa".into(), "m/blobs/bb".into(), "m/blobs/cc".into()], 1));
    }
}
