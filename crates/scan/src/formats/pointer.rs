//! Pointers of Git LFS: what lies in a repository where its large files were not fetched.

use super::{Format, archive, names};
use crate::context::{Input, Scan};
use crate::finding::Severity;
use crate::rules;

/// A pointer instead of a file.
pub struct Pointer;

impl Format for Pointer {
    fn name(&self) -> &'static str {
        "Git LFS pointer"
    }

    fn claims(&self, input: &Input<'_>) -> bool {
        const BYTES_MAX: usize = 1024; // by the specification
        is_pointer(input.bytes) && input.bytes.len() < BYTES_MAX
    }

    fn scan(&self, input: &Input<'_>, scan: &mut Scan<'_>) {
        // What loaders read of a model; an image or a document may stay a pointer.
        let is_read = [names::MODELS, names::WEIGHTS, names::SETTINGS].iter().any(|names| input.has_extension(names));
        let severity = if is_read { rules::LFS_POINTER.severity } else { Severity::Low };
        let message = format!("`{}` is a pointer, not the file", archive::shown(input.name));
        scan.find_as(&rules::LFS_POINTER, severity, Some(0), "pointer", message);
    }
}

/// Whether a pointer begins here (`git-lfs/docs/spec.md`), of today's Git LFS, or of its first versions, which it still reads.
/// No pickle begins so.
pub fn is_pointer(bytes: &[u8]) -> bool {
    const BEGINNINGS: [&[u8]; 3] = [
        b"version https://git-lfs.github.com/spec/",
        b"version https://hawser.github.com/spec/",
        b"version http://git-media.io/v/",
    ];
    BEGINNINGS.iter().any(|beginning| bytes.starts_with(beginning))
}
