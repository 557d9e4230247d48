//! Scalings of rotary positions that a GGUF file holds as tables: Llama 3's as the factor of each frequency
//! (`rope_freqs.weight`), where a `config.json` has the four numbers that those come from; LongRoPE's two lists of factors.

use serde_json::{Value as Json, json};
use tsumugi_nn::{RopeScaling, attention_factor, rotary_frequencies};
use tsumugi_tensor::RotaryTable;

use crate::hf_config;
use crate::spec::Rotary;
use crate::{DecoderSpec, Position};

/// Largest difference of a factor from what was stored, in parts of it.
const TOLERANCE: f64 = 1e-4;

/// The factor by which each frequency is divided, for heads of `head_width`.
fn factors(head_width: usize, base: f64, scaling: &RopeScaling) -> Vec<f64> {
    let plain = RotaryTable::frequencies(head_width, base);
    let scaled = rotary_frequencies(head_width, base, Some(scaling), 0); // the context does not matter to these
    plain.iter().zip(scaled).map(|(plain, scaled)| plain / scaled).collect()
}

/// Names and numbers of the tables that a file holds for a decoder.
pub fn tables(spec: &DecoderSpec) -> Vec<(&'static str, Vec<f32>)> {
    let Position::Rotary(rotary) = &spec.position else { return Vec::new() };
    let narrow = |factors: &[f64]| factors.iter().map(|&factor| factor as f32).collect();
    match &rotary.scaling {
        Some(scaling @ RopeScaling::Llama3 { .. }) => {
            vec![("rope_freqs.weight", narrow(&factors(rotary.turned(spec.head_width), rotary.base, scaling)))]
        }
        Some(RopeScaling::LongRope(rope)) => {
            vec![("rope_factors_long.weight", narrow(&rope.long)), ("rope_factors_short.weight", narrow(&rope.short))]
        }
        _ => Vec::new(),
    }
}

/// Numbers as short as they were before they became `f32`.
pub fn as_short(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|&number| hf_config::as_short(number)).collect()
}

/// The share of which [`Rotary::turned`] makes `turned` again.
pub fn share(turned: usize, head_width: usize) -> f64 {
    let share = turned as f64 / head_width as f64;
    if Rotary::turned(&Rotary { share, ..Rotary::plain(1.0) }, head_width) < turned { share.next_up() } else { share }
}

/// Whether two rotations of `turned` numbers are the same but for what a table in `f32` loses.
pub fn are_same(one: &Rotary, other: &Rotary, turned: usize) -> bool {
    let close = |one: f64, other: f64| (one / other - 1.0).abs() < TOLERANCE;
    let same_frequencies = |context: usize| {
        let [one, other] =
            [one, other].map(|rotary| rotary_frequencies(turned, rotary.base, rotary.scaling.as_ref(), context));
        one.into_iter().zip(other).all(|(one, other)| close(one, other))
    };
    let [factor, other_factor] = [one, other].map(|rotary| attention_factor(rotary.scaling.as_ref()));
    let scaled = [0, usize::MAX].into_iter().all(same_frequencies); // LongRoPE has factors for short and for long contexts
    scaled && close(factor, other_factor) && (one.share, one.window_base) == (other.share, other.window_base)
}

/// `rope_scaling` of a `config.json` that gives these factors.
pub fn llama3(stored: &[f32], head_width: usize, base: f64) -> Result<Json, String> {
    let wrong = || "the factors in `rope_freqs.weight` are not those of Llama 3's scaling".to_owned();
    let stored: Vec<f64> = stored.iter().map(|&factor| factor.into()).collect();
    if stored.len() != head_width / 2 || !stored.iter().all(|factor| factor.is_finite() && *factor >= 1.0) {
        return Err(wrong());
    }
    if stored.iter().all(|&factor| factor == stored[0]) {
        let linear = json!({"rope_type": "linear", "factor": stored[0]});
        return Ok(if stored[0] == 1.0 { Json::Null } else { linear });
    }
    let (factor, high, original) = fit(&stored, head_width, base).ok_or_else(wrong)?;
    let rounded = ((high * 1e3).round() / 1e3, original.round());
    for (high, original) in [rounded, (high, original)] {
        let scaling = RopeScaling::Llama3 {
            factor,
            low_frequency_factor: 1.0,
            high_frequency_factor: high,
            original_context: original,
        };
        let found = factors(head_width, base, &scaling);
        if found.iter().zip(&stored).all(|(found, stored)| (found / stored - 1.0).abs() < TOLERANCE) {
            return Ok(json!({
                "rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": high,
                "original_max_position_embeddings": original,
            }));
        }
    }
    Err(wrong())
}

