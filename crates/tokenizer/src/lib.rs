//! Text to token ids and back: tokenizers of our own training (byte-level BPE, WordPiece, SentencePiece's BPE and Unigram,
//! bytes, characters), the vocabularies that people have (`tokenizer.json`, tiktoken, SentencePiece, Tekken, GGUF), special tokens, messages and chat templates. Files
//! that are written are Hugging Face's: `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json`.
//!
//! Invariant: text never becomes a control token unless [`Tokenizer::encode_with_special`] is asked to.

mod base64;
mod batch;
pub mod bpe;
mod characters;
pub mod chat_template;
mod encoder_tokens;
mod end_tokens;
mod error;
mod folder;
mod frame;
mod load;
mod message;
mod pipeline;
mod row_rules;
mod sentencepiece;
pub mod special_tokens;
mod statistics;
mod streaming;
mod to_gguf;
mod token_bytes;
mod tokenizer;
mod tokenizer_json;
pub mod train;

pub use batch::{Side, pad, truncate};
pub use chat_template::{ChatTemplate, TrainingConversation};
pub use encoder_tokens::EncoderTokens;
pub use end_tokens::end_tokens;
pub use error::TokenizerError;
pub use frame::PairFrame;
pub use load::{ModelTextError, vocabulary_file};
pub use message::Message;
pub use row_rules::RowRules;
pub use statistics::Statistics;
pub use streaming::StreamDecoder;
pub use tokenizer::{SpecialToken, Tokenizer};

/// An index into the vocabulary.
pub type TokenId = u32;
