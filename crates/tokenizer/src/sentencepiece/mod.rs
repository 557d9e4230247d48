//! SentencePiece (Kudo and Richardson 2018, arXiv 1808.06226), its two algorithms and how it prepares and shows text. Ours,
//! because the `tokenizers` crate prepares text by other rules and sums scores in other precision: on most text the ids are
//! the same, but not on all.

mod bpe;
mod double_array;
mod export;
pub(crate) mod model;
mod normalizer;
mod unigram;

use bpe::Bpe;
pub(crate) use double_array::DoubleArray;
pub(crate) use export::{to_json, to_protobuf};
use model::failed;
pub(crate) use model::{Algorithm, Model, Piece, PieceKind};
use normalizer::Normalizer;
pub(crate) use normalizer::SPACE;
use unigram::Unigram;

use crate::token_bytes::byte_token;
use crate::{SpecialToken, TokenId, TokenizerError};

/// Text to ids.
#[derive(Debug)]
pub(crate) struct SentencePiece {
    normalizer: Normalizer,
    engine: Engine,
    /// The tokens of the 256 bytes, if characters without a piece become their bytes.
    bytes: Option<Box<[TokenId; 256]>>,
    unknown: TokenId,
    control: DoubleArray,
}

#[derive(Debug)]
enum Engine {
    Bpe(Bpe),
    Unigram(Unigram),
}

impl SentencePiece {
    pub fn new(model: &Model) -> Result<Self, TokenizerError> {
        let pieces = &model.pieces;
        let unknown = pieces.iter().position(|piece| piece.kind == PieceKind::Unknown);
        let unknown = unknown.ok_or_else(|| failed("it has no piece for unknown characters"))? as TokenId;
        let bytes = if model.byte_fallback { Some(byte_tokens(pieces)?) } else { None };
        Ok(Self {
            normalizer: Normalizer::new(model, trie(pieces, PieceKind::UserDefined))?,
            engine: match model.algorithm {
                Algorithm::Bpe => Engine::Bpe(Bpe::new(pieces)),
                Algorithm::Unigram => Engine::Unigram(Unigram::new(pieces)),
            },
            bytes,
            unknown,
            control: trie(pieces, PieceKind::Control),
        })
    }

    /// The piece for unknown characters.
    pub fn unknown(&self) -> TokenId {
        self.unknown
    }

    /// The ids of `text`. Control tokens in it are text, or end a stretch that is encoded by itself.
    pub fn encode(&self, text: &str, control_is_text: bool) -> Vec<TokenId> {
        let mut ids = Vec::with_capacity(text.len() / 3);
        let mut done = 0;
        let mut at = 0;
        while !control_is_text && at < text.len() {
            match self.control.longest_prefix(&text.as_bytes()[at..]) {
                Some((length, id)) => {
                    self.encode_text(&text[done..at], &mut ids);
                    ids.push(id);
                    at += length;
                    done = at;
                }
                None => at += 1,
            }
        }
        self.encode_text(&text[done..], &mut ids);
        ids
    }

    fn encode_text(&self, text: &str, ids: &mut Vec<TokenId>) {
        let normalized = self.normalizer.normalize(text);
        let mut after_unknown = false;
        let mut emit = |piece: &str, id: Option<TokenId>| {
            match (id, &self.bytes) {
                (Some(id), _) => ids.push(id),
                (None, Some(bytes)) => ids.extend(piece.bytes().map(|byte| bytes[usize::from(byte)])),
                // Unknown characters behind each other are one token.
                (None, None) if after_unknown => {}
                (None, None) => ids.push(self.unknown),
            }
            after_unknown = id.is_none();
        };
        let mut rest = &normalized[..];
        while !rest.is_empty() {
            let (stretch, after) = rest.split_at(stretch_end(rest, STRETCH_BYTES));
            rest = after;
            match &self.engine {
                Engine::Bpe(bpe) => bpe.encode(stretch, &self.normalizer, &mut emit),
                Engine::Unigram(unigram) => unigram.encode(stretch, &mut emit),
            }
        }
    }
}

/// Longer texts are encoded in stretches of about this many bytes, because an encoder needs twelve times its text in memory.
/// Where no piece goes over from a character to a space, the ids are those of the whole but for ties.
const STRETCH_BYTES: usize = 8 << 20;

/// Where the first stretch of a text ends: before a space that follows no other, at twice the size at the latest.
fn stretch_end(text: &str, size: usize) -> usize {
    if text.len() <= 2 * size {
        return text.len();
    }
    let (from, to) = (text.floor_char_boundary(size), text.floor_char_boundary(2 * size));
    let mut spaces = text[from..to].match_indices(SPACE).map(|(at, _)| from + at);
    spaces.find(|&at| !text[..at].ends_with(SPACE)).unwrap_or(to)
}

fn trie(pieces: &[Piece], kind: PieceKind) -> DoubleArray {
    let of_kind = pieces.iter().zip(0..).filter(|(piece, _)| piece.kind == kind);
    DoubleArray::build(of_kind.map(|(piece, id)| (piece.text.as_bytes(), id)))
}

fn byte_tokens(pieces: &[Piece]) -> Result<Box<[TokenId; 256]>, TokenizerError> {
    let mut tokens: [Option<TokenId>; 256] = [None; 256];
    for (piece, id) in pieces.iter().zip(0..).filter(|(piece, _)| piece.kind == PieceKind::Byte) {
        if let Some(byte) = byte_token(&piece.text) {
            tokens[usize::from(byte)].get_or_insert(id);
        }
    }
    match tokens.iter().position(Option::is_none) {
        Some(byte) => Err(failed(format!("it encodes by bytes, but has no piece for the byte {byte:#04x}"))),
        None => Ok(Box::new(tokens.map(Option::unwrap_or_default))),
    }
}

/// The bytes that each piece shows as.
pub(crate) fn shown(model: &Model) -> impl Iterator<Item = (TokenId, Vec<u8>)> {
    model.pieces.iter().zip(0..).map(|(piece, id)| {
        let bytes = match piece.kind {
            PieceKind::Unknown => model.unknown_surface.clone().into_bytes(),
            PieceKind::Byte => {
                byte_token(&piece.text).map_or_else(|| piece.text.clone().into_bytes(), |byte| vec![byte])
            }
            _ => piece.text.replace(SPACE, " ").into_bytes(),
        };
        (id, bytes)
    })
}

/// Control tokens, and the pieces that are one token wherever they occur.
pub(crate) fn special_tokens(model: &Model) -> Vec<SpecialToken> {
    let special = |(piece, id): (&Piece, TokenId)| match piece.kind {
        PieceKind::Control => Some(SpecialToken::control(&piece.text, id)),
        PieceKind::UserDefined => {
            Some(SpecialToken { control: false, ..SpecialToken::control(piece.text.replace(SPACE, " "), id) })
        }
        _ => None,
    };
    model.pieces.iter().zip(0..).filter_map(special).collect()
}

#[cfg(test)]
mod tests {
    use super::stretch_end;

    #[test]
    fn stretches_end_before_spaces() {
        assert_eq!(stretch_end("a▁b▁c", 5), 9); // not longer than twice the size
        assert_eq!(stretch_end("aaaaaa▁bbbbbbbbbb", 4), 6);
        assert_eq!(stretch_end("aaa▁▁▁▁▁▁▁▁", 3), 3);
        assert_eq!(stretch_end("ééééééé", 3), 6);
    }
}
