//! What the scanner finds in files, and what it lets be.

#![allow(clippy::unwrap_used, reason = "a panic in a test is a failed test")]

mod audit;
mod benign;
mod bom;
mod bypasses_keras_yaml;
mod catalogue;
mod gate;
mod lints;
mod mechanisms;
mod mutated;
mod output;
mod provenance;
mod recall;
mod samples;
mod schema;
mod structures;
