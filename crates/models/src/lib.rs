//! Decoder families as data; weights in and out.
//!
//! **Invariant:** a model is token ids to logits: no tokenizer here. **Invariant:** one forward pass per
//! architecture, for training and for serving ([`Decoder`]); a family is a spec and a table of names.

pub mod decoder;
pub mod error;
pub mod family;
pub mod gguf;
pub mod gpt2;
mod hf_config;
pub mod llama;
mod load;
pub mod plans;
mod save;
pub mod slots;

pub use decoder::{Decoder, DecoderSpec, Position};
pub use error::ModelError;
pub use family::{Family, Place, Rename};
pub use load::{Precision, read_config, read_layout, read_spec};
pub use plans::{LogitsPlan, LossPlan};

/// Every decoder family, in the order of `tsumugi models`.
pub const ALL: &[&dyn Family] = &[&gpt2::Gpt2, &llama::Llama];
