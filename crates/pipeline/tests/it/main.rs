//! The integration tests of `tsumugi-pipeline`.

#![allow(clippy::unwrap_used, reason = "a panic in a test is a failed test")]

mod quickstart;
