//! Perplexity and bits per byte.
//!
//! **Invariant:** what measures does not know what it measures: no training and no tuning here.

mod perplexity;

pub use perplexity::{EvalError, Perplexity, PerplexityOptions, perplexity, perplexity_of_model};
