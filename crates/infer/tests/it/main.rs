//! Tests of the engine: the same bits however they are computed, and answers in text.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod embeddings;
mod engine;
mod loading;
mod public_checkpoints;
mod score;
mod support;
