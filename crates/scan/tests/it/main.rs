//! What the scanner finds in files, and what it lets be.

#![allow(clippy::unwrap_used, reason = "a panic in a test is a failed test")]

mod audit;
mod benign;
mod bom;
mod gate;
mod mechanisms;
mod output;
mod provenance;
mod recall;
mod samples;
