//! Patterns of foreign files that the crate's splitter does not know. Its reader leaves their regular expressions
//! uncompiled, so for such files its steps are taken here one by one, with a pre-tokenizer in which they are.

use tokenizers::SplitDelimiterBehavior;
use tokenizers::pipeline::{
    Model, PipelineModelScratch, PipelinePreTokenizer, PipelineToken, PipelineTokenizer, PreTokenizer,
    PreTokenizerScratch, Segment, SpecialSegmentIterator, normalize_all,
};
use tokenizers::pre_tokenizers::split::{Search, Split};

use super::unsupported;
use crate::TokenizerError;

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
    let known = split.grammar().is_some() && split.behavior == SplitDelimiterBehavior::Isolated && !split.invert;
    matches!(split.search, Search::Unavailable) && !known
}

/// What the crate's encoder does, with another pre-tokenizer. Fails where a pattern exceeds its backtracking limit.
pub(super) fn encode(
    tokenizer: &PipelineTokenizer,
    pre_tokenizer: &PipelinePreTokenizer,
    text: &str,
    control_is_text: bool,
    tokens: &mut Vec<PipelineToken>,
) -> Result<(), tokenizers::Error> {
    let added = tokenizer.get_added_vocabulary();
    let model = tokenizer.get_model();
    let mut model_scratch: PipelineModelScratch = model.init_scratch();
    let mut scratch = PreTokenizerScratch::default();
    let mut spans = Vec::new();
    for segment in SpecialSegmentIterator::new(text, added, false, control_is_text) {
        let (text, offset) = match segment {
            Segment::SpecialToken(id) => {
                tokens.push(id.into());
                continue;
            }
            Segment::Text { text, input_offset } => (text, input_offset),
        };
        let normalized = normalize_all(tokenizer.get_normalizers(), text, offset)?;
        for segment in SpecialSegmentIterator::new(&normalized, added, true, control_is_text) {
            match segment {
                Segment::SpecialToken(id) => tokens.push(id.into()),
                Segment::Text { text, .. } => {
                    spans.clear();
                    pre_tokenizer.pre_tokenize(text, &mut scratch, &mut spans)?;
                    for span in &spans {
                        model.tokenize_pipeline(&text[span.range()], &mut model_scratch, tokens)?;
                    }
                }
            }
        }
    }
    Ok(())
}
