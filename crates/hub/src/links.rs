//! A file under a second name.

use std::io;
use std::path::Path;

/// Makes `place` another name of the file `original`; `target` leads there from the folder of `place`.
#[cfg(unix)]
pub(crate) fn link(target: &Path, _original: &Path, place: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, place)
}

/// Where symbolic links are a privilege: a hard link, or on another disk a copy.
#[cfg(not(unix))]
pub(crate) fn link(_target: &Path, original: &Path, place: &Path) -> io::Result<()> {
    std::fs::hard_link(original, place).or_else(|_| std::fs::copy(original, place).map(|_| ()))
}
