//! Perplexity and KL divergence against their definitions.
#![allow(clippy::unwrap_used, reason = "a panic in a test is a failed test")]

mod divergence;
mod perplexity;
