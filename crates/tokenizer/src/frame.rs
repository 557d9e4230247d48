//! What a vocabulary's post-processor puts around a text, and around two that are read together.

use tokenizers::pipeline::{PipelinePostProcessor, PipelineToken};

use crate::TokenId;

/// Around a text, and around a pair.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    pub prefix: Vec<TokenId>,
    pub suffix: Vec<TokenId>,
    pub pair: PairFrame,
}

/// Around two texts: `[CLS] first [SEP] second [SEP]` for BERT. Each token has a type, which says what text it is of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PairFrame {
    before: Vec<(TokenId, u32)>,
    between: Vec<(TokenId, u32)>,
    after: Vec<(TokenId, u32)>,
    types: [u32; 2],
}

impl Frame {
    pub(crate) fn of(post_processor: &PipelinePostProcessor) -> Self {
        let (single, pair) = (&post_processor.single, &post_processor.pair);
        let ids = |part: &[(PipelineToken, u8)]| part.iter().map(|&(token, _)| token.into()).collect();
        let typed =
            |part: &[(PipelineToken, u8)]| part.iter().map(|&(token, kind)| (token.into(), u32::from(kind))).collect();
        Self {
            prefix: ids(&single.prefix),
            suffix: ids(&single.suffix),
            pair: PairFrame {
                before: typed(&pair.prefix),
                between: typed(&pair.infix),
                after: typed(&pair.suffix),
                types: [pair.a_type_id, pair.b_type_id.unwrap_or(0)].map(u32::from),
            },
        }
    }

    /// For a format that knows no pairs: the second text follows the end of the first.
    pub(crate) fn without_pairs(prefix: Vec<TokenId>, suffix: Vec<TokenId>) -> Self {
        let typed = |ids: &[TokenId]| ids.iter().map(|&id| (id, 0)).collect::<Vec<_>>();
        let pair = PairFrame { before: typed(&prefix), between: typed(&suffix), after: typed(&suffix), types: [0, 0] };
        Self { prefix, suffix, pair }
    }
}

impl PairFrame {
    /// Tokens that it adds to those of the texts.
    pub fn added(&self) -> usize {
        self.before.len() + self.between.len() + self.after.len()
    }

    /// Two texts in the frame: ids and types.
    pub fn join(&self, first: &[TokenId], second: &[TokenId]) -> (Vec<TokenId>, Vec<u32>) {
        let typed = |ids: &[TokenId], kind: u32| ids.iter().map(|&id| (id, kind)).collect::<Vec<_>>();
        let [first, second] = [typed(first, self.types[0]), typed(second, self.types[1])];
        [self.before.as_slice(), &first, &self.between, &second, &self.after].concat().into_iter().unzip()
    }
}
