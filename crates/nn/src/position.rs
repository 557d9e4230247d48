//! Frequencies of rotary positions (Su et al. 2021) and their scalings for longer contexts.

use std::f64::consts::PI;

use tsumugi_tensor::RotaryTable;

/// How the frequencies were changed for a longer context.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// All divided by a factor (Chen et al. 2023, position interpolation).
    Linear {
        /// The factor.
        factor: f64,
    },
    /// "NTK-aware": beyond the context that the model was trained with, the base grows with the length of the text. A
    /// decoder of ours ends at that context, and within it nothing is scaled.
    Dynamic {
        /// The factor.
        factor: f64,
    },
    /// Llama 3: low frequencies divided, high ones kept, a smooth passage between.
    Llama3 {
        /// The factor of the low frequencies.
        factor: f64,
        /// Wavelengths above `original_context / low` are scaled fully.
        low_frequency_factor: f64,
        /// Wavelengths below `original_context / high` are kept.
        high_frequency_factor: f64,
        /// Context of the pre-training.
        original_context: f64,
    },
    /// YaRN (Peng et al. 2023, arXiv 2309.00071).
    Yarn(Yarn),
    /// LongRoPE (Ding et al. 2024, arXiv 2402.13753): each frequency has its own divisor, found by a search.
    LongRope(LongRope),
}

/// Frequencies are kept, divided, or between, by how often they turn within the original context.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Yarn {
    /// Divisor of the low frequencies.
    pub factor: f64,
    /// Context of the pre-training.
    pub original_context: f64,
    /// Frequencies that turn more often are kept.
    pub turns_kept: f64,
    /// Frequencies that turn less often are divided.
    pub turns_divided: f64,
    /// Whether the passage between begins and ends at whole indices.
    pub whole_indices: bool,
    /// Factor of queries and keys.
    pub attention_factor: f64,
}

impl Yarn {
    /// The factor of queries and keys that the paper recommends: `0.1 ln(factor) + 1`.
    pub fn recommended_attention_factor(factor: f64) -> f64 {
        if factor <= 1.0 { 1.0 } else { 0.1 * factor.ln() + 1.0 }
    }

    fn scale(&self, frequencies: &mut [f64], base: f64) {
        let turned = 2.0 * frequencies.len() as f64;
        let index_that_turns =
            |turns: f64| turned * (self.original_context / (turns * 2.0 * PI)).ln() / (2.0 * base.ln());
        let (first, last) = (index_that_turns(self.turns_kept), index_that_turns(self.turns_divided));
        let (first, last) = if self.whole_indices { (first.floor(), last.ceil()) } else { (first, last) };
        let (first, mut last) = (first.max(0.0), last.min(turned - 1.0));
        if first == last {
            last += 0.001; // an edge instead of a passage
        }
        for (i, frequency) in frequencies.iter_mut().enumerate() {
            let divided = ((i as f64 - first) / (last - first)).clamp(0.0, 1.0);
            *frequency = *frequency / self.factor * divided + *frequency * (1.0 - divided);
        }
    }
}

/// Divisors of the frequencies, one each.
#[derive(Debug, Clone, PartialEq)]
pub struct LongRope {
    /// Up to the original context.
    pub short: Vec<f64>,
    /// For longer contexts. A decoder with a longer context uses these for every text, because the keys in a cache
    /// cannot be turned again when a text becomes long.
    pub long: Vec<f64>,
    /// Context of the pre-training.
    pub original_context: f64,
    /// Factor of queries and keys.
    pub attention_factor: f64,
}

impl LongRope {
    /// The factor of queries and keys that the paper recommends for a context `factor` times the original one:
    /// `sqrt(1 + ln(factor) / ln(original))`.
    pub fn recommended_attention_factor(factor: f64, original_context: f64) -> f64 {
        if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / original_context.ln()).sqrt() }
    }
}

