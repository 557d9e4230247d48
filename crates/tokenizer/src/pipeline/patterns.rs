//! Patterns of foreign files that the crate's splitter does not know. Its reader leaves their regular expressions
//! uncompiled, so for such files its steps are taken here one by one, with a pre-tokenizer in which they are.

use tokenizers::SplitDelimiterBehavior;
use tokenizers::pipeline::{
    PipelinePreTokenizer, PipelineTokenizer, PreTokenizer, PreTokenizerScratch, Segment, Span, SpecialSegmentIterator,
    normalize_all,
};
use tokenizers::pre_tokenizers::split::{Search, Split};

use super::unsupported;
use crate::{TokenId, TokenizerError, bpe};

/// The pre-tokenizer with all patterns compiled; none if there is nothing to compile.
pub(super) fn compiled(tokenizer: &PipelineTokenizer) -> Result<Option<PipelinePreTokenizer>, TokenizerError> {
    let pre_tokenizer = tokenizer.get_pre_tokenizer();
    let members = match pre_tokenizer {
        PipelinePreTokenizer::Sequence(sequence) if sequence.is_deepseek() => &[],
        PipelinePreTokenizer::Sequence(sequence) => sequence.pre_tokenizers(),
        other => std::slice::from_ref(other),
    };
    let mut needed = false;
    for member in members {
        if let PipelinePreTokenizer::Split(split) = member
            && is_uncompiled(split)
        {
            // Cloning compiles, and panics where that fails.
            Split::new(split.pattern.clone(), split.behavior, split.invert).map_err(unsupported)?;
            needed = true;
        }
    }
    Ok(needed.then(|| pre_tokenizer.clone()))
}

fn is_uncompiled(split: &Split) -> bool {
    matches!(split.search, Search::Unavailable) && !is_grammar(split)
}

/// Whether the splitter knows the pattern, one of the published ones.
fn is_grammar(split: &Split) -> bool {
    split.grammar().is_some() && split.behavior == SplitDelimiterBehavior::Isolated && !split.invert
}

/// What a text is made of.
pub(super) enum Piece<'a> {
    /// An added token, by the crate's id.
    Added(TokenId),
    /// A text and where its words are.
    Words(&'a str, &'a [Span]),
}

/// Calls `piece` with the pieces of `text` as the crate's encoder cuts it, with another pre-tokenizer if there is one. Fails
/// where a pattern exceeds its backtracking limit.
pub(super) fn split(
    tokenizer: &PipelineTokenizer,
    pre_tokenizer: Option<&PipelinePreTokenizer>,
    text: &str,
    control_is_text: bool,
    mut piece: impl FnMut(Piece<'_>) -> Result<(), tokenizers::Error>,
) -> Result<(), tokenizers::Error> {
    let added = tokenizer.get_added_vocabulary();
    let at_borders = pre_tokenizer.is_none() && has_borders(tokenizer.get_pre_tokenizer());
    let pre_tokenizer = pre_tokenizer.unwrap_or_else(|| tokenizer.get_pre_tokenizer());
    let mut scratch = PreTokenizerScratch::default();
    let mut spans = Vec::new();
    for segment in SpecialSegmentIterator::new(text, added, false, control_is_text) {
        let (text, offset) = match segment {
            Segment::SpecialToken(id) => {
                piece(Piece::Added(id))?;
                continue;
            }
            Segment::Text { text, input_offset } => (text, input_offset),
        };
        let normalized = normalize_all(tokenizer.get_normalizers(), text, offset)?;
        for segment in SpecialSegmentIterator::new(&normalized, added, true, control_is_text) {
            match segment {
                Segment::SpecialToken(id) => piece(Piece::Added(id))?,
                Segment::Text { text, .. } => {
                    let piece_bytes = if at_borders { PIECE_BYTES } else { text.len() };
                    for text in bpe::pieces_at_words(text, piece_bytes) {
                        spans.clear();
                        pre_tokenizer.pre_tokenize(text, &mut scratch, &mut spans)?;
                        piece(Piece::Words(text, &spans))?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// Text that is cut into words at once: its spans and ids stay in the second-level cache.
const PIECE_BYTES: usize = 1 << 15;

/// Whether a text may be cut at the borders of [`bpe::pieces_at_words`] without changing its words: a word ends there, and no
/// word depends on what lies beyond.
fn has_borders(pre_tokenizer: &PipelinePreTokenizer) -> bool {
    match pre_tokenizer {
        PipelinePreTokenizer::Sequence(sequence) if sequence.is_deepseek() => true,
        PipelinePreTokenizer::Sequence(sequence) => {
            let members = sequence.pre_tokenizers();
            members.iter().all(|member| has_borders(member) || is_blind(member)) && members.iter().any(has_borders)
        }
        PipelinePreTokenizer::Split(split) => is_grammar(split),
        PipelinePreTokenizer::Bert(_)
        | PipelinePreTokenizer::Whitespace(_)
        | PipelinePreTokenizer::WhitespaceSplit(_) => true,
        _ => false,
    }
}

/// Whether a pre-tokenizer neither ends a word at a border nor looks beyond it.
fn is_blind(pre_tokenizer: &PipelinePreTokenizer) -> bool {
    use PipelinePreTokenizer::{Digits, None, Punctuation};
    matches!(pre_tokenizer, Digits(_) | Punctuation(_) | None)
}
