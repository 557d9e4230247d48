//! Models in other formats and in fewer bits.
#![allow(clippy::unwrap_used, reason = "a panic in a test is a failed test")]

mod encoders;
mod formats;
mod mixes;
