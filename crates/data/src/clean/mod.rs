//! Cleaning: from a text to a better text, a verdict, and the reason for it. Pure functions over `&str`.
//!
//! - Rule sets of the field, equal to datatrove's decision by decision: [`gopher_quality`], [`gopher_repetition`],
//!   [`c4`], [`fineweb`], behind one type, [`Filter`]. They share the [`words`] of a text.
//! - Better text: [`repair`] of wrong decoding, [`lines`] taken out, personal data and secrets masked ([`mask`]).
//! - Judgement: [`language`], a trained [`classifier`], [`topics`] by lists.

pub mod c4;
pub mod characters;
pub mod classifier;
pub mod filter;
pub mod fineweb;
pub mod gopher_quality;
pub mod gopher_repetition;
pub mod hash;
pub mod language;
pub mod lines;
pub mod mask;
pub mod repair;
pub mod topics;
pub mod words;

pub use filter::{Bound, Filter, Measured, Rule, Signal, UnknownName, View};

/// Every rule set, with its published thresholds.
pub fn filters() -> Vec<Filter> {
    vec![gopher_quality::filter(), gopher_repetition::filter(), c4::quality(), c4::paragraphs(), fineweb::filter()]
}

/// `part` of `whole`, as numbers; of nothing there is no part.
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
