//! `tsumugi tune ...`: one file per method.

pub mod sft;

use super::{Entry, command};

/// In the order of the help.
pub const ALL: &[Entry] = &[command::<sft::Sft>()];
