//! The optimizers that a run may choose, behind one door.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use tsumugi_tensor::memory::Buffer;
use tsumugi_tensor::{AdamW, AdamWStep, Cpu, Muon, ParameterId, Parameters};

/// Which optimizer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerKind {
    /// AdamW for every parameter (Loshchilov and Hutter 2017).
    #[default]
    #[value(name = "adamw")]
    #[serde(rename = "adamw")]
    AdamW,
    /// Muon for the matrices of the layers (Jordan et al. 2024), AdamW for the rest; a step takes as long as some five times
    /// the width in tokens more would.
    Muon,
}

impl OptimizerKind {
    /// The word for recipes and for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::AdamW => "adamw",
            Self::Muon => "muon",
        }
    }

    /// Floating-point operations of the products of an update.
    pub fn flops(self, parameters: &Parameters) -> f64 {
        match self {
            Self::AdamW => 0.0,
            Self::Muon => Muon::flops(parameters),
        }
    }

    /// Numbers of its first and second moments, and of the working memory of each thread.
    pub fn memory(self, parameters: &Parameters) -> ([usize; 2], usize) {
        let all = parameters.buffer_len();
        match self {
            Self::AdamW => ([all, all], 0),
            Self::Muon => ([all, Muon::second_len(parameters)], Muon::scratch_len(parameters)),
        }
    }
}

/// Decay of Muon's running mean; the value of the paper, and of every framework.
const MOMENTUM: f32 = 0.95;

/// An optimizer with its state.
#[derive(Debug)]
pub enum Optimizer {
    /// Two moments of every parameter.
    AdamW(AdamW),
    /// One moment of every parameter, a second one of what is no hidden matrix.
    Muon(Muon),
}

impl Optimizer {
    /// Zero state.
    pub fn new(kind: OptimizerKind, parameters: &Parameters) -> Self {
        match kind {
            OptimizerKind::AdamW => Self::AdamW(AdamW::new(parameters)),
            OptimizerKind::Muon => Self::Muon(Muon::new(parameters, MOMENTUM)),
        }
    }

    /// Which it is.
    pub fn kind(&self) -> OptimizerKind {
        match self {
            Self::AdamW(_) => OptimizerKind::AdamW,
            Self::Muon(_) => OptimizerKind::Muon,
        }
    }

    /// Updates every trainable parameter.
    pub fn update(&mut self, cpu: &Cpu, parameters: &mut Parameters, gradients: &[f32], step: AdamWStep) {
        match self {
            Self::AdamW(adamw) => adamw.update(cpu, parameters, gradients, step),
            Self::Muon(muon) => muon.update(cpu, parameters, gradients, step),
        }
    }

    /// The first and the second moments.
    pub fn moments(&self) -> [&Buffer; 2] {
        match self {
            Self::AdamW(AdamW { first, second }) | Self::Muon(Muon { first, second, .. }) => [first, second],
        }
    }

    /// [`Self::moments`], to change.
    pub fn moments_mut(&mut self) -> [&mut Buffer; 2] {
        match self {
            Self::AdamW(AdamW { first, second }) | Self::Muon(Muon { first, second, .. }) => [first, second],
        }
    }

    /// Where the second moment of a parameter lies; empty where it has none.
    pub fn second_range(&self, parameters: &Parameters, id: ParameterId) -> Range<usize> {
        match self {
            Self::AdamW(_) => parameters.range(id),
            Self::Muon(muon) => muon.second_range(id),
        }
    }
}
