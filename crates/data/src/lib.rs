//! From sources to documents ([`corpus`]), and from text to batches: packed token shards, deterministic shuffling,
//! conversations with loss on the answer only.
//!
//! Invariant: a batch is a pure function of (data, configuration, seed, step, micro-batch), so that a run resumes
//! exactly by its step number. Invariant: the last tenth of a text is held out by [`dialogue::split`] in every stage.

mod batch;
pub mod clean;
mod conversation;
pub mod corpus;
pub mod decontaminate;
pub mod dedup;
pub mod dialogue;
mod document;
mod error;
mod evaluation;
mod hashed_file;
mod pack;
mod pretrain;
mod preview;
mod shards;
pub mod source;
mod words;

pub use batch::{Batch, BatchSource, Segment};
pub use conversation::{ConversationConfig, ConversationLoader, PackingReport};
pub use document::{Document, Signal};
pub use error::DataError;
pub use evaluation::EvaluationSet;
pub use pack::pack_text;
pub use pretrain::{Documents, PretrainConfig, PretrainLoader, WindowOrder};
pub use preview::{PreviewStyle, preview};
pub use shards::TokenShards;
pub use source::read_text;
