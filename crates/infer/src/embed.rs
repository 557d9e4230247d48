//! Token ids to embeddings and scores: whole texts at once, no cache.
//!
//! Texts are packed behind each other without padding between them, long ones first, so that a batch is nearly all work.
//! **Invariant** (decision 6): a text's numbers are the same bits whatever its neighbours, the batch and the threads.

use std::collections::BTreeMap;

use tsumugi_models::embedding_model::TextRows;
use tsumugi_models::{EmbeddingModel, HiddenPlan, ScorePlan};
use tsumugi_tensor::{Cpu, Segment};

use crate::engine::padded_rows;

/// Rows that are computed at once, unless one text has more: what a layer makes of them fits into a core's cache.
const BATCH_ROWS: usize = 512;

/// Texts of a batch at most.
const BATCH_TEXTS: usize = 64;

/// How a text's hidden states become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean (Reimers and Gurevych 2019).
    Mean,
    /// That of the first token, which BERT calls `[CLS]`.
    First,
    /// That of the last token: of a decoder the only one that has seen the whole text.
    Last,
}

impl Pooling {
    /// Of hidden states `[length, m]`, at least one; `[m]`. Sums are in float64, in the order of the text.
    fn pool(self, hidden: &[f32], width: usize) -> Vec<f32> {
        match self {
            Self::First => hidden[..width].to_vec(),
            Self::Last => hidden[hidden.len() - width..].to_vec(),
            Self::Mean => {
                let mut sums = vec![0.0f64; width];
                for row in hidden.chunks_exact(width) {
                    sums.iter_mut().zip(row).for_each(|(sum, &number)| *sum += f64::from(number));
                }
                let length = (hidden.len() / width) as f64;
                sums.into_iter().map(|sum| (sum / length) as f32).collect()
            }
        }
    }
}

/// A text, or two in one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextIds {
    /// At least one, and no more than the model's context.
    pub tokens: Vec<u32>,
    /// As many: the text of a pair that each is of.
    pub types: Vec<u32>,
}

impl TextIds {
    /// Of one text.
    pub fn single(tokens: Vec<u32>) -> Self {
        Self { types: vec![0; tokens.len()], tokens }
    }
}

/// A model packed for serving, and its plans.
pub struct EmbeddingEngine {
    cpu: Cpu,
    model: EmbeddingModel,
    hidden: BTreeMap<usize, HiddenPlan>,
    scores: BTreeMap<usize, ScorePlan>,
}

impl EmbeddingEngine {
    /// Of a model that was loaded for serving with the same processor.
    pub fn new(model: EmbeddingModel, cpu: Cpu) -> Self {
        Self { cpu, model, hidden: BTreeMap::new(), scores: BTreeMap::new() }
    }

    /// The model.
    pub fn model(&self) -> &EmbeddingModel {
        &self.model
    }

    /// A vector for each text, `[texts, m]`.
    ///
    /// # Panics
    /// When a text is empty or too long, or an id is outside of the vocabulary: mistakes of the caller.
    pub fn embed(&mut self, texts: &[TextIds], pooling: Pooling) -> Vec<f32> {
        let width = self.model.width();
        let mut vectors = vec![0.0; texts.len() * width];
        for batch in batches(texts) {
            let rows = Batch::of(texts, &batch);
            let count = rows.tokens.len();
            self.hidden.retain(|&rows, _| is_kept(rows, count));
            let plan = self.hidden.entry(count).or_insert_with(|| HiddenPlan::new(&self.model, count));
            let hidden = plan.run(&self.cpu, &self.model, rows.text_rows());
            for (&index, text) in batch.iter().zip(&rows.texts) {
                let vector = pooling.pool(&hidden[text.start * width..][..text.len * width], width);
                vectors[index * width..][..width].copy_from_slice(&vector);
            }
        }
        vectors
    }

