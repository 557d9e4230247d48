//! Frequencies of rotary positions and their scalings for longer contexts.

use tsumugi_tensor::RotaryTable;

/// How the frequencies were changed for a longer context.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// All divided by a factor (Chen et al. 2023, position interpolation).
    Linear {
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
}

/// The `d/2` frequencies for heads of `head_width`, scaled.
pub fn rotary_frequencies(head_width: usize, base: f64, scaling: Option<RopeScaling>) -> Vec<f64> {
    let mut frequencies = RotaryTable::frequencies(head_width, base);
    for frequency in &mut frequencies {
        *frequency = match scaling {
            None => *frequency,
            Some(RopeScaling::Linear { factor }) => *frequency / factor,
            Some(scaling @ RopeScaling::Llama3 { .. }) => llama3(*frequency, scaling),
        };
    }
    frequencies
}

fn llama3(frequency: f64, scaling: RopeScaling) -> f64 {
    let RopeScaling::Llama3 { factor, low_frequency_factor: low, high_frequency_factor: high, original_context } =
        scaling
    else {
        return frequency;
    };
    let wavelength = 2.0 * std::f64::consts::PI / frequency;
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
        let plain = rotary_frequencies(128, 500_000.0, None);
        let scaled = rotary_frequencies(128, 500_000.0, Some(scaling));
        assert_eq!(plain[0], scaled[0]);
        assert_eq!(plain[63] / 8.0, scaled[63]);
        assert!(plain.iter().zip(&scaled).all(|(p, s)| *s <= *p && *s >= p / 8.0));
    }
}
