//! SentencePiece's Unigram: the segmentation of the highest score (Kudo 2018, arXiv 1804.10959), by Viterbi over all pieces
//! that begin at each place. Sums are rounded as SentencePiece rounds them, so that near ties fall the same way.

use super::double_array::DoubleArray;
use super::model::{Piece, PieceKind};
use crate::TokenId;

/// How much worse than the worst piece an unknown character is.
const UNKNOWN_PENALTY: f32 = 10.0;

/// The pieces of a model and what they score.
#[derive(Debug)]
pub(super) struct Unigram {
    trie: DoubleArray,
    /// By id; none for unused pieces.
    scores: Vec<Option<Score>>,
    unknown_score: f32,
    /// The highest score, and no less than the smallest positive number.
    highest: f32,
}

#[derive(Debug, Clone, Copy)]
enum Score {
    Normal(f32),
    /// Scores by its length, so that it is always chosen.
    UserDefined,
}

/// The best way to a place.
#[derive(Clone, Copy)]
struct Step {
    /// Where its last piece begins; [`NONE`] where there is no way yet.
    start: u32,
    /// The last piece; [`NONE`] for an unknown character.
    id: TokenId,
    score: f32,
}

/// No place, no piece.
const NONE: u32 = u32::MAX;

impl Unigram {
    pub fn new(pieces: &[Piece]) -> Self {
        let normal = || pieces.iter().filter(|piece| piece.kind == PieceKind::Normal).map(|piece| piece.score);
        let score = |piece: &Piece| match piece.kind {
            PieceKind::UserDefined => Some(Score::UserDefined),
            PieceKind::Normal => Some(Score::Normal(piece.score)),
            _ => None,
        };
        let text = pieces.iter().zip(0..).filter(|(piece, _)| piece.kind.is_text());
        Self {
            trie: DoubleArray::build(text.map(|(piece, id)| (piece.text.as_bytes(), id))),
            scores: pieces.iter().map(score).collect(),
            unknown_score: normal().fold(f32::MAX, f32::min) - UNKNOWN_PENALTY,
            highest: normal().fold(f32::MIN_POSITIVE, f32::max),
        }
    }

    /// Calls `emit` with each piece of a prepared text and its id, if it has one.
    pub fn encode(&self, text: &str, mut emit: impl FnMut(&str, Option<TokenId>)) {
        let mut best = vec![Step { start: NONE, id: NONE, score: 0.0 }; text.len() + 1];
        for (start, character) in text.char_indices() {
            let score_here = best[start].score;
            let mut has_single = false;
            for (length, id) in self.trie.prefixes(&text.as_bytes()[start..]) {
                let score = match self.scores.get(id as usize).copied().flatten() {
                    Some(Score::Normal(score)) => score + score_here,
                    Some(Score::UserDefined) => {
                        (f64::from(length as f32 * self.highest) - 0.1 + f64::from(score_here)) as f32
                    }
                    None => continue,
                };
                improve(&mut best[start + length], (start, id), score);
                has_single |= length == character.len_utf8();
            }
            if !has_single {
                improve(&mut best[start + character.len_utf8()], (start, NONE), self.unknown_score + score_here);
            }
        }
        let mut path = Vec::new();
        let mut end = text.len();
        while end > 0 {
            let step = best[end];
            path.push((step.start as usize, end, (step.id != NONE).then_some(step.id)));
            end = step.start as usize;
        }
        for &(start, end, id) in path.iter().rev() {
            emit(&text[start..end], id);
        }
    }
}

/// Takes a step if there is none yet, or none so good.
fn improve(best: &mut Step, (start, id): (usize, TokenId), score: f32) {
    if best.start == NONE || score > best.score {
        *best = Step { start: start as u32, id, score };
    }
}
