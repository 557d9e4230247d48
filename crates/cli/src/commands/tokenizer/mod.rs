//! `tsumugi tokenizer ...`

pub mod compare;
pub mod decode;
pub mod encode;
pub mod inspect;
pub mod train;

use super::{Entry, command};

/// In the order of the help.
pub const ALL: &[Entry] = &[
    command::<train::Train>(),
    command::<encode::Encode>(),
    command::<decode::Decode>(),
    command::<inspect::Inspect>(),
    command::<compare::Compare>(),
];
