//! Logits to the next token: a list of stages over the candidates, then one draw.
//!
//! The draw of step n is a pure function of (seed, n) and the logits: it does not depend on what else is sampled.
//! Equal logits keep the order of their ids.

mod greedy;
mod min_p;
pub mod ranges;
mod repetition_penalty;
mod temperature;
mod top_k;
mod top_p;

use tsumugi_base::Hint;
use tsumugi_base::rng::Key;

/// How the next token is chosen. Filters apply in this order: repetition penalty, temperature,
/// top-k, top-p, min-p.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParameters {
    /// 0 is greedy. Logits are divided by it.
    pub temperature: f32,
    /// Keep the `k` most likely tokens; `None` keeps all.
    pub top_k: Option<usize>,
    /// Nucleus: keep the smallest set whose probability reaches this, in (0, 1] (Holtzman et al. 2019).
    pub top_p: f32,
    /// Keep tokens at least this fraction as likely as the likeliest, in [0, 1).
    pub min_p: f32,
    /// 1 is off; above 1 makes tokens already in the context less likely (Keskar et al. 2019, CTRL).
    pub repetition_penalty: f32,
    /// The same seed, prompt and model give the same text.
    pub seed: u64,
}

impl Default for SamplingParameters {
    fn default() -> Self {
        Self { temperature: 0.8, top_k: None, top_p: 0.95, min_p: 0.0, repetition_penalty: 1.0, seed: 0 }
    }
}

/// Why no token can be chosen.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// A parameter out of its range.
    #[error("`{name}` is {value}, but must be {expected}")]
    BadParameter {
        /// Its name in the API.
        name: &'static str,
        /// What was given.
        value: String,
        /// The range.
        expected: &'static str,
    },
    /// The model computed something that is no number.
    #[error("the logit of token {token} is {value}: the model's weights are damaged")]
    NotANumber {
        /// The first such token.
        token: u32,
        /// NaN or plus infinity.
        value: f32,
    },
    /// Every token has probability 0.
    #[error("no token has a probability above 0: the model's weights are damaged")]
    NothingLeft,
}

/// What to do with a model that computes what is no number.
pub const DAMAGED_HINT: &str = "fetch the model again, or look at its training for a diverged loss";

impl Hint for SampleError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NotANumber { .. } | Self::NothingLeft => Some(DAMAGED_HINT.into()),
            Self::BadParameter { .. } => None,
        }
    }
}

/// A token that may come next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Its id.
    pub token: u32,
    /// Its logit, as the stages have changed it so far.
    pub logit: f32,
}

/// The tokens that may come next; at first all of them, in the order of their ids.
#[derive(Debug, Default)]
pub struct Candidates {
    /// In any order after a filter.
    pub list: Vec<Candidate>,
}

/// What a stage may look at besides the candidates.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Prompt and answer so far.
    pub tokens: &'a [u32],
}

/// A step on the way from logits to a choice. To add one: a file, and its line in [`stages`].
pub trait Stage: Send + Sync {
    /// Its name in the API.
    fn name(&self) -> &'static str;
    /// Changes logits or removes candidates; leaves at least one.
    fn apply(&self, candidates: &mut Candidates, context: Context<'_>);
}

/// A stage of these parameters: `None` where they do not ask for it, an error where they are out of range.
type Make = fn(&SamplingParameters) -> Result<Option<Box<dyn Stage>>, SampleError>;

/// Every stage, in the order in which they apply.
pub const ALL: &[Make] =
    &[repetition_penalty::stage, greedy::stage, temperature::stage, top_k::stage, top_p::stage, min_p::stage];

/// Chooses tokens for one sequence.
pub struct Sampler {
    stages: Vec<Box<dyn Stage>>,
    key: Key,
    step: u64,
    candidates: Candidates,
}

/// Separates the engine's draws from other uses of the same seed.
const SAMPLING: u64 = 0x7361_6d70_6c65;

impl Sampler {
    /// Fails when a parameter is out of its range.
    pub fn new(parameters: &SamplingParameters) -> Result<Self, SampleError> {
        let mut stages = Vec::new();
        for make in ALL {
            stages.extend(make(parameters)?);
        }
        let key = Key::from_seed(parameters.seed).derive(&[SAMPLING]);
        Ok(Self { stages, key, step: 0, candidates: Candidates::default() })
    }

    /// The next token, from `logits` over the vocabulary and the tokens before it.
    pub fn sample(&mut self, logits: &[f32], context: &[u32]) -> Result<u32, SampleError> {
        let list = &mut self.candidates.list;
        list.clear();
        for (token, &logit) in (0u32..).zip(logits) {
            if logit.is_nan() || logit == f32::INFINITY {
                return Err(SampleError::NotANumber { token, value: logit });
            }
            if logit > f32::NEG_INFINITY {
                list.push(Candidate { token, logit });
            }
        }
        if list.is_empty() {
            return Err(SampleError::NothingLeft);
        }
        for stage in &self.stages {
            stage.apply(&mut self.candidates, Context { tokens: context });
        }
        let draw = self.key.bits(self.step);
        self.step += 1;
        draw_from(&self.candidates, draw).ok_or(SampleError::NothingLeft)
    }
}

/// The candidate in whose share of the probability the draw falls.
fn draw_from(candidates: &Candidates, draw: u64) -> Option<u32> {
    let list = &candidates.list;
    if let [only] = list[..] {
        return Some(only.token);
    }
    let weights = candidates.weights();
    let total: f64 = weights.iter().sum();
    let mut left = (draw >> 11) as f64 / (1u64 << 53) as f64 * total;
    for (candidate, weight) in list.iter().zip(&weights) {
        if left < *weight {
            return Some(candidate.token);
        }
        left -= weight;
    }
    // Rounding may leave a last crumb.
    list.iter().zip(&weights).rev().find(|(_, weight)| **weight > 0.0).map(|(candidate, _)| candidate.token)
}

/// More likely first; of equals the lower id.
fn by_likelihood(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
}

impl Candidates {
    fn largest(&self) -> f32 {
        self.list.iter().fold(f32::NEG_INFINITY, |largest, candidate| largest.max(candidate.logit))
    }

    /// Probabilities up to a common factor, the likeliest has 1.
    fn weights(&self) -> Vec<f64> {
        let largest = f64::from(self.largest());
        self.list.iter().map(|candidate| (f64::from(candidate.logit) - largest).exp()).collect()
    }

    /// Keeps the `count` likeliest, sorted.
    fn keep_likeliest(&mut self, count: usize) {
        self.sort_first(count);
        self.list.truncate(count);
    }

    /// Puts the `count` likeliest in order at the front.
    fn sort_first(&mut self, count: usize) {
        if count < self.list.len() {
            self.list.select_nth_unstable_by(count, by_likelihood);
        }
        let count = count.min(self.list.len());
        self.list[..count].sort_unstable_by(by_likelihood);
    }
}

fn bad(name: &'static str, value: impl std::fmt::Display, expected: &'static str) -> SampleError {
    SampleError::BadParameter { name, value: value.to_string(), expected }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
