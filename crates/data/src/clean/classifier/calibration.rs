//! Margins to probabilities: Platt's sigmoid (Platt 1999), fitted by Newton's method (Lin, Lin, Weng 2007).

use serde::{Deserialize, Serialize};

/// `p = 1 / (1 + exp(-(slope * margin + intercept)))`
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Multiplies the margin.
    pub slope: f64,
    /// Is added.
    pub intercept: f64,
}

const STEPS_MAX: usize = 100;
/// Keeps the matrix of second derivatives invertible.
const RIDGE: f64 = 1e-12;
const GRADIENT_MIN: f64 = 1e-7;

impl Calibration {
    /// The probability that belongs to a margin.
    pub fn probability(&self, margin: f64) -> f64 {
        sigmoid(self.slope * margin + self.intercept)
    }

    /// The most likely calibration of margins and whether each was positive, with both kinds counted once more than they
    /// were (Platt's remedy against certainty).
    pub fn fit(margins: &[(f64, bool)]) -> Self {
        let positive = margins.iter().filter(|(_, is_positive)| *is_positive).count() as f64;
        let negative = margins.len() as f64 - positive;
        let target =
            |is_positive| if is_positive { (positive + 1.0) / (positive + 2.0) } else { 1.0 / (negative + 2.0) };
        let loss = |fit: &Self| -> f64 {
            let each = margins.iter().map(|(margin, is_positive)| {
                let z = fit.slope * margin + fit.intercept;
                // ln(1 + e^z) without overflow.
                z.max(0.0) + (-z.abs()).exp().ln_1p() - target(*is_positive) * z
            });
            each.sum()
        };
        let mut fit = Self { slope: 0.0, intercept: ((positive + 1.0) / (negative + 1.0)).ln() };
        let mut lost = loss(&fit);
        for _ in 0..STEPS_MAX {
            let Some((slope_step, intercept_step)) = fit.newton_step(margins, target) else { break };
            let mut size = 1.0;
            let better = loop {
                let tried =
                    Self { slope: fit.slope + size * slope_step, intercept: fit.intercept + size * intercept_step };
                let tried_loss = loss(&tried);
                if tried_loss < lost {
                    break Some((tried, tried_loss));
                }
                size /= 2.0;
                if size < 1e-10 {
                    break None;
                }
            };
            let Some((next, next_loss)) = better else { break };
            (fit, lost) = (next, next_loss);
        }
        fit
    }

    /// Where the quadratic that fits the loss has its minimum; nothing if that is here.
    fn newton_step(&self, margins: &[(f64, bool)], target: impl Fn(bool) -> f64) -> Option<(f64, f64)> {
        let (mut slope, mut intercept) = (0.0, 0.0);
        let (mut slope2, mut both, mut intercept2) = (RIDGE, 0.0, RIDGE);
        for (margin, is_positive) in margins {
            let probability = self.probability(*margin);
            let error = probability - target(*is_positive);
            let curvature = probability * (1.0 - probability);
            slope += error * margin;
            intercept += error;
            slope2 += curvature * margin * margin;
            both += curvature * margin;
            intercept2 += curvature;
        }
        if slope.abs().max(intercept.abs()) < GRADIENT_MIN {
            return None;
        }
        let determinant = slope2 * intercept2 - both * both;
        let step = (
            -(intercept2 * slope - both * intercept) / determinant,
            -(slope2 * intercept - both * slope) / determinant,
        );
        (step.0.is_finite() && step.1.is_finite()).then_some(step)
    }
}

pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}
