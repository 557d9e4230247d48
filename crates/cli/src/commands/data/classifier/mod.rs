//! `tsumugi data classifier ...`

pub mod score;
pub mod train;

use crate::commands::{Entry, command};

/// In the order of the help.
pub const ALL: &[Entry] = &[command::<train::Train>(), command::<score::Score>()];
