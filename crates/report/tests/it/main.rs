//! The tests of `tsumugi-report`, one binary.
#![allow(clippy::unwrap_used, reason = "a panic in a test is a failed test")]

mod charts;
mod page;
