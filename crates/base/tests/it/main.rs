//! The tests of `tsumugi-base`, one binary.
#![allow(clippy::unwrap_used, reason = "a panic in a test is a failed test")]

mod assets;
mod durations;
mod killed;
