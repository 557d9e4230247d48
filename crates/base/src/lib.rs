//! What every other crate stands on and that knows no word of the field: errors with hints, atomic files,
//! JSON lines, counter-based randomness, progress events, run records and folders, ranks of a job, numbers of 16 bits, hosts,
//! units, limits, test support.
//!
//! # How an error is made here
//!
//! A library crate has one `thiserror` enum per concern. Each variant holds the *values* that disagreed; the enum
//! implements [`Hint`] with one next step, and hands on the hint of the error that it wraps:
//!
//! ```
//! use tsumugi_base::{FileError, Hint};
//!
//! #[derive(Debug, thiserror::Error)]
//! enum ConfigError {
//!     #[error(transparent)]
//!     File(#[from] FileError),
//!     #[error("`layers` is {found}, but at least 1 is needed")]
//!     NoLayers { found: u64 },
//! }
//!
//! impl Hint for ConfigError {
//!     fn hint(&self) -> Option<String> {
//!         match self {
//!             Self::File(file) => file.hint(), // a wrapped error knows more than we do
//!             Self::NoLayers { .. } => Some("leave `layers` out to get the default".into()),
//!         }
//!     }
//! }
//! ```
//!
//! Only the binary prints: [`error_chain`], an empty line, `hint: …`.

pub mod communicator;
mod error;
pub mod half;
pub mod hosts;
pub mod io;
pub mod jsonl;
pub mod limits;
pub mod machine;
pub mod progress;
pub mod rng;
pub mod run_folder;
pub mod run_record;
pub mod testing;
pub mod units;

pub use error::{FileAction, FileError, Hint, error_chain};
