//! Which files there are at and below a path.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tsumugi_base::{FileAction, FileError};

/// What there is at and below paths.
#[derive(Debug, Default)]
pub struct Listed {
    /// Every plain file, in order.
    pub files: Vec<PathBuf>,
    /// How many files and folders were left out as excluded.
    pub left_out: usize,
    /// How many pipes, sockets and devices there are in folders.
    pub skipped: usize,
    /// What in folders cannot be looked at, and why.
    pub unread: Vec<(PathBuf, String)>,
}

/// Every plain file at or below `paths`, but for what `excluded` says. An error where a path that was named is not there or is
/// neither a file nor a folder.
///
/// Links are followed, but no folder is entered twice. A file that is there under several paths is listed once for each
/// name that it has, by its first path; a blob of a hub's cache by the names of links alone, if there are any:
/// `snapshots/…/model.safetensors` is a link to `blobs/<hash>`.
pub fn list(paths: &[PathBuf], excluded: &dyn Fn(&Path) -> bool) -> Result<Listed, FileError> {
    let listed = Listed::default();
    let mut listing = Listing { excluded, entered: BTreeSet::new(), files: BTreeMap::new(), listed };
    for path in paths {
        let about = fs::metadata(path).map_err(|source| FileError::read(path, source))?;
        if !about.is_file() && !about.is_dir() && !excluded(path) {
            let why = format!("it is {}, neither a file nor a folder", kind(&about));
            return Err(FileError::read(path, io::Error::other(why)));
        }
        listing.add(path)?;
    }
    let Listing { mut listed, files: by_real_path, .. } = listing;
    let files = &mut listed.files;
    for (real, named) in by_real_path {
        let is_link = |path: &PathBuf| path.file_name() != real.file_name();
        let only_links = is_blob(&real) && named.values().any(is_link);
        files.extend(named.into_values().filter(|path| !only_links || is_link(path)));
    }
    files.sort();
    Ok(listed)
}

/// What it is that is neither a file nor a folder.
fn kind(about: &fs::Metadata) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = about.file_type();
        if kind.is_fifo() {
            return "a pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
    }
    let _ = about;
    "a device"
}

/// Whether a hub's client keeps a file by its hash there: the name says nothing.
fn is_blob(real: &Path) -> bool {
    let name = real.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let is_hash = matches!(name.len(), 40 | 64) && name.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hash && real.parent().is_some_and(|folder| folder.ends_with("blobs"))
}

struct Listing<'e> {
    excluded: &'e dyn Fn(&Path) -> bool,
    entered: BTreeSet<PathBuf>,
    /// Real path to the names that it has, each with its first path.
    files: BTreeMap<PathBuf, BTreeMap<PathBuf, PathBuf>>,
    listed: Listed,
}

impl Listing<'_> {
    fn add(&mut self, path: &Path) -> Result<(), FileError> {
        let about = fs::metadata(path).map_err(|source| FileError::read(path, source))?;
        if (self.excluded)(path) {
            self.listed.left_out += 1;
            return Ok(());
        }
        if !about.is_file() && !about.is_dir() {
            self.listed.skipped += 1; // opening it would wait for its writer
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
                Err(error) => self.listed.unread.push((path.clone(), error.to_string())),
                Ok(()) => {}
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
        let Listed { files, left_out, .. } = list(&paths, excluded).expect("it is there");
        let name = |file: PathBuf| file.strip_prefix(root).expect("it is below").display().to_string();
        (files.into_iter().map(name).collect(), left_out)
    }

    #[test]
    #[cfg(unix)]
    fn what_cannot_be_listed_is_told() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = temporary_folder();
        let root = folder.path();
        for name in ["m", "m/closed", "m/open"] {
            fs::create_dir(root.join(name)).expect("it is made");
        }
        fs::write(root.join("m/open/a"), "a").expect("it is written");
        symlink("itself", root.join("m/itself")).expect("it is made");
        symlink("/dev/null", root.join("m/device")).expect("it is made");
        let mode = |mode| fs::set_permissions(root.join("m/closed"), fs::Permissions::from_mode(mode));
        mode(0).expect("it is ours");
        let may_all = fs::read_dir(root.join("m/closed")).is_ok(); // root
        let listed = list(&[root.join("m")], &|_| false).expect("it is there");
        mode(0o700).expect("it is ours");
        assert_eq!(listed.files, [root.join("m/open/a")]);
        let unread: Vec<PathBuf> = listed.unread.into_iter().map(|(path, _)| path).collect();
        assert_eq!(unread.contains(&root.join("m/closed")), !may_all);
        assert!(unread.contains(&root.join("m/itself")));
        assert_eq!(listed.skipped, 1);
        let error = list(&[PathBuf::from("/dev/null")], &|_| false).expect_err("it is no file").to_string();
        assert!(error.contains("a device"), "{error}");
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
        let hash = |letter: &str| letter.repeat(40);
        for blob in ["a", "b", "c"] {
            fs::write(root.join("m/blobs").join(hash(blob)), blob).expect("it is written");
        }
        let links =
            [("1/model.bin", "a"), ("2/model.bin", "a"), ("2/other.pt", "a"), ("2/a.json", "b"), ("2/no", "none")];
        for (link, blob) in links {
            symlink(format!("../../blobs/{}", hash(blob)), root.join("m/snapshots").join(link)).expect("it is made");
        }
        symlink("..", root.join("m/snapshots/up")).expect("it is made");
        let (files, _) = names(root, &["m"], &|_| false);
        let blob = |letter| format!("m/blobs/{}", hash(letter));
        let expected = [&*blob("c"), "m/snapshots/1/model.bin", "m/snapshots/2/a.json", "m/snapshots/2/other.pt"];
        assert_eq!(files, expected);
        assert_eq!(names(root, &[&blob("a")], &|_| false).0, [blob("a")]);
        let (files, left_out) = names(root, &["m", "m"], &|path| path.ends_with("snapshots"));
        assert_eq!((files, left_out), (["a", "b", "c"].map(blob).to_vec(), 1));
        // Any other file keeps its own name beside those of links.
        fs::create_dir(root.join("n")).expect("it is made");
        fs::write(root.join("n/chat_template.jinja"), "x").expect("it is written");
        symlink("chat_template.jinja", root.join("n/NOTES")).expect("it is made");
        assert_eq!(names(root, &["n"], &|_| false).0, ["n/NOTES", "n/chat_template.jinja"]);
    }
}
