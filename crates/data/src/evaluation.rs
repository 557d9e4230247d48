//! Held-out text in consecutive windows, or held-out conversations: every token is predicted exactly once.

use tsumugi_base::rng::Key;
use tsumugi_tokenizer::{ChatTemplate, Message, TokenId, Tokenizer};

use crate::conversation::{pack_rows, trained_parts};
use crate::{Batch, DataError};

/// What an evaluation scores, in batches of a fixed shape.
#[derive(Debug, Clone)]
pub struct EvaluationSet {
    /// Each row holds windows that do not see each other.
    rows: Vec<Vec<Window>>,
    context: usize,
    batch: usize,
    scored_tokens: u64,
    scored_bytes: u64,
}

/// Predicts all but its first id: `ids`, and for each whether it is scored.
type Window = (Vec<TokenId>, Vec<bool>);

impl EvaluationSet {
    /// Consecutive windows of `context` positions over `text`, which begins with what the tokenizer puts before a
    /// text. Without such a token, the first token of the text has nothing before it and is not scored. Any text of
    /// at least one scored token is enough; the last window may be short and is padded.
    pub fn from_text(tokenizer: &Tokenizer, text: &str, context: usize, batch: usize) -> Result<Self, DataError> {
        check_sizes(context, batch)?;
        if text.is_empty() {
            return Err(DataError::Empty { what: "held-out text" });
        }
        let mut ids = tokenizer.prefix().to_vec();
        ids.extend(tokenizer.encode(text));
        // Only the last id of the prefix predicts text; what comes before it is not worth a window.
        ids.drain(..tokenizer.prefix().len().saturating_sub(1));
        if ids.len() < 2 {
            let tokens = ids.len() as u64;
            return Err(DataError::TooShort { what: "held-out text", tokens, context, needed: 2 });
        }
        let unscored = if tokenizer.prefix().is_empty() { tokenizer.token_bytes(ids[0]).len() as u64 } else { 0 };
        let rows = (0..ids.len() - 1)
            .step_by(context)
            .map(|start| {
                let window = ids[start..ids.len().min(start + context + 1)].to_vec();
                let scored = vec![true; window.len()];
                vec![(window, scored)]
            })
            .collect();
        let scored_tokens = ids.len() as u64 - 1;
        Ok(Self { rows, context, batch, scored_tokens, scored_bytes: text.len() as u64 - unscored })
    }

    /// Conversations, of which the assistant's words and their ends are scored; cut into parts and packed into rows
    /// as in training, so that what is scored is what would be trained.
    pub fn from_conversations(
        tokenizer: &Tokenizer,
        template: &ChatTemplate,
        conversations: &[Vec<Message>],
        context: usize,
        batch: usize,
    ) -> Result<Self, DataError> {
        check_sizes(context, batch)?;
        let (parts, report) = trained_parts(tokenizer, template, conversations, context)?;
        let mut scored_bytes = 0;
        for part in &parts {
            let ids = part.ids.iter().zip(&part.trained).skip(1).filter(|&(&id, &trained)| {
                trained && !tokenizer.is_special(id) // the end of a turn is a token, but no text
            });
            scored_bytes += ids.map(|(&id, _)| tokenizer.token_bytes(id).len() as u64).sum::<u64>();
        }
        // Any order would do; one that is the same for every seed keeps runs comparable.
        let rows = pack_rows(&parts, context, Key::from_seed(0))
            .iter()
            .map(|row| row.iter().map(|&part| (parts[part].ids.clone(), parts[part].trained.clone())).collect())
            .collect();
        Ok(Self { rows, context, batch, scored_tokens: report.trained_tokens, scored_bytes })
    }

    /// How many batches there are.
    pub fn batch_count(&self) -> usize {
        self.rows.len().div_ceil(self.batch)
    }

    /// Batch `index`: `batch * context` rows, the last ones padding of weight 0.
    ///
    /// # Panics
    /// If `index` is not below [`Self::batch_count`].
    pub fn batch(&self, index: usize) -> Batch {
        assert!(index < self.batch_count(), "batch {index} of {}", self.batch_count());
        let mut batch = Batch::with_capacity(self.batch * self.context);
        for row in self.rows.iter().skip(index * self.batch).take(self.batch) {
            for (ids, scored) in row {
                batch.push_segment(ids, |at| scored[at]);
            }
            batch.push_padding(batch.rows.next_multiple_of(self.context) - batch.rows, 0);
        }
        while batch.rows < self.batch * self.context {
            batch.push_padding(self.context, 0);
        }
        batch
    }

    /// All batches in order.
    pub fn batches(&self) -> impl Iterator<Item = Batch> + '_ {
        (0..self.batch_count()).map(|index| self.batch(index))
    }

    /// Tokens that are scored.
    pub fn scored_tokens(&self) -> u64 {
        self.scored_tokens
    }

    /// Bytes of the text that the scored tokens stand for.
    pub fn scored_bytes(&self) -> u64 {
        self.scored_bytes
    }

    /// Bits per byte, from the sum of all scored tokens' negative log likelihoods in nats.
    pub fn bits_per_byte(&self, nll_nats: f64) -> f64 {
        nll_nats / std::f64::consts::LN_2 / self.scored_bytes as f64
    }
}

fn check_sizes(context: usize, batch: usize) -> Result<(), DataError> {
    match (context, batch) {
        (0, _) => Err(DataError::Zero { name: "context" }),
        (_, 0) => Err(DataError::Zero { name: "batch" }),
        _ => Ok(()),
    }
}
