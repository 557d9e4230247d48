//! The integration tests of `tsumugi-tokenizer`.

mod bpe;
mod chat;
mod encoding;
mod fixtures;
mod folder;
mod public_vocabularies;
mod reference_encoder;
mod streaming;
mod train;
mod vocabulary_files;
