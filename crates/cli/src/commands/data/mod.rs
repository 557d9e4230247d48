//! `tsumugi data ...`

pub mod pack;
pub mod preview;

use super::{Entry, command};

/// In the order of the help.
pub const ALL: &[Entry] = &[command::<preview::Preview>(), command::<pack::Pack>()];
