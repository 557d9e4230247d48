//! Families of decoders and encoders as data; weights in and out.
//!
//! **Invariant:** a model is token ids to logits: no tokenizer here. **Invariant:** one forward pass per
//! architecture, for training and for serving ([`Decoder`], [`Encoder`]); a family is a spec and a table of names.

pub mod bert;
pub mod bloom;
pub mod decoder;
pub mod embedding_model;
pub mod encoder;
pub mod error;
pub mod falcon;
pub mod family;
pub mod gemma;
pub mod gguf;
pub mod gpt2;
pub mod granite;
mod hf_config;
mod layer_types;
pub mod llama;
mod load;
pub mod mistral;
pub mod mixtral;
pub mod phi3;
pub mod plans;
pub mod qwen;
pub mod qwen_moe;
mod rope_config;
mod save;
pub mod slots;
pub mod smollm3;
pub mod spec;
pub mod stablelm;
mod translate;

pub use decoder::Decoder;
pub use embedding_model::{EmbeddingModel, HiddenPlan, ScorePlan};
pub use encoder::{Encoder, EncoderSpec};
pub use error::ModelError;
pub use family::{Family, Place, Rename};
pub use load::{Precision, read_config, read_layout, read_spec};
pub use plans::{ChunkedLogitsPlan, LogitsPlan, LossPlan};
pub use spec::{DecoderSpec, Position};
pub use translate::{NewTensor, Piece, Translation};

/// Every decoder family, in the order of `tsumugi models`.
pub const ALL: &[&dyn Family] = &[
    &gpt2::Gpt2,
    &llama::Llama,
    &mistral::Mistral,
    &qwen::Qwen2,
    &qwen::Qwen3,
    &gemma::Gemma2,
    &gemma::Gemma3,
    &granite::Granite,
    &phi3::Phi3,
    &mixtral::Mixtral,
    &qwen_moe::Qwen2Moe,
    &qwen_moe::Qwen3Moe,
    &bloom::Bloom,
    &falcon::Falcon,
    &stablelm::StableLm,
    &smollm3::SmolLm3,
];
