//! The integration tests of `tsumugi-tune`.

#![allow(clippy::unwrap_used, reason = "a panic in a test is a failed test")]

mod recipes;
mod sft;
