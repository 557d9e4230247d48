//! The scanner: what a model file would do to whoever loads it, found without loading it.
//!
//! A file is judged by its content, never by its name. A [`formats::Format`] that recognizes it looks through it and tells
//! [`Finding`]s, each of a [`Rule`]; what lies inside (a member of an archive, a pickle in a text) is looked at the same
//! way. Nothing is imported, called or rendered: pickles run on symbols (`tsumugi_files::pickle`), templates and
//! configurations are read as text. What cannot be read is a finding, never clean.
//!
//! ```
//! use tsumugi_scan::{Limits, Severity, scan_bytes};
//!
//! let report = scan_bytes(b"cos\nsystem\n(S'ls'\ntR.", "weights.bin", &Limits::default());
//! assert_eq!((report.findings[0].rule.id, report.worst()), ("pickle-dangerous-import", Some(Severity::Critical)));
//! ```

pub mod audit;
pub mod bom;
mod bulk;
mod cache;
mod context;
mod finding;
pub mod formats;
mod gate;
mod hdf5;
mod listing;
mod path_pattern;
mod pickle;
mod policy;
pub mod provenance;
pub mod rules;
mod sarif;
mod scanner;
mod text;

pub use cache::Cache;
pub use context::{Limits, Reach};
pub use finding::{FileReport, Finding, Report, Severity, Suppressed};
pub use gate::ScanGate;
pub use policy::{Policy, PolicyError, Signatures};
pub use rules::Rule;
pub use sarif::sarif;
pub use scanner::{Scanner, scan, scan_bytes};
pub use text::{printable, render};