    /// The classifier's scores of each text, `[texts, labels]`; none if the model has no classifier.
    ///
    /// # Panics
    /// When a text is empty or too long, or an id is outside of the vocabulary: mistakes of the caller.
    pub fn score(&mut self, texts: &[TextIds]) -> Option<Vec<f32>> {
        let EmbeddingModel::Encoder(encoder) = &self.model else { return None };
        let labels = encoder.spec.labels?;
        let mut scores = vec![0.0; texts.len() * labels];
        for batch in batches(texts) {
            let rows = Batch::of(texts, &batch);
            let count = rows.tokens.len();
            self.scores.retain(|&rows, _| is_kept(rows, count));
            let plan = self.scores.entry(count).or_insert_with(|| ScorePlan::new(encoder, count, BATCH_TEXTS));
            let of_batch = plan.run(&self.cpu, &self.model, rows.text_rows());
            for (&index, found) in batch.iter().zip(of_batch.chunks_exact(labels)) {
                scores[index * labels..][..labels].copy_from_slice(found);
            }
        }
        Some(scores)
    }
}

/// Whether a plan stays where one for `next` rows comes: of those for a text that is a batch alone, only that one.
fn is_kept(rows: usize, next: usize) -> bool {
    rows <= BATCH_ROWS || rows == next
}

/// Texts that are computed together, by their indices: long ones first.
fn batches(texts: &[TextIds]) -> Vec<Vec<usize>> {
    let length = |index: usize| texts[index].tokens.len();
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(length(index)));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut rows = usize::MAX;
    for index in order {
        match batches.last_mut() {
            Some(batch) if rows + length(index) <= BATCH_ROWS && batch.len() < BATCH_TEXTS => {
                rows += length(index);
                batch.push(index);
            }
            _ => {
                rows = length(index);
                batches.push(vec![index]);
            }
        }
    }
    batches
}

/// Texts behind each other, and padding to one of few sizes.
struct Batch {
    tokens: Vec<u32>,
    types: Vec<u32>,
    texts: Vec<Segment>,
}

impl Batch {
    fn of(texts: &[TextIds], batch: &[usize]) -> Self {
        let mut this = Self { tokens: Vec::new(), types: Vec::new(), texts: Vec::new() };
        for &index in batch {
            let text = &texts[index];
            this.texts.push(Segment { start: this.tokens.len(), len: text.tokens.len() });
            this.tokens.extend_from_slice(&text.tokens);
            this.types.extend_from_slice(&text.types);
        }
        let rows = padded_rows(this.tokens.len());
        this.tokens.resize(rows, 0);
        this.types.resize(rows, 0);
        this
    }

    fn text_rows(&self) -> TextRows<'_> {
        TextRows { tokens: &self.tokens, types: &self.types, texts: &self.texts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_is_the_mean_the_first_or_the_last() {
        let hidden = [1.0, 2.0, 3.0, 5.0, 5.0, 5.0];
        assert_eq!(Pooling::Mean.pool(&hidden, 2), [3.0, 4.0]);
        assert_eq!(Pooling::First.pool(&hidden, 2), [1.0, 2.0]);
        assert_eq!(Pooling::Last.pool(&hidden, 2), [5.0, 5.0]);
    }

    #[test]
    fn batches_hold_every_text_once_long_ones_first_and_few_rows() {
        let lengths = [3, 400, 600, 1, 500, 100, 12, 512, 513];
        let mut lengths = lengths.to_vec();
        lengths.extend([1; 150]);
        let texts: Vec<TextIds> = lengths.iter().map(|&length| TextIds::single(vec![0; length])).collect();
        let batches = batches(&texts);
        let mut seen: Vec<usize> = batches.concat();
        let of = |batch: &[usize]| batch.iter().map(|&index| lengths[index]).collect::<Vec<_>>();
        assert!(of(&seen).is_sorted_by(|a, b| a >= b));
        assert!(batches.iter().all(|batch| batch.len() <= BATCH_TEXTS));
        assert!(batches.iter().all(|batch| batch.len() == 1 || of(batch).iter().sum::<usize>() <= BATCH_ROWS));
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..texts.len()));
    }
}
