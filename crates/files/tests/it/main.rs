//! The tests of `tsumugi-files`, one binary.
#![allow(clippy::unwrap_used, reason = "a panic in a test is a failed test")]

mod admission;
mod blocks;
mod folders;
mod gguf_format;
mod gguf_mutations;
#[cfg(unix)]
mod lost_mappings;
mod mutations;
mod pickles;
mod safetensors_format;
mod support;
mod torch;
mod torch_checkpoints;
mod zips;
