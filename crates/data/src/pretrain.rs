//! Windows of a long text: what pre-training reads.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tsumugi_base::rng::{Key, Permutation};

use crate::{Batch, BatchSource, DataError, TokenShards};

/// In which order windows come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WindowOrder {
    /// Every window starts anywhere, independently (nanoGPT).
    #[default]
    Random,
    /// Each epoch cuts the text into consecutive windows, from a new offset, and goes through them in a new random
    /// order: every token is seen once, but for less than two windows at the ends.
    Shuffled,
}

/// Whether a window that holds the end of one document and the beginning of the next is one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Documents {
    /// One segment: the model sees the BOS token and learns to forget (GPT-2, GPT-3).
    #[default]
    Joined,
    /// A segment per document; the first token of a document is not a target.
    Separate,
}

/// The shape and order of pre-training batches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PretrainConfig {
    /// Positions `t` of a window.
    pub context: usize,
    /// Windows `b` of a micro-batch.
    pub batch: usize,
    /// Micro-batches of a step.
    pub micro_batches: usize,
    /// In which order windows come.
    pub order: WindowOrder,
    /// How documents share windows.
    pub documents: Documents,
    /// The same seed gives the same batches.
    pub seed: u64,
}

/// Batches of windows; `batch(step, micro)` is a pure function.
#[derive(Debug, Clone)]
pub struct PretrainLoader {
    shards: Arc<TokenShards>,
    config: PretrainConfig,
    key: Key,
}

/// Our part of the key space of a seed.
const WINDOWS: u64 = 0x7769_6e64;

impl PretrainLoader {
    /// Needs at least `context + 1` tokens: the last position has a target too.
    pub fn new(shards: Arc<TokenShards>, config: PretrainConfig) -> Result<Self, DataError> {
        let sizes = [("context", config.context), ("batch", config.batch), ("micro_batches", config.micro_batches)];
        if let Some((name, _)) = sizes.into_iter().find(|&(_, size)| size == 0) {
            return Err(DataError::Zero { name });
        }
        let needed = config.context as u64 + 1;
        if shards.len() < needed {
            let (tokens, context) = (shards.len(), config.context);
            return Err(DataError::TooShort { what: "training text", tokens, context, needed });
        }
        let key = Key::from_seed(config.seed).derive(&[WINDOWS]);
        Ok(Self { shards, config, key })
    }

    /// The tokens it reads.
    pub fn shards(&self) -> &Arc<TokenShards> {
        &self.shards
    }

    /// Where window `index` (counted through the whole run) starts.
    fn window_start(&self, index: u64) -> u64 {
        let context = self.config.context as u64;
        let targets = self.shards.len() - 1;
        match self.config.order {
            WindowOrder::Random => self.key.below(index, targets - context + 1),
            WindowOrder::Shuffled => {
                let windows = self.sequences();
                let (epoch, place) = (index / windows, index % windows);
                let key = self.key.derive(&[epoch]);
                let offset = key.below(0, targets - windows * context + 1);
                offset + Permutation::new(key.derive(&[1]), windows).get(place) * context
            }
        }
    }

    fn push_window(&self, batch: &mut Batch, start: u64) {
        let end = start + self.config.context as u64 + 1;
        let ids = self.shards.slice(start..end);
        if self.config.documents == Documents::Joined {
            batch.push_segment(&ids, |_| true);
            return;
        }
        // Documents that begin inside; one that begins at the last id would be a segment without a row.
        let documents = self.shards.documents();
        let first = documents.partition_point(|&document| document <= start);
        let inside = documents[first..].iter().take_while(|&&document| document < end - 1);
        let mut from = 0;
        for border in inside.map(|&document| (document - start) as usize).chain([ids.len() - 1]) {
            if border > from {
                // The last target of a segment is the next document's first token, which nothing here foretells.
                let next_is_other = documents.binary_search(&(start + border as u64)).is_ok();
                batch.push_segment(&ids[from..=border], |index| from + index < border || !next_is_other);
                from = border;
            }
        }
    }
}

impl BatchSource for PretrainLoader {
    fn batch(&self, step: u64, micro: usize) -> Batch {
        let (windows, micro_batches) = (self.config.batch as u64, self.config.micro_batches as u64);
        let first = (step * micro_batches + micro as u64) * windows;
        let mut batch = Batch::with_capacity(self.config.batch * self.config.context);
        for index in first..first + windows {
            self.push_window(&mut batch, self.window_start(index));
        }
        batch
    }

    fn context(&self) -> usize {
        self.config.context
    }

    fn sequences(&self) -> u64 {
        // One less than fit, if possible, so that the offset of an epoch has room to vary.
        let fit = (self.shards.len() - 1) / self.config.context as u64;
        if fit > 1 { fit - 1 } else { fit }
    }
}
