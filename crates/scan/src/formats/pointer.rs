//! Pointers of Git LFS: what lies in a repository where its large files were not fetched.

use super::{Format, archive, names};
use crate::context::{Input, Scan};
use crate::finding::Severity;
use crate::rules;

/// How a pointer begins (`git-lfs/docs/spec.md`). No pickle does.
pub const BEGINNING: &[u8] = b"version https://git-lfs.github.com/spec/";

/// A pointer instead of a file.
pub struct Pointer;

impl Format for Pointer {
    fn name(&self) -> &'static str {
        "Git LFS pointer"
    }

    fn claims(&self, input: &Input<'_>) -> bool {
        const BYTES_MAX: usize = 1024; // by the specification
        input.bytes.starts_with(BEGINNING) && input.bytes.len() < BYTES_MAX
    }

    fn scan(&self, input: &Input<'_>, scan: &mut Scan<'_>) {
        let is_model = input.has_extension(names::MODELS) || input.has_extension(names::WEIGHTS);
        let severity = if is_model { rules::LFS_POINTER.severity } else { Severity::Low };
        let message = format!("`{}` is a pointer, not the file", archive::shown(input.name));
        scan.find_as(&rules::LFS_POINTER, severity, Some(0), "pointer", message);
    }
}