/// Factor, high frequency factor and original context, where the low frequency factor is 1: the three others scale
/// together, so that one is free. Between kept and divided frequencies, `1 / factor` is linear in the frequency.
fn fit(stored: &[f64], head_width: usize, base: f64) -> Option<(f64, f64, f64)> {
    const HIGH: f64 = 4.0; // of every published model: taken where the factors do not say
    let per_position: Vec<f64> = RotaryTable::frequencies(head_width, base)
        .into_iter()
        .map(|frequency| frequency / (2.0 * std::f64::consts::PI))
        .collect();
    let factor = stored.iter().copied().fold(1.0, f64::max);
    let smooth = |stored: f64| (1.0 / stored - 1.0 / factor) / (1.0 - 1.0 / factor);
    let between: Vec<(f64, f64)> = stored
        .iter()
        .zip(&per_position)
        .filter(|&(&stored, _)| stored > 1.0 && stored < factor)
        .map(|(&stored, &frequency)| (frequency, smooth(stored)))
        .collect();
    match between[..] {
        [] => {
            let lowest_kept = stored.iter().rposition(|&factor| factor == 1.0)?;
            let (kept, divided) = (per_position[lowest_kept], *per_position.get(lowest_kept + 1)?);
            Some((factor, HIGH, (HIGH / (kept * divided)).sqrt()))
        }
        [(frequency, smooth)] => Some((factor, HIGH, (smooth * (HIGH - 1.0) + 1.0) / frequency)),
        [(first, first_smooth), .., (last, last_smooth)] => {
            let slope = (first_smooth - last_smooth) / (first - last);
            let at_zero = first_smooth - slope * first;
            let high = 1.0 - 1.0 / at_zero;
            Some((factor, high, slope * (high - 1.0)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaling(factor: f64, low: f64, high: f64, original: f64) -> RopeScaling {
        RopeScaling::Llama3 {
            factor,
            low_frequency_factor: low,
            high_frequency_factor: high,
            original_context: original,
        }
    }

    fn stored_factors(head_width: usize, base: f64, scaling: RopeScaling) -> Vec<f32> {
        factors(head_width, base, &scaling).into_iter().map(|factor| factor as f32).collect()
    }

    #[test]
    fn the_numbers_of_published_models_come_back() {
        // Llama 3.1 and 3.2 (their config.json), and heads too narrow to have a frequency in the passage.
        for (width, factor, original) in [(128, 8.0, 8192.0), (64, 32.0, 8192.0), (128, 4.0, 1000.0)] {
            let read = llama3(&stored_factors(width, 500_000.0, scaling(factor, 1.0, 4.0, original)), width, 500_000.0)
                .unwrap();
            assert_eq!(read["factor"], factor, "{read}");
            assert_eq!(read["high_freq_factor"], 4.0, "{read}");
            assert_eq!(read["original_max_position_embeddings"], original, "{read}");
        }
    }

    #[test]
    fn whatever_comes_back_gives_the_same_factors() {
        for width in [2, 4, 8, 16, 32, 96, 128] {
            for base in [100.0, 10_000.0, 500_000.0] {
                for original in [16.0, 100.0, 8192.0] {
                    let wanted = stored_factors(width, base, scaling(8.0, 1.0, 4.0, original));
                    let read = llama3(&wanted, width, base).unwrap();
                    let number = |key: &str| read[key].as_f64().unwrap_or(1.0);
                    let read = match read["rope_type"].as_str() {
                        None => RopeScaling::Linear { factor: 1.0 },
                        Some("linear") => RopeScaling::Linear { factor: number("factor") },
                        _ => scaling(
                            number("factor"),
                            number("low_freq_factor"),
                            number("high_freq_factor"),
                            number("original_max_position_embeddings"),
                        ),
                    };
                    for (found, wanted) in stored_factors(width, base, read).into_iter().zip(wanted) {
                        assert!((found / wanted - 1.0).abs() < 1e-4, "{width} {base} {original}: {found} {wanted}");
                    }
                }
            }
        }
    }

    #[test]
    fn other_factors_are_refused() {
        for wrong in [&[1.0f32, 2.0][..], &[1.0, 3.0, 2.0, 8.0], &[1.0, 1.0, f32::NAN, 8.0], &[0.5, 1.0, 1.0, 8.0]] {
            assert!(llama3(wrong, 8, 10_000.0).is_err(), "{wrong:?}");
        }
    }
}
