//! How good a classifier is on texts that it has not seen.

use serde::Serialize;

/// Measures at a threshold, and over all thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Evaluation {
    /// Texts that were positive.
    pub positive: usize,
    /// Texts that were not.
    pub negative: usize,
    /// What is at least so likely counts as found.
    pub threshold: f64,
    /// Of what was found, the part that was positive; 0 if nothing was found.
    pub precision: f64,
    /// Of what was positive, the part that was found; 0 if nothing was.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
    /// The probability that a positive text scores higher than another; a tie is half.
    pub auc: f64,
    /// How far probabilities are from frequencies, over ten equal intervals (expected calibration error, Naeini et al. 2015).
    pub calibration_error: f64,
}

const INTERVALS: usize = 10;

impl Evaluation {
    /// Of probabilities and whether each text was positive.
    pub fn of(scores: &[(f64, bool)], threshold: f64) -> Self {
        let positive = scores.iter().filter(|(_, is_positive)| *is_positive).count();
        let found = scores.iter().filter(|(score, _)| *score >= threshold).count();
        let right = scores.iter().filter(|(score, is_positive)| *is_positive && *score >= threshold).count();
        let part = |part: f64, whole: f64| if whole == 0.0 { 0.0 } else { part / whole };
        let precision = part(right as f64, found as f64);
        let recall = part(right as f64, positive as f64);
        Self {
            positive,
            negative: scores.len() - positive,
            threshold,
            precision,
            recall,
            f1: part(2.0 * precision * recall, precision + recall),
            auc: auc(scores),
            calibration_error: calibration_error(scores),
        }
    }
}

/// The area under the curve of true over false positives, by ranks (Mann and Whitney 1947).
fn auc(scores: &[(f64, bool)]) -> f64 {
    let mut sorted = scores.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut negative_below, mut twice_won) = (0u64, 0u64);
    let (mut positive_all, mut negative_all) = (0u64, 0u64);
    for same in sorted.chunk_by(|a, b| a.0 == b.0) {
        let positive = same.iter().filter(|(_, is_positive)| *is_positive).count() as u64;
        let negative = same.len() as u64 - positive;
        twice_won += positive * (2 * negative_below + negative);
        negative_below += negative;
        positive_all += positive;
        negative_all += negative;
    }
    let pairs = positive_all * negative_all;
    if pairs == 0 { 0.5 } else { twice_won as f64 / (2 * pairs) as f64 }
}

fn calibration_error(scores: &[(f64, bool)]) -> f64 {
    let mut intervals = [(0.0, 0.0); INTERVALS];
    for (score, is_positive) in scores {
        let interval = &mut intervals[((score * INTERVALS as f64) as usize).min(INTERVALS - 1)];
        interval.0 += score;
        interval.1 += f64::from(u8::from(*is_positive));
    }
    let gap: f64 = intervals.iter().map(|(said, was)| (said - was).abs()).sum();
    if scores.is_empty() { 0.0 } else { gap / scores.len() as f64 }
}
