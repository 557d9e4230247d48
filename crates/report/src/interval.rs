//! A number and how sure we are of it.

use std::fmt;

use tsumugi_base::rng::{Key, Stream};

/// A mean with its standard error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// Standard deviation of the sample (divided by n - 1) over the root of n; none for fewer than two values.
    pub standard_error: Option<f64>,
    /// How many values.
    pub count: usize,
}

impl Mean {
    /// Of independent values; none if there is no value or one is not finite.
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let count = values.len();
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let standard_error = (count >= 2).then(|| (squares / (count - 1) as f64 / count as f64).sqrt());
        Some(Self { mean, standard_error, count })
    }

    /// Of the differences `b - a`, pair by pair: what a change did, with what the pairs share taken out. None unless
    /// both have the same number of values.
    pub fn of_differences(a: &[f64], b: &[f64]) -> Option<Self> {
        if a.len() != b.len() {
            return None;
        }
        Self::of(&a.iter().zip(b).map(|(a, b)| b - a).collect::<Vec<_>>())
    }
}

impl fmt::Display for Mean {
    /// `1.884 ± 0.006 (n = 3)`, to two digits of the error.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.standard_error {
            Some(error) if error > 0.0 => {
                let decimals = (1.0 - error.log10().floor()).clamp(0.0, 12.0) as usize;
                write!(f, "{:.decimals$} ± {error:.decimals$} (n = {})", self.mean, self.count)
            }
            Some(_) => write!(f, "{} ± 0 (n = {})", self.mean, self.count),
            None => write!(f, "{} (n = {})", self.mean, self.count),
        }
    }
}

/// A range that holds the true value with the stated confidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The percentile bootstrap (Efron 1979; Efron and Tibshirani 1993, section 13.3): the statistic of `resamples`
/// samples drawn from `values` with replacement; the interval leaves out `(1 - confidence) / 2` on each side. The same
/// seed gives the same interval. None if there is nothing to draw from.
pub fn bootstrap(
    values: &[f64],
    statistic: impl Fn(&[f64]) -> f64,
    resamples: usize,
    confidence: f64,
    seed: u64,
) -> Option<Interval> {
    if values.is_empty() || resamples == 0 || !(0.0..=1.0).contains(&confidence) {
        return None;
    }
    let mut stream = Stream::new(Key::from_seed(seed));
    let mut sample = vec![0.0; values.len()];
    let mut found: Vec<f64> = (0..resamples)
        .map(|_| {
            for value in &mut sample {
                *value = values[stream.below(values.len() as u64) as usize];
            }
            statistic(&sample)
        })
        .collect();
    found.sort_by(f64::total_cmp);
    let tail = (1.0 - confidence) / 2.0;
    Some(Interval { low: quantile(&found, tail), high: quantile(&found, 1.0 - tail) })
}

/// The quantile of sorted values, linear between neighbours (type 7 of Hyndman and Fan 1996).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (place - below as f64) * (sorted[above] - sorted[below])
}

/// The middle value, or the mean of the two middle ones; none if there is no value. Robust for timings.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (!sorted.is_empty()).then(|| quantile(&sorted, 0.5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_and_its_error_by_hand() {
        let mean = Mean::of(&[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!((mean.mean, mean.count), (2.5, 4));
        // Variance 5/3, over 4.
        assert!((mean.standard_error.unwrap() - (5.0f64 / 12.0).sqrt()).abs() < 1e-15);
        assert_eq!(mean.to_string(), "2.50 ± 0.65 (n = 4)");
        assert_eq!(Mean::of(&[1.8801, 1.8912, 1.8755]).unwrap().to_string(), "1.8823 ± 0.0047 (n = 3)");
        assert_eq!(Mean::of(&[3.0]).unwrap().to_string(), "3 (n = 1)");
        assert_eq!(Mean::of(&[3.0, 3.0]).unwrap().to_string(), "3 ± 0 (n = 2)");
        assert_eq!(Mean::of(&[]), None);
        assert_eq!(Mean::of(&[f64::NAN]), None);
        assert_eq!(Mean::of_differences(&[1.0, 5.0], &[2.0, 6.0]).unwrap().standard_error, Some(0.0));
        assert_eq!(Mean::of_differences(&[1.0], &[]), None);
    }

    #[test]
    fn the_bootstrap_covers_the_mean_and_repeats() {
        let key = Key::from_seed(9);
        let values: Vec<f64> = (0..400).map(|i| 10.0 + f64::from(key.normal(i))).collect();
        let mean = |sample: &[f64]| sample.iter().sum::<f64>() / sample.len() as f64;
        let interval = bootstrap(&values, mean, 2000, 0.95, 1).unwrap();
        assert_eq!(Some(interval), bootstrap(&values, mean, 2000, 0.95, 1));
        assert!(interval.low < 10.0 && 10.0 < interval.high, "{interval:?}");
        // 2 * 1.96 standard errors of 1 / sqrt(400).
        assert!((interval.high - interval.low - 0.196).abs() < 0.03, "{interval:?}");
        assert_eq!(bootstrap(&[], mean, 10, 0.95, 1), None);
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }
}
