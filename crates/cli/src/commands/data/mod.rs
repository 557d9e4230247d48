//! `tsumugi data ...`

pub mod classifier;
pub mod pack;
pub mod preview;
pub mod run;

use super::{Entry, command};

/// In the order of the help.
pub const ALL: &[Entry] = &[
    command::<run::Run>(),
    command::<preview::Preview>(),
    command::<pack::Pack>(),
    Entry::Group { name: "classifier", about: "Learn to tell texts apart, and use it", entries: classifier::ALL },
];
