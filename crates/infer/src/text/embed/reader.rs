//! What embedders and cross-encoders share: a model with its tokenizer, which reads texts whole.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tsumugi_files::{Admitted, ModelFiles};
use tsumugi_models::{EmbeddingModel, Precision};
use tsumugi_tensor::Cpu;
use tsumugi_tokenizer::{TokenId, Tokenizer};

use super::settings;
use crate::embed::{EmbeddingEngine, TextIds};
use crate::text::LoadError;
use crate::text::local::{check_vocabulary, load_tokenizer, name_of};

/// A model, its tokenizer, and how long a text it reads.
pub(super) struct Reader {
    pub name: String,
    pub width: usize,
    pub labels: Option<usize>,
    tokenizer: Tokenizer,
    token_types: usize,
    max_tokens: usize,
    lower_case: bool,
    engine: Mutex<EmbeddingEngine>,
}

impl Reader {
    /// Loads weights and tokenizer; `None` threads are one per core.
    pub fn load(model: &Admitted<ModelFiles>, threads: Option<usize>, precision: Precision) -> Result<Self, LoadError> {
        let tokenizer = load_tokenizer(model)?;
        let length = settings::read_length(model)?;
        let cpu = Cpu::detect(threads)?;
        let loaded = EmbeddingModel::load_to_serve(model, &cpu, precision)?;
        check_vocabulary(model, &tokenizer, loaded.vocabulary())?;
        Ok(Self {
            name: name_of(model),
            width: loaded.width(),
            labels: loaded.labels(),
            token_types: loaded.token_types(),
            max_tokens: length.tokens.unwrap_or(usize::MAX).min(loaded.context()),
            lower_case: length.lower_case,
            tokenizer,
            engine: Mutex::new(EmbeddingEngine::new(loaded, cpu)),
        })
    }

    /// Tokens of the longest text, its frame counted.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// One use at a time: callers wait for each other. Nothing in it outlives a use but plans, whose values are set anew.
    pub fn engine(&self) -> MutexGuard<'_, EmbeddingEngine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn encode(&self, text: &str) -> Vec<TokenId> {
        if self.lower_case { self.tokenizer.encode(&text.to_lowercase()) } else { self.tokenizer.encode(text) }
    }

    /// A text in its frame, cut to the longest; and whether it was cut. None if it has no token.
    pub fn read(&self, text: &str) -> Option<(TextIds, bool)> {
        let (prefix, suffix) = (self.tokenizer.prefix(), self.tokenizer.suffix());
        let mut ids = self.encode(text);
        if ids.is_empty() {
            return None;
        }
        let room = self.max_tokens.saturating_sub(prefix.len() + suffix.len()).max(1);
        let cut = ids.len() > room;
        ids.truncate(room);
        let mut ids = [prefix, &ids, suffix].concat();
        ids.truncate(self.max_tokens); // a context shorter than the frame
        Some((TextIds::single(ids), cut))
    }

    /// Two texts in the frame of a pair; of the longer one tokens are cut from the end until both fit. None if one has no
    /// token; the answer says which.
    pub fn read_pair(&self, first: &str, second: &str) -> Result<(TextIds, bool), usize> {
        let [mut first, mut second] = [self.encode(first), self.encode(second)];
        if let Some(empty) = [&first, &second].iter().position(|ids| ids.is_empty()) {
            return Err(empty);
        }
        let frame = self.tokenizer.pair_frame();
        let room = self.max_tokens.saturating_sub(frame.added()).max(2);
        let (first_len, second_len) = longest_first(first.len(), second.len(), room);
        let cut = first_len < first.len() || second_len < second.len();
        first.truncate(first_len);
        second.truncate(second_len);
        let (mut tokens, types) = frame.join(&first, &second);
        // RoBERTa's kind knows one type of tokens, whatever the frame says.
        let mut types: Vec<u32> = types.into_iter().map(|kind| kind.min(self.token_types as u32 - 1)).collect();
        tokens.truncate(self.max_tokens);
        types.truncate(self.max_tokens);
        Ok((TextIds { tokens, types }, cut))
    }
}

/// Lengths of two texts that have `room` together: the longer one is cut first, then both to a half, of which the longer one, or
/// the second of two equal ones, has the odd token (`longest_first` of Hugging Face's tokenizers).
fn longest_first(first: usize, second: usize, room: usize) -> (usize, usize) {
    if first + second <= room {
        return (first, second);
    }
    let short = first.min(second).min(room / 2);
    if first <= second { (short, room - short) } else { (room - short, short) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found with `tokenizers` 0.23.3.
    #[test]
    fn the_longer_text_is_cut_first() {
        let cases = [
            ((3, 3, 6), (3, 3)),
            ((2, 9, 8), (2, 6)),
            ((9, 2, 8), (6, 2)),
            ((5, 9, 9), (4, 5)),
            ((9, 5, 9), (5, 4)),
            ((9, 9, 9), (4, 5)),
            ((9, 9, 8), (4, 4)),
        ];
        for ((first, second, room), expected) in cases {
            assert_eq!(longest_first(first, second, room), expected, "{first}, {second} into {room}");
        }
    }
}
