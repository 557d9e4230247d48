//! What people really have passes.

use std::path::PathBuf;

use tsumugi_base::progress::Silent;
use tsumugi_base::testing::{optional_asset, repository_root};
use tsumugi_scan::{Limits, Severity, scan};

/// No finding at the failing level in any file of a folder.
fn check(folder: PathBuf) {
    let report = scan(&[folder], &Limits::default(), 2, &Silent).expect("the folder is there");
    assert!(!report.files.is_empty());
    let failing: Vec<String> = report
        .findings()
        .filter(|(_, finding)| finding.severity >= Severity::Medium)
        .map(|(file, finding)| format!("{}: {} {}", file.path.display(), finding.place(), finding.message))
        .collect();
    assert!(failing.is_empty(), "{}", failing.join("\n"));
}

#[test]
fn files_that_pytorch_and_others_wrote() {
    for crate_name in ["files", "models"] {
        let fixtures = repository_root().join("crates").join(crate_name).join("fixtures");
        if fixtures.is_dir() {
            check(fixtures);
        }
    }
}

#[test]
fn vocabularies_and_small_models() {
    for name in ["gguf-vocab", "stories260k", "tiktoken"] {
        if let Some(folder) = optional_asset(name) {
            check(folder);
        }
    }
}
