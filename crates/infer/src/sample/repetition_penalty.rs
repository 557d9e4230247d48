//! Keskar et al. 2019 (CTRL), equation 5, as `transformers` has it: the logit of a token that occurs in the
//! context is divided by the penalty where positive, multiplied where negative; once, however often it occurs.

use super::{Candidates, Context, SampleError, SamplingParameters, Stage, ranges};

struct RepetitionPenalty(f32);

pub(super) fn stage(parameters: &SamplingParameters) -> Result<Option<Box<dyn Stage>>, SampleError> {
    let penalty = ranges::REPETITION_PENALTY.check("repetition_penalty", parameters.repetition_penalty)?;
    Ok((penalty != 1.0).then(|| Box::new(RepetitionPenalty(penalty)) as Box<dyn Stage>))
}

impl Stage for RepetitionPenalty {
    fn name(&self) -> &'static str {
        "repetition_penalty"
    }

    fn apply(&self, candidates: &mut Candidates, context: Context<'_>) {
        let mut seen = context.tokens.to_vec();
        seen.sort_unstable();
        for candidate in &mut candidates.list {
            if seen.binary_search(&candidate.token).is_ok() {
                let logit = candidate.logit;
                let changed = if logit > 0.0 { logit / self.0 } else { logit * self.0 };
                // Neither infinite, so that at least one candidate stays possible.
                candidate.logit = changed.clamp(f32::MIN, f32::MAX);
            }
        }
    }
}