/// The `turned / 2` frequencies of a decoder for texts of `context` tokens, scaled.
///
/// # Panics
/// When LongRoPE has another number of divisors: a mistake of who read them.
pub fn rotary_frequencies(turned: usize, base: f64, scaling: Option<&RopeScaling>, context: usize) -> Vec<f64> {
    let mut frequencies = RotaryTable::frequencies(turned, base);
    match scaling {
        None | Some(RopeScaling::Dynamic { .. }) => {}
        Some(RopeScaling::Linear { factor }) => frequencies.iter_mut().for_each(|frequency| *frequency /= factor),
        Some(&RopeScaling::Llama3 { factor, low_frequency_factor, high_frequency_factor, original_context }) => {
            for frequency in &mut frequencies {
                *frequency =
                    llama3(*frequency, factor, [low_frequency_factor, high_frequency_factor], original_context);
            }
        }
        Some(RopeScaling::Yarn(yarn)) => yarn.scale(&mut frequencies, base),
        Some(RopeScaling::LongRope(rope)) => {
            let divisors = if context as f64 > rope.original_context { &rope.long } else { &rope.short };
            assert_eq!(divisors.len(), frequencies.len(), "longrope: a divisor for each frequency");
            frequencies.iter_mut().zip(divisors).for_each(|(frequency, divisor)| *frequency /= divisor);
        }
    }
    frequencies
}

/// The factor of rotated queries and keys.
pub fn attention_factor(scaling: Option<&RopeScaling>) -> f64 {
    match scaling {
        Some(RopeScaling::Yarn(yarn)) => yarn.attention_factor,
        Some(RopeScaling::LongRope(rope)) => rope.attention_factor,
        _ => 1.0,
    }
}

fn llama3(frequency: f64, factor: f64, [low, high]: [f64; 2], original_context: f64) -> f64 {
    let wavelength = 2.0 * PI / frequency;
    if wavelength < original_context / high {
        frequency
    } else if wavelength > original_context / low {
        frequency / factor
    } else {
        let smooth = (original_context / wavelength - low) / (high - low);
        (1.0 - smooth) * frequency / factor + smooth * frequency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_keeps_high_frequencies_and_divides_low_ones() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_frequency_factor: 1.0,
            high_frequency_factor: 4.0,
            original_context: 8192.0,
        };
        let plain = rotary_frequencies(128, 500_000.0, None, 1 << 17);
        let scaled = rotary_frequencies(128, 500_000.0, Some(&scaling), 1 << 17);
        assert_eq!(plain[0], scaled[0]);
        assert_eq!(plain[63] / 8.0, scaled[63]);
        assert!(plain.iter().zip(&scaled).all(|(p, s)| *s <= *p && *s >= p / 8.0));
    }

    #[test]
    fn yarn_keeps_high_frequencies_and_divides_low_ones_with_a_passage_or_an_edge() {
        let yarn = Yarn {
            factor: 4.0,
            original_context: 4096.0,
            turns_kept: 32.0,
            turns_divided: 1.0,
            whole_indices: true,
            attention_factor: Yarn::recommended_attention_factor(4.0),
        };
        let plain = rotary_frequencies(128, 10_000.0, None, 1 << 14);
        for (yarn, edge) in [(yarn, false), (Yarn { turns_kept: 1.0, whole_indices: false, ..yarn }, true)] {
            let scaled = rotary_frequencies(128, 10_000.0, Some(&RopeScaling::Yarn(yarn)), 1 << 14);
            assert!(scaled[0] == plain[0] && scaled[63] == plain[63] / 4.0);
            let between = plain.iter().zip(&scaled).filter(|(p, s)| s < p && **s > **p / 4.0).count();
            assert_eq!(between == 0, edge, "{between} between");
        }
        assert_eq!(attention_factor(Some(&RopeScaling::Yarn(yarn))), 0.1 * 4f64.ln() + 1.0);
        assert_eq!(Yarn::recommended_attention_factor(0.5), 1.0);
    }

    #[test]
    fn longrope_takes_the_divisors_of_the_context() {
        let rope = LongRope {
            short: vec![1.0, 2.0],
            long: vec![4.0, 8.0],
            original_context: 100.0,
            attention_factor: LongRope::recommended_attention_factor(2.0, 100.0),
        };
        let scaling = RopeScaling::LongRope(rope);
        let plain = rotary_frequencies(4, 10_000.0, None, 100);
        let frequencies = |context| rotary_frequencies(4, 10_000.0, Some(&scaling), context);
        assert_eq!(frequencies(100), [plain[0], plain[1] / 2.0]);
        assert_eq!(frequencies(101), [plain[0] / 4.0, plain[1] / 8.0]);
        assert!((attention_factor(Some(&scaling)) - (1.0 + 2f64.ln() / 100f64.ln()).sqrt()).abs() < 1e-15);
        assert_eq!(LongRope::recommended_attention_factor(1.0, 100.0), 1.0);
    }
}
