//! Tests of the models: goldens by `transformers`, the contract of every family, encoders, GGUF files, and damaged models.
#![allow(clippy::unwrap_used, reason = "a panic in a test is a failed test")]

mod contract;
mod damaged;
mod encoders;
mod gguf;
mod goldens;
mod llama2c;
mod stored;
mod training_goldens;
