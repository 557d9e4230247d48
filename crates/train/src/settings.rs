//! The numbers of a training run, all decided.

use serde::{Deserialize, Serialize};
use tsumugi_tensor::Activations;

use crate::schedule::Shape;
use crate::{OptimizerKind, Schedule, TrainError};

/// How a training step is made: with the sizes of model and batch, it decides memory and time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepOptions {
    /// What becomes of the layers' values.
    pub activations: Activations,
    /// What updates the parameters.
    pub optimizer: OptimizerKind,
}

/// What the trainer needs besides a model and batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TrainSettings {
    /// Optimizer steps.
    pub steps: u64,
    /// Micro-batches summed up for a step.
    pub accumulate: usize,
    /// What updates the parameters.
    pub optimizer: OptimizerKind,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// How the rate falls.
    pub schedule: Schedule,
    /// Steps of the rise.
    pub warmup_steps: u64,
    /// Least rate as a share of the peak.
    pub least_rate: f64,
    /// Share of steps in which warm-up-stable-decay falls.
    pub decay_share: f64,
    /// AdamW: decay of the first moment.
    pub beta1: f64,
    /// AdamW: decay of the second moment.
    pub beta2: f64,
    /// AdamW: decoupled decay of matrices.
    pub weight_decay: f64,
    /// Largest norm of the gradient.
    pub clip: f64,
    /// Steps between evaluations on the held-out text.
    pub evaluate_every: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Whether each layer's values are computed again before its backward instead of kept. The one setting that may
    /// differ when a run goes on: it changes memory and time, and no bit of the result.
    #[serde(default)]
    pub recompute: bool,
    /// Of every random number.
    pub seed: u64,
}

/// Of AdamW; the value of the paper, and of every framework.
pub const EPSILON: f64 = 1e-8;

impl TrainSettings {
    /// A warm-up that never ends never reaches the rate that was asked for.
    pub fn check_warmup(&self, said: Option<u64>) -> Result<(), TrainError> {
        match said.filter(|&warmup| warmup >= self.steps) {
            Some(warmup) => Err(TrainError::Setting {
                key: "warmup-steps",
                value: warmup.to_string(),
                problem: format!("there are only {} steps: the peak rate would never be reached", self.steps),
            }),
            None => Ok(()),
        }
    }

    /// How its steps are made.
    pub fn options(&self) -> StepOptions {
        StepOptions { activations: Activations::recomputed_if(self.recompute), optimizer: self.optimizer }
    }

    /// The rate of a step, which counts from 0.
    pub fn rate(&self, step: u64) -> f64 {
        let Self { schedule, steps, warmup_steps, least_rate, decay_share, .. } = *self;
        self.learning_rate * Shape { schedule, steps, warmup_steps, least: least_rate, decay_share }.factor(step)
    }
}
