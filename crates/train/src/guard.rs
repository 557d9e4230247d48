//! The loss-spike guard: a step whose gradient norm lies far outside of the recent ones, or is not a number, is
//! skipped, because one bad batch can undo hours (Chowdhery et al. 2022, section 5.1; llm.c's outlier detector).

use serde::{Deserialize, Serialize};

/// Steps that are looked back at.
const WINDOW: usize = 128;
/// Standard deviations above the mean that make an outlier.
const DEVIATIONS: f64 = 8.0;
/// Not a spike below so many times the mean, however steady the norms were.
const TIMES_MEAN: f64 = 4.0;
/// Steps in a row that may be skipped for not being finite.
pub const NOT_FINITE_MAX: u32 = 10;

/// What a step's norm means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Take the step.
    Take,
    /// Far outside: skip it.
    Spike,
    /// Not a number: skip it.
    NotFinite,
}

/// Norms of the steps taken of late. Part of a checkpoint: a resumed run judges as the whole one would.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// Bits of the norms, oldest first.
    norms: Vec<u32>,
    /// Steps skipped in all.
    pub skipped: u64,
    /// Steps in a row that were not finite.
    pub not_finite: u32,
}

impl Guard {
    /// Judges a step and remembers its norm if it is taken.
    pub fn judge(&mut self, loss: f32, norm: f32) -> Verdict {
        if !loss.is_finite() || !norm.is_finite() {
            self.skipped += 1;
            self.not_finite += 1;
            return Verdict::NotFinite;
        }
        self.not_finite = 0;
        if let Some(limit) = self.limit().filter(|&limit| f64::from(norm) > limit) {
            self.skipped += 1;
            // Remembered as if it had just passed: a level that stays high is soon normal, but one huge spike does not
            // blind the guard to the next.
            self.remember(limit as f32);
            return Verdict::Spike;
        }
        self.remember(norm);
        Verdict::Take
    }

    fn remember(&mut self, norm: f32) {
        if self.norms.len() == WINDOW {
            self.norms.remove(0);
        }
        self.norms.push(norm.to_bits());
    }

    /// The norm above which a step is a spike; none until enough steps are known.
    fn limit(&self) -> Option<f64> {
        if self.norms.len() < WINDOW {
            return None;
        }
        let norms = || self.norms.iter().map(|&bits| f64::from(f32::from_bits(bits)));
        let mean = norms().sum::<f64>() / WINDOW as f64;
        let deviation = (norms().map(|x| (x - mean).powi(2)).sum::<f64>() / WINDOW as f64).sqrt();
        Some((mean + DEVIATIONS * deviation).max(TIMES_MEAN * mean))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spike_is_skipped_and_a_new_level_is_soon_normal() {
        let mut guard = Guard::default();
        for step in 0..WINDOW {
            assert_eq!(guard.judge(2.0, 1.0 + 0.01 * (step % 7) as f32), Verdict::Take);
        }
        assert_eq!(guard.judge(9.0, 1e6), Verdict::Spike);
        assert_eq!(guard.judge(9.0, 50.0), Verdict::Spike, "one spike does not hide the next");
        assert_eq!(guard.judge(2.0, 1.0), Verdict::Take);
        let taken = (0..100).filter(|_| guard.judge(2.0, 50.0) == Verdict::Take).count();
        assert!(taken >= 50, "a level that stays is normal at last: {taken} of 100 taken");
        assert_eq!(guard.judge(f32::NAN, 1.0), Verdict::NotFinite);
        assert_eq!(guard.judge(1.0, f32::INFINITY), Verdict::NotFinite);
        assert_eq!(guard.not_finite, 2);
    }
}
