//! The files that the paths of a source name.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tsumugi_base::FileError;

use super::{Format, Source, SourceFile};
use crate::corpus::CorpusError;

/// Every file of a source: paths in the order of the recipe, below each in the order of their names. A file that is named
/// twice is read once.
pub fn find(source: &Source) -> Result<Vec<SourceFile>, CorpusError> {
    let mut files = Vec::new();
    let mut seen = BTreeSet::new();
    for pattern in &source.paths {
        let before = files.len();
        for (path, name, is_named) in matches(source, pattern)? {
            if !seen.insert(path.clone()) {
                continue;
            }
            let Some(format) = source.format.or_else(|| Format::of(&path)) else {
                if is_named {
                    return Err(CorpusError::UnknownFormat { source_name: source.name.clone(), file: path });
                }
                continue;
            };
            let bytes = fs::metadata(&path).map_err(|error| FileError::read(&path, error))?.len();
            files.push(SourceFile::new(path, name, format, bytes));
        }
        if files.len() == before {
            return Err(CorpusError::NoFiles { source_name: source.name.clone(), pattern: pattern.clone() });
        }
    }
    Ok(files)
}

/// A path, its name in ids, and whether the recipe means this file and no folder around it.
type Found = (PathBuf, String, bool);

fn matches(source: &Source, pattern: &str) -> Result<Vec<Found>, CorpusError> {
    let pattern = &with_home(pattern);
    let path = Path::new(pattern);
    let mut found = Vec::new();
    if path.is_dir() {
        walk(path, path, &mut found)?;
    } else if path.is_file() {
        found.push((path.to_owned(), path.file_name().unwrap_or_default().to_string_lossy().into_owned(), true));
    } else {
        let no_files = || CorpusError::NoFiles { source_name: source.name.clone(), pattern: pattern.to_owned() };
        let root = fixed_folder(path);
        for entry in glob::glob(pattern).map_err(|_| no_files())? {
            let path = entry.map_err(|error| FileError::read(error.path().to_owned(), error.into()))?;
            if path.is_file() {
                found.push((path.clone(), name_below(&root, &path), false));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// A path that begins with `~/`, as shells read it.
fn with_home(pattern: &str) -> String {
    match (pattern.strip_prefix("~/"), std::env::var("HOME")) {
        (Some(below), Ok(home)) => format!("{home}/{below}"),
        _ => pattern.to_owned(),
    }
}

/// Every file below a folder. Links to folders are not followed: they may lead in a circle.
fn walk(root: &Path, folder: &Path, found: &mut Vec<Found>) -> Result<(), CorpusError> {
    let failed = |error| FileError::new(tsumugi_base::FileAction::List, folder, error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (kind, path) = (entry.file_type().map_err(failed)?, entry.path());
        if kind.is_dir() {
            walk(root, &path, found)?;
        } else if path.is_file() {
            let name = name_below(root, &path);
            found.push((path, name, false));
        }
    }
    Ok(())
}

/// The folder of a pattern above its first wildcard.
fn fixed_folder(pattern: &Path) -> PathBuf {
    let is_fixed = |part: &std::path::Component<'_>| !part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    pattern.components().take_while(is_fixed).collect()
}

fn name_below(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}
