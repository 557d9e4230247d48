//! `tsumugi ngram ...`

pub mod perplexity;
pub mod query;
pub mod train;

use super::{Entry, command};

/// In the order of the help.
pub const ALL: &[Entry] = &[command::<train::Train>(), command::<query::Query>(), command::<perplexity::Perplexity>()];
