//! Perplexity against its definition.
#![allow(clippy::unwrap_used, reason = "a panic in a test is a failed test")]

mod perplexity;
