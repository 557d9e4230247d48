//! Nats of given tokens: the forward pass of training, without gradients. For perplexity and evaluation.

use tsumugi_models::plans::LossRows;
use tsumugi_models::{Decoder, LossPlan};
use tsumugi_tensor::{Cpu, Segment};

/// Tokens of which each predicts the next.
#[derive(Debug, Clone, Copy)]
pub struct Window<'a> {
    /// At least two, and at most one more than the scorer's window.
    pub tokens: &'a [u32],
}

/// Scores windows of at most so many predictions, several at once.
pub struct Scorer {
    plan: LossPlan,
    window: usize,
    batch: usize,
    tokens: Vec<u32>,
    positions: Vec<u32>,
    targets: Vec<u32>,
    weights: Vec<f32>,
}

impl Scorer {
    /// For `batch` windows of up to `window` predictions.
    pub fn new(decoder: &Decoder, window: usize, batch: usize) -> Self {
        let (window, batch) = (window.max(1), batch.max(1));
        let rows = window * batch;
        Self {
            plan: LossPlan::scoring(decoder, rows),
            window,
            batch,
            tokens: vec![0; rows],
            positions: vec![0; rows],
            targets: vec![0; rows],
            weights: vec![0.0; rows],
        }
    }

    /// Windows that are computed at once.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Nats of the tokens of each window but its first, in order. A window's numbers do not depend on the others.
    ///
    /// # Panics
    /// When there are more windows than the batch, or one is too long or has no prediction: mistakes of the caller.
    pub fn score(&mut self, cpu: &Cpu, decoder: &Decoder, windows: &[Window<'_>]) -> Vec<Vec<f32>> {
        assert!(windows.len() <= self.batch, "{} windows in a batch of {}", windows.len(), self.batch);
        let mut segments = Vec::with_capacity(windows.len());
        self.weights.fill(0.0);
        for (index, window) in windows.iter().enumerate() {
            let len = window.tokens.len() - 1;
            assert!((1..=self.window).contains(&len), "{len} predictions in a window of {}", self.window);
            let start = index * self.window;
            self.tokens[start..start + len].copy_from_slice(&window.tokens[..len]);
            self.targets[start..start + len].copy_from_slice(&window.tokens[1..]);
            self.weights[start..start + len].fill(1.0);
            for (position, to) in (0u32..).zip(&mut self.positions[start..start + len]) {
                *to = position;
            }
            segments.push(Segment { start, len });
        }
        self.plan.set(LossRows {
            tokens: &self.tokens,
            positions: &self.positions,
            targets: &self.targets,
            weights: &self.weights,
            segments: &segments,
        });
        let nats = self.plan.score(cpu, &decoder.parameters);
        segments.iter().map(|segment| nats[segment.start..segment.start + segment.len].to_vec()).collect()
    }
}
