//! Byte-level BPE: train, encode, decode; messages and chat templates.

mod message;

pub use message::Message;

/// An index into the vocabulary.
pub type TokenId = u32;
