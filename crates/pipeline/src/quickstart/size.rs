//! How large a model a budget allows: data to be tuned, and the rule that reads it.

use serde::{Deserialize, Serialize};
use tsumugi_models::DecoderSpec;
use tsumugi_models::llama::Llama;

/// A model that quickstart may train.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Size {
    /// Layers.
    pub layers: usize,
    /// Width.
    pub width: usize,
    /// Heads.
    pub heads: usize,
    /// Sequences of a step, [`CONTEXT`] tokens each.
    pub batch: usize,
    /// Taken if the budget pays for so many passes over the text; below that a smaller one learns more.
    pub epochs_min: f64,
    /// Dropout rate: many passes over a small text are learned by heart without it.
    pub dropout: f32,
    /// Peak learning rate of pre-training.
    pub learning_rate: f64,
}

/// From small to large. On two cores (AVX-512) they fit budgets of about 1, 3, 8.5, 15, 30 and 90 minutes.
pub const SIZES: &[Size] = &[
    Size { layers: 3, width: 96, heads: 3, batch: 4, epochs_min: 0.0, dropout: 0.0, learning_rate: 4e-3 },
    Size { layers: 4, width: 128, heads: 4, batch: 4, epochs_min: 5.0, dropout: 0.0, learning_rate: 3e-3 },
    Size { layers: 4, width: 192, heads: 6, batch: 8, epochs_min: 8.0, dropout: 0.1, learning_rate: 3e-3 },
    Size { layers: 6, width: 192, heads: 6, batch: 8, epochs_min: 12.0, dropout: 0.1, learning_rate: 2.5e-3 },
    Size { layers: 6, width: 256, heads: 8, batch: 8, epochs_min: 12.0, dropout: 0.15, learning_rate: 2e-3 },
    Size { layers: 6, width: 384, heads: 6, batch: 16, epochs_min: 14.0, dropout: 0.2, learning_rate: 1e-3 },
];

/// Positions of a sequence: about 700 bytes of this text, a few turns of its dialogue.
pub const CONTEXT: usize = 256;
/// Tokens of the vocabulary, control tokens included.
pub const VOCABULARY: usize = 1024;
/// Of the time for training.
pub const CHAT_SHARE: f64 = 0.2;
/// More passes over the dialogue are learned by heart.
pub const CHAT_EPOCHS_MAX: f64 = 4.0;
/// The chat stage's peak rate as a share of pre-training's.
pub const CHAT_RATE: f64 = 0.3;
/// Evaluations of a stage at most, after the one at its beginning.
pub const BASE_EVALUATIONS: u64 = 8;
/// As above.
pub const CHAT_EVALUATIONS: u64 = 3;

impl Size {
    /// The decoder.
    pub fn spec(&self, vocabulary: usize) -> DecoderSpec {
        let spec = Llama::sized(vocabulary, CONTEXT, self.width, self.layers, self.heads, self.heads);
        DecoderSpec { dropout: self.dropout, ..spec }
    }

    /// Floating-point operations per token of training.
    pub fn flops_per_token(&self) -> f64 {
        self.spec(VOCABULARY).training_flops_per_token(CONTEXT)
    }
}

/// A size that was timed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Timed {
    /// Index into [`SIZES`].
    pub size: usize,
    /// Tokens per second of training steps.
    pub training: f64,
    /// Tokens per second of scoring.
    pub scoring: f64,
}

/// Chooses the largest size that gets its passes over `text_tokens` in `seconds`. The smallest is timed and the others'
/// speeds follow from their operations; the chosen one is then timed itself and, if it is slower than expected, the
/// next smaller one is. Returns every timing, the chosen size's last.
pub fn choose(text_tokens: f64, seconds: f64, mut time: impl FnMut(&Size) -> (f64, f64)) -> Vec<Timed> {
    let mut timed = Vec::new();
    let mut measure = |size: usize, timed: &mut Vec<Timed>| {
        let (training, scoring) = time(&SIZES[size]);
        timed.push(Timed { size, training, scoring });
        training
    };
    let enough = |size: usize, speed: f64| speed * seconds / text_tokens >= SIZES[size].epochs_min;
    let operations = measure(0, &mut timed) * SIZES[0].flops_per_token();
    let expected = |size: usize| operations / SIZES[size].flops_per_token();
    let mut size = (1..SIZES.len()).rev().find(|&size| enough(size, expected(size))).unwrap_or(0);
    while size > 0 {
        let speed = measure(size, &mut timed);
        if enough(size, speed) {
            return timed;
        }
        size -= 1;
    }
    if timed.len() > 1 {
        let smallest = timed.remove(0); // timed already: it is the choice
        timed.push(smallest);
    }
    timed
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine of so many operations per second on models of any size.
    fn chosen(operations: f64, seconds: f64) -> usize {
        let timed = choose(350_000.0, seconds, |size| (operations / size.flops_per_token(), 0.0));
        timed.last().unwrap().size
    }

    #[test]
    fn more_time_or_a_faster_machine_never_gives_a_smaller_model() {
        let sizes: Vec<usize> = [1.0, 40.0, 130.0, 380.0, 1300.0, 1e5].map(|seconds| chosen(2e11, seconds)).to_vec();
        assert!(sizes.is_sorted(), "{sizes:?}");
        assert_eq!((sizes[0], sizes[5]), (0, SIZES.len() - 1));
        assert!(chosen(4e11, 380.0) >= chosen(2e11, 380.0));
    }

    #[test]
    fn a_size_that_is_slower_than_expected_gives_way_to_the_next_smaller() {
        let slow = |size: &Size| (2e11 / size.flops_per_token() / if size.width > 128 { 50.0 } else { 1.0 }, 0.0);
        let timed = choose(350_000.0, 380.0, slow);
        assert!(timed.len() > 2 && SIZES[timed.last().unwrap().size].width <= 128, "{timed:?}");
    }

    #[test]
    fn sizes_ascend_and_their_heads_can_be_rotated() {
        assert!(SIZES.is_sorted_by_key(|size| size.spec(VOCABULARY).product_parameters()));
        assert!(SIZES.iter().all(|size| size.width % size.heads == 0 && (size.width / size.heads) % 2 == 0));
    }
}
