//! How much of a count goes to words that were not seen: modified Kneser–Ney (Chen and Goodman 1998, §3.2, equation 26),
//! in the arithmetic of `lmplz`.

use super::NgramError;

/// How many n-grams of one order have an adjusted count of 1, 2, 3 and 4.
pub(super) type CountOfCounts = [u64; 4];

/// What is taken from an adjusted count of 1, of 2, and of 3 or more.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Discounts(pub [f32; 3]);

impl Discounts {
    /// What `lmplz --discount_fallback` takes where the formula has no answer.
    pub const FALLBACK: Self = Self([0.5, 1.0, 1.5]);

    /// `D(count)`; nothing is taken from 0.
    #[inline]
    pub(super) fn of(self, count: u64) -> f32 {
        match count {
            0 => 0.0,
            _ => self.0[count.min(3) as usize - 1],
        }
    }

    /// `D_j = j - (j + 1) Y n_(j+1) / n_j` with `Y = n_1 / (n_1 + 2 n_2)`, or `fallback` where a count of counts is zero
    /// or a discount outside of `0..=j`.
    pub(super) fn estimate(n: CountOfCounts, order: usize, fallback: Option<Self>) -> Result<Self, NgramError> {
        let reason = match n[..3].iter().position(|&count| count == 0) {
            Some(missing) => NoDiscounts::NoCount { count: missing + 1 },
            None => {
                let y = (n[0] as f64 / (n[0] as f64 + 2.0 * n[1] as f64)) as f32;
                let discount = |j: usize| j as f32 - (j + 1) as f32 * y * n[j] as f32 / n[j - 1] as f32;
                let discounts = [discount(1), discount(2), discount(3)];
                match (1..=3).find(|&j| !(0.0..=j as f32).contains(&discounts[j - 1])) {
                    Some(j) => NoDiscounts::OutOfRange { count: j, discount: discounts[j - 1] },
                    None => return Ok(Self(discounts)),
                }
            }
        };
        fallback.ok_or(NgramError::NoDiscounts { order, reason })
    }
}

/// Why the formula gives no discounts.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum NoDiscounts {
    /// It divides by the number of n-grams with this count.
    #[error("no n-gram has the adjusted count {count}")]
    NoCount {
        /// 1, 2 or 3.
        count: usize,
    },
    /// It gives more than the whole count, or less than nothing.
    #[error("the discount of the adjusted count {count} would be {discount}")]
    OutOfRange {
        /// 1, 2 or 3.
        count: usize,
        /// What the formula gives.
        discount: f32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formula_by_hand() {
        // Y = 10 / (10 + 2·5) = 0.5; D1 = 1 - 2·0.5·5/10, D2 = 2 - 3·0.5·2/5, D3 = 3 - 4·0.5·1/2.
        assert_eq!(Discounts::estimate([10, 5, 2, 1], 2, None).unwrap(), Discounts([0.5, 1.4, 2.0]));
        let discounts = Discounts([0.5, 1.4, 2.0]);
        assert_eq!([0, 1, 2, 3, 9].map(|count| discounts.of(count)), [0.0, 0.5, 1.4, 2.0, 2.0]);
    }

    #[test]
    fn without_an_answer_the_fallback_or_an_error() {
        let fallback = Some(Discounts::FALLBACK);
        assert_eq!(Discounts::estimate([10, 0, 2, 1], 2, fallback).unwrap(), Discounts::FALLBACK);
        // Y = 9/11: D2 = 2 - 3·9/11·9 is negative.
        assert_eq!(Discounts::estimate([9, 1, 9, 9], 2, fallback).unwrap(), Discounts::FALLBACK);
        let error = Discounts::estimate([3, 0, 2, 1], 4, None).unwrap_err();
        let reason = NoDiscounts::NoCount { count: 2 };
        assert!(matches!(error, NgramError::NoDiscounts { order: 4, reason: found } if found == reason));
    }
}
