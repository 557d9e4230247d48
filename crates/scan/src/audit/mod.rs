//! Configurations of servers and stores that hold models, judged as files: nothing is contacted.
//!
//! | module | what |
//! |---|---|
//! | `server` | command lines of `tsumugi serve` |
//! | `mlflow` | tracking servers of MLflow: command lines, environments, `basic_auth.ini`, versions |
//! | `versions` | which versions of a package a requirement allows |
//! | `bucket` | what `aws s3api get-bucket-…` prints: policies, grants, blocks of public access |
//! | `words` | commands and settings in scripts, units, compose files and the like |

mod bucket;
mod mlflow;
mod server;
mod versions;
mod words;

use std::path::{Path, PathBuf};

use tsumugi_base::FileError;
use tsumugi_base::io::{TextError, read_plain, text_from_bytes};

use crate::context::{Limits, Scan};
use crate::finding::{FileReport, Report};
use crate::rules;

/// Largest configuration that is read.
const BYTES_MAX: u64 = 4 << 20;

/// Judges configurations, one report for each. A file that is of no known kind, or no text, is told as not looked at.
pub fn audit(paths: &[PathBuf]) -> Result<Report, FileError> {
    let mut report = Report::default();
    for path in paths {
        report.files.push(match read_plain(path, BYTES_MAX).and_then(|bytes| text_from_bytes(bytes, path)) {
            Ok(text) => audit_text(&text, path),
            Err(TextError::File(error)) => return Err(error),
            Err(other) => {
                let limits = Limits::default();
                let mut scan = Scan::new(&limits);
                scan.unread_as(&rules::NOT_JUDGED, None, &other.to_string());
                FileReport { path: path.clone(), ..scan.into_report() }
            }
        });
    }
    Ok(report)
}

/// Judges one configuration.
pub fn audit_text(text: &str, path: &Path) -> FileReport {
    let limits = Limits::default();
    let mut scan = Scan::new(&limits);
    let kinds: [(&'static str, bool); 3] = [
        ("bucket", bucket::look(text, &mut scan)),
        ("MLflow", mlflow::look(text, &mut scan)),
        ("tsumugi serve", server::look(text, &mut scan)),
    ];
    if kinds.iter().all(|(_, is_known)| !is_known) {
        scan.unread_as(&rules::NOT_JUDGED, None, "no server, version or bucket that is known is configured in it");
    }
    let formats = kinds.into_iter().filter_map(|(name, is_known)| is_known.then_some(name)).collect();
    FileReport { path: path.to_owned(), bytes: text.len() as u64, formats, ..scan.into_report() }
}
