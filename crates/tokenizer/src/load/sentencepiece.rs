//! SentencePiece's `.model` files.

use crate::frame::Frame;
use crate::sentencepiece::{Model, SentencePiece, shown, special_tokens};
use crate::token_bytes::TokenBytes;
use crate::tokenizer::{Decoding, Engine, Inner, LeadingSpace, Source};
use crate::{Tokenizer, TokenizerError};

impl Tokenizer {
    /// Reads a SentencePiece model, BPE or Unigram. A text begins with its BOS if it has one, as its users do it.
    pub fn from_sentencepiece(bytes: &[u8]) -> Result<Self, TokenizerError> {
        Self::from_pieces(Model::from_protobuf(bytes)?)
    }

    /// The tokenizer of a model, wherever its pieces came from.
    pub(crate) fn from_pieces(model: Model) -> Result<Self, TokenizerError> {
        let encoder = SentencePiece::new(&model)?;
        let special_tokens = special_tokens(&model);
        let leading_space = match (model.remove_extra_whitespaces, model.add_dummy_prefix) {
            (true, _) => LeadingSpace::AllDropped,
            (false, true) => LeadingSpace::OneDropped,
            (false, false) => LeadingSpace::Kept,
        };
        Ok(Self::of(Inner {
            bytes: TokenBytes::new(shown(&model), |piece, all| all.extend(piece), &special_tokens),
            unknown: Some(encoder.unknown()),
            engine: Engine::SentencePiece(Box::new(encoder)),
            special_tokens,
            decoding: Decoding::Bytes(leading_space),
            frame: Frame::without_pairs(model.begins_with.into_iter().collect(), model.ends_with.into_iter().collect()),
            source: Source::SentencePiece(Box::new(model)),
        }))
    }
}
