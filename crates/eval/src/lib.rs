//! Perplexity, bits per byte, and the KL divergence of one model's predictions from another's.
//!
//! **Invariant:** what measures does not know what it measures: no training and no tuning here.

mod divergence;
mod error;
mod perplexity;
mod windows;

pub use divergence::{Comparison, Divergence, Measured, compare_models, divergence};
pub use error::EvalError;
pub use perplexity::{Perplexity, PerplexityOptions, perplexity, perplexity_of_model};
