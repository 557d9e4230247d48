//! Decontamination: finding what a corpus shares with benchmarks, as GPT-3 (Brown et al. 2020, appendix C) and
//! lm-evaluation-harness (its `janitor`) define it: an n-gram of words, of 13 if nothing else is said.
//!
//! Tokens may be compared instead (as Llama 2 did, Touvron et al. 2023, appendix A.6). Words are what white space sets apart, in small letters and without ASCII's punctuation. An item of a benchmark with fewer words
//! than that has no n-gram: about it nothing can be decided, and that is told.

mod benchmark;
mod cut;
mod index;
mod words;

pub use benchmark::{Benchmark, Item};
pub use cut::{Cut, cut};
pub use index::{Found, Index, Length};
pub use words::{Units, Word};
