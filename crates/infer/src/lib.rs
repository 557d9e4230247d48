//! The engine: cached decoding, sampling, streaming text.

pub mod text;
