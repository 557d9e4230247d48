//! Axes with round numbers (Heckbert 1990, "Nice numbers for graph labels", Graphics Gems).

/// Beyond this a value cannot be drawn (differences of two would overflow) and counts as missing.
const MAGNITUDE_MAX: f64 = 1e300;

/// Whether a value can be drawn.
pub(super) fn drawable(value: f64) -> bool {
    value.abs() <= MAGNITUDE_MAX
}

/// How a value becomes a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    Logarithmic,
}

impl Scale {
    fn of(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Logarithmic => value.log10(),
        }
    }

    /// Whether the scale has a place for a value.
    pub(super) fn has(self, value: f64) -> bool {
        drawable(value) && (self == Self::Linear || value >= f64::MIN_POSITIVE)
    }
}

/// A range of values with labelled ticks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    pub low: f64,
    pub high: f64,
    pub scale: Scale,
    pub ticks: Vec<Tick>,
}

/// A labelled place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tick {
    pub value: f64,
    pub label: String,
}

impl Axis {
    /// An axis that covers every value the scale has, with at most about `ticks_max` ticks. `loose`: it begins and
    /// ends at a tick.
    pub(super) fn covering(values: impl Iterator<Item = f64>, scale: Scale, ticks_max: usize, loose: bool) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|&value| scale.has(value)) {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            (low, high) = if scale == Scale::Linear { (0.0, 1.0) } else { (1.0, 10.0) };
        }
        match scale {
            Scale::Linear => Self::linear(low, high, ticks_max, loose),
            Scale::Logarithmic => Self::logarithmic(low, high, ticks_max),
        }
    }

    fn linear(mut low: f64, mut high: f64, ticks_max: usize, loose: bool) -> Self {
        // Nearly equal values would give ticks that a double cannot tell apart.
        let least = (low.abs().max(high.abs()) * 1e-9).max(f64::MIN_POSITIVE * 1e20);
        if high - low < least {
            let room = if low == 0.0 { 0.5 } else { low.abs() * 0.1 };
            (low, high) = (low - room, high + room);
        }
        let step = nice_step((high - low) / ticks_max.max(2) as f64);
        let (first, last) = if loose {
            ((low / step + 1e-9).floor(), (high / step - 1e-9).ceil())
        } else {
            ((low / step - 1e-9).ceil(), (high / step + 1e-9).floor())
        };
        if loose {
            (low, high) = (first * step, last * step);
        }
        let count = (last - first).clamp(0.0, 100.0) as usize;
        let values: Vec<f64> = (0..=count).map(|i| (first + i as f64) * step).collect();
        let ticks = label_together(&values, step);
        Self { low, high, scale: Scale::Linear, ticks }
    }

    fn logarithmic(low: f64, high: f64, ticks_max: usize) -> Self {
        let (low, high) = if low == high { (low / 2.0, high * 2.0) } else { (low, high) };
        let decades = high.log10() - low.log10();
        if decades < 1.0 {
            return Self { scale: Scale::Logarithmic, ..Self::linear(low, high, ticks_max, false) };
        }
        let mantissas: &[f64] = if decades <= 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let stride = (decades / ticks_max.max(2) as f64).ceil().max(1.0) as i32;
        let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        let mut ticks = Vec::new();
        for exponent in (first..=last).filter(|exponent| exponent.rem_euclid(stride) == 0) {
            for mantissa in mantissas {
                let value = mantissa * 10f64.powi(exponent);
                if value >= low * (1.0 - 1e-9) && value <= high * (1.0 + 1e-9) {
                    ticks.push(Tick { value, label: number(value) });
                }
            }
        }
        Self { low, high, scale: Scale::Logarithmic, ticks }
    }

    /// Where a value lies, 0 at the low end and 1 at the high end.
    pub(super) fn place(&self, value: f64) -> f64 {
        let (low, high) = (self.scale.of(self.low), self.scale.of(self.high));
        (self.scale.of(value) - low) / (high - low)
    }
}

/// The smallest of 1, 2, 5 times a power of ten that is not below `rough`.
fn nice_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    let mantissa = rough / power;
    let nice = [1.0, 2.0, 5.0].into_iter().find(|&nice| mantissa <= nice + 1e-9).unwrap_or(10.0);
    nice * power
}

/// Names of thousands.
const THOUSANDS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];

