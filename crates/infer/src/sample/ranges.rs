//! The values that a parameter may have: one set for the engine, the API, the command line and the page.

use super::SampleError;

/// A range and how it is called.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// For "it must be ...".
    pub expected: &'static str,
    holds: fn(f32) -> bool,
}

/// Above 2 every model of ours only makes noise; it is the API's limit.
pub const TEMPERATURE: Range = Range { expected: "between 0 and 2", holds: |t| (0.0..=2.0).contains(&t) };
/// A probability that something can reach.
pub const TOP_P: Range = Range { expected: "above 0 and at most 1", holds: |p| p > 0.0 && p <= 1.0 };
/// At 1 only the likeliest would be left, and by rounding perhaps not even that.
pub const MIN_P: Range = Range { expected: "at least 0 and below 1", holds: |p| (0.0..1.0).contains(&p) };
/// 10 forbids repetition in all but name.
pub const REPETITION_PENALTY: Range = Range { expected: "above 0 and at most 10", holds: |r| r > 0.0 && r <= 10.0 };

impl Range {
    /// Whether `value` is in it.
    pub fn holds(&self, value: f32) -> bool {
        (self.holds)(value)
    }

    pub(super) fn check(&self, name: &'static str, value: f32) -> Result<f32, SampleError> {
        if self.holds(value) { Ok(value) } else { Err(super::bad(name, value, self.expected)) }
    }
}
