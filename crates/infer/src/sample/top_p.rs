//! Nucleus sampling (Holtzman et al. 2019): keeps the smallest set of likeliest tokens whose probability reaches p.

use super::{Candidates, Context, SampleError, SamplingParameters, Stage, ranges};

struct TopP(f64);

pub(super) fn stage(parameters: &SamplingParameters) -> Result<Option<Box<dyn Stage>>, SampleError> {
    let top_p = ranges::TOP_P.check("top_p", parameters.top_p)?;
    Ok((top_p < 1.0).then(|| Box::new(TopP(f64::from(top_p))) as Box<dyn Stage>))
}

/// Candidates that are sorted at first: the nucleus is rarely larger, and sorting a vocabulary takes milliseconds.
const SORTED_FIRST: usize = 256;

impl Stage for TopP {
    fn name(&self) -> &'static str {
        "top_p"
    }

    fn apply(&self, candidates: &mut Candidates, _context: Context<'_>) {
        let largest = f64::from(candidates.largest());
        let weight = |logit: f32| (f64::from(logit) - largest).exp();
        let total: f64 = candidates.list.iter().map(|candidate| weight(candidate.logit)).sum();
        let mut sorted = SORTED_FIRST;
        loop {
            candidates.sort_first(sorted);
            let mut reached = 0.0;
            let kept = candidates.list.iter().take(sorted).position(|candidate| {
                reached += weight(candidate.logit);
                reached >= self.0 * total
            });
            match kept {
                Some(last) => return candidates.list.truncate(last + 1),
                None if sorted >= candidates.list.len() => return, // rounding kept the sum below p
                None => sorted = sorted.saturating_mul(4),
            }
        }
    }
}