/// Labels with one unit and one number of decimals for all: `0`, `0.5k`, `1.0k`.
fn label_together(values: &[f64], step: f64) -> Vec<Tick> {
    let largest = values.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    let scientific = largest >= 1e15 || (largest < 1e-3 && largest > 0.0);
    let (unit, name) = if largest >= 9_999.5 {
        THOUSANDS.into_iter().find(|&(unit, _)| largest >= unit).unwrap_or((1.0, ""))
    } else {
        (1.0, "")
    };
    let decimals = (-((step / unit).log10() + 1e-9).floor()).clamp(0.0, 12.0) as usize;
    let label = |value: f64| {
        if value.abs() < step * 1e-6 {
            "0".into()
        } else if scientific {
            short_scientific(value)
        } else {
            format!("{:.decimals$}{name}", value / unit).replace('-', "−")
        }
    };
    values.iter().map(|&value| Tick { value, label: label(value) }).collect()
}

/// One number, short: `0.01`, `2.4`, `150`, `20k`, `3e−5`.
pub(super) fn number(value: f64) -> String {
    if !value.is_finite() {
        let sign = if value.is_sign_negative() { "−" } else { "" };
        return if value.is_nan() { "not a number".into() } else { format!("{sign}∞") };
    }
    let magnitude = value.abs();
    if value == 0.0 {
        return "0".into();
    }
    if !(1e-3..1e15).contains(&magnitude) {
        return short_scientific(value);
    }
    let (unit, name) = if magnitude >= 9_999.5 {
        THOUSANDS.into_iter().find(|&(unit, _)| magnitude >= unit).unwrap_or((1.0, ""))
    } else {
        (1.0, "")
    };
    let scaled = value / unit;
    let digits_before = scaled.abs().log10().floor() as i32 + 1;
    let decimals = (4 - digits_before.max(1)).clamp(0, 3) as usize + usize::from(digits_before < 0) * 2;
    let text = format!("{scaled:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{name}").replace('-', "−")
}

fn short_scientific(value: f64) -> String {
    let text = format!("{value:.2e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let mantissa = if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    format!("{mantissa}e{exponent}").replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: &[f64], scale: Scale, loose: bool) -> Vec<String> {
        let axis = Axis::covering(values.iter().copied(), scale, 6, loose);
        axis.ticks.into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(
            labels(&[1.37, 4.21], Scale::Linear, true),
            ["1.0", "1.5", "2.0", "2.5", "3.0", "3.5", "4.0", "4.5"]
        );
        assert_eq!(labels(&[0.0, 2000.0], Scale::Linear, false), ["0", "500", "1000", "1500", "2000"]);
        assert_eq!(labels(&[0.0, 25e6], Scale::Linear, false), ["0", "5M", "10M", "15M", "20M", "25M"]);
        assert_eq!(labels(&[-0.3, 0.3], Scale::Linear, false), ["−0.3", "−0.2", "−0.1", "0", "0.1", "0.2", "0.3"]);
        assert_eq!(labels(&[0.0, 3e-5], Scale::Linear, false)[1], "5e−6");
        assert_eq!(labels(&[10.0, 100_000.0], Scale::Logarithmic, false), ["10", "100", "1000", "10k", "100k"]);
        assert_eq!(labels(&[3.0, 70.0], Scale::Logarithmic, false), ["5", "10", "20", "50"]);
        assert_eq!(labels(&[3.0, 7.0], Scale::Logarithmic, false), ["3", "4", "5", "6", "7"]);
    }

    #[test]
    fn hard_ranges_have_ticks_inside_and_few() {
        let hard = [
            vec![],
            vec![5.0],
            vec![0.0],
            vec![-1e-320],
            vec![1e17, 1e17 + 16.0],
            vec![-1e300, 1e300],
            vec![f64::NAN, f64::INFINITY, 2.0, 3.0],
            vec![1e-300, 1e300],
            vec![1.0, 1.0 + f64::EPSILON],
        ];
        for values in hard {
            for (scale, loose) in [(Scale::Linear, true), (Scale::Linear, false), (Scale::Logarithmic, false)] {
                let axis = Axis::covering(values.iter().copied(), scale, 6, loose);
                assert!(axis.low < axis.high, "{values:?} {axis:?}");
                assert!((1..=40).contains(&axis.ticks.len()), "{values:?} {axis:?}");
                for tick in &axis.ticks {
                    assert!((-1e-6..=1.000001).contains(&axis.place(tick.value)), "{values:?} {axis:?}");
                }
                for &value in values.iter().filter(|&&value| scale.has(value)) {
                    assert!((-1e-9..=1.0 + 1e-9).contains(&axis.place(value)), "{values:?} {axis:?}");
                }
            }
        }
    }

    #[test]
    fn numbers_are_short() {
        let found = [0.0, 0.0123, 0.5, 2.4048, 150.0, 1234.5, 20_000.0, 3.1e-5, -2.5e6, 1e18].map(number);
        assert_eq!(found, ["0", "0.0123", "0.5", "2.405", "150", "1234", "20k", "3.1e−5", "−2.5M", "1e18"]);
    }
}
