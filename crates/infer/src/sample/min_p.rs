//! Keeps tokens at least a fraction as likely as the likeliest (Nguyen et al. 2024, "Turning up the heat").

use super::{Candidates, Context, SampleError, SamplingParameters, Stage, ranges};

struct MinP(f32);

pub(super) fn stage(parameters: &SamplingParameters) -> Result<Option<Box<dyn Stage>>, SampleError> {
    let min_p = ranges::MIN_P.check("min_p", parameters.min_p)?;
    Ok((min_p > 0.0).then(|| Box::new(MinP(min_p)) as Box<dyn Stage>))
}

impl Stage for MinP {
    fn name(&self) -> &'static str {
        "min_p"
    }

    fn apply(&self, candidates: &mut Candidates, _context: Context<'_>) {
        let least = candidates.largest() + self.0.ln();
        candidates.list.retain(|candidate| candidate.logit >= least);
    }
}
