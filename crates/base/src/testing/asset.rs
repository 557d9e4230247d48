//! Assets: data too large for the repository. A test that misses one says so and passes, or fails under
//! `TSUMUGI_REQUIRE_ASSETS=1`.

use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the workspace.
pub fn repository_root() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = crate_folder.ancestors().nth(2).expect("this crate lies two folders below the workspace");
    root.to_owned()
}

/// One file per asset that a test missed, with its name in it; `cargo xtask ci` empties the folder before the tests and
/// lists the names after.
pub fn skipped_assets_folder() -> PathBuf {
    repository_root().join("target/skipped-assets")
}

/// The asset `name` (a relative path), or none if it is not here: then the test returns early.
///
/// Looked for in `$TSUMUGI_ASSETS`, `.assets` of the repository, and `shared/data` beside the repository.
///
/// # Panics
/// If it is missing and `TSUMUGI_REQUIRE_ASSETS=1`.
pub fn asset(name: &str) -> Option<PathBuf> {
    let found = optional_asset(name);
    let required = std::env::var_os("TSUMUGI_REQUIRE_ASSETS").is_some_and(|value| value == "1");
    assert!(
        found.is_some() || !required,
        "the asset `{name}` is in none of {:?}, and TSUMUGI_REQUIRE_ASSETS=1",
        places()
    );
    found
}

/// [`asset`], but nobody has to have it: its licence is not for everyone.
pub fn optional_asset(name: &str) -> Option<PathBuf> {
    let found = places().iter().map(|place| place.join(name)).find(|path| path.exists());
    if found.is_none() {
        eprintln!("skipped: the asset `{name}` is not here");
        record_skipped(name);
    }
    found
}

fn places() -> Vec<PathBuf> {
    let root = repository_root();
    let named = std::env::var_os("TSUMUGI_ASSETS").map(PathBuf::from);
    named.into_iter().chain([root.join(".assets"), root.join("../shared/data")]).collect()
}

fn record_skipped(name: &str) {
    let folder = skipped_assets_folder();
    let file: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '_' }).collect();
    // Best effort: the repository may be read-only, and the line above was printed.
    let _ = fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join(file), name));
}
