//! Held-out text in consecutive windows: every token is predicted exactly once.

use tsumugi_tokenizer::{ChatTemplate, Message, TokenId, Tokenizer, TokenizerError, TrainingConversation};

use crate::{Batch, DataError};

/// What an evaluation scores, in batches of a fixed shape.
#[derive(Debug, Clone)]
pub struct EvaluationSet {
    /// Each predicts all but its first id: `ids`, and for each whether it is scored.
    windows: Vec<(Vec<TokenId>, Vec<bool>)>,
    context: usize,
    batch: usize,
    scored_tokens: u64,
    scored_bytes: u64,
}

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
        let windows = (0..ids.len() - 1)
            .step_by(context)
            .map(|start| {
                let window = ids[start..ids.len().min(start + context + 1)].to_vec();
                let scored = vec![true; window.len()];
                (window, scored)
            })
            .collect();
        let scored_tokens = ids.len() as u64 - 1;
        Ok(Self { windows, context, batch, scored_tokens, scored_bytes: text.len() as u64 - unscored })
    }

    /// One window per conversation, of which the assistant's words are scored. Conversations that do not fit into
    /// the context are left out.
    pub fn from_conversations(
        tokenizer: &Tokenizer,
        template: &ChatTemplate,
        conversations: &[Vec<Message>],
        context: usize,
        batch: usize,
    ) -> Result<Self, DataError> {
        check_sizes(context, batch)?;
        let encoded: Vec<TrainingConversation> = conversations
            .iter()
            .map(|messages| template.encode_conversation(tokenizer, messages))
            .collect::<Result<_, TokenizerError>>()?;
        let mut set = Self { windows: Vec::new(), context, batch, scored_tokens: 0, scored_bytes: 0 };
        for conversation in encoded {
            let scored = conversation.trained.iter().skip(1).filter(|&&trained| trained).count() as u64;
            if conversation.ids.len() > context + 1 || scored == 0 {
                continue;
            }
            set.scored_tokens += scored;
            let ids = conversation.ids.iter().zip(&conversation.trained).filter(|&(_, &trained)| trained);
            let said = ids.filter(|&(&id, _)| !tokenizer.is_special(id));
            set.scored_bytes += said.map(|(&id, _)| tokenizer.token_bytes(id).len() as u64).sum::<u64>();
            set.windows.push((conversation.ids, conversation.trained));
        }
        if set.windows.is_empty() {
            return Err(DataError::NothingTrained { conversations: conversations.len(), context });
        }
        Ok(set)
    }

    /// At most the first `windows` windows: for a quick look during training. The scored tokens are counted, the
    /// scored bytes estimated by their share.
    pub fn truncated(&self, windows: usize) -> Self {
        let mut set = self.clone();
        set.windows.truncate(windows.max(1));
        let scored = |window: &(Vec<TokenId>, Vec<bool>)| window.1.iter().skip(1).filter(|&&scored| scored).count();
        set.scored_tokens = set.windows.iter().map(|window| scored(window) as u64).sum();
        let share = set.scored_tokens as f64 / self.scored_tokens as f64;
        set.scored_bytes = (self.scored_bytes as f64 * share).round() as u64;
        set
    }

    /// How many batches there are.
    pub fn batch_count(&self) -> usize {
        self.windows.len().div_ceil(self.batch)
    }

    /// Batch `index`: `batch * context` rows, the last ones padding of weight 0.
    ///
    /// # Panics
    /// If `index` is not below [`Self::batch_count`].
    pub fn batch(&self, index: usize) -> Batch {
        assert!(index < self.batch_count(), "batch {index} of {}", self.batch_count());
        let mut batch = Batch::with_capacity(self.batch * self.context);
        for window in self.windows.iter().skip(index * self.batch).take(self.batch) {
            batch.push_segment(&window.0, |at| window.1[at]);
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
