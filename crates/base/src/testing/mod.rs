//! Test support: cases and goldens as files, assets that may be absent, temporary folders, mutated inputs.
//!
//! Nothing here is for the product; it panics as tests do.
#![allow(clippy::print_stderr, reason = "a test says on standard error what it skipped")]

mod asset;
mod cases;
mod mutate;
mod ranks;

pub use crate::case_dir;
pub use asset::{asset, optional_asset, repository_root, skipped_assets_folder};
pub use cases::{assert_golden, assert_golden_numbers, run_cases};
pub use mutate::{Mutation, mutations};
pub use ranks::ranks;

/// A folder that is removed when the value is dropped.
///
/// # Panics
/// If the system gives none.
pub fn temporary_folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("tsumugi-test-").tempdir().expect("the system's temporary folder can be written to")
}

/// `tests/it/cases/<name>` of the crate that calls it.
#[macro_export]
macro_rules! case_dir {
    ($name:literal) => {
        ::std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/cases/", $name))
    };
}
