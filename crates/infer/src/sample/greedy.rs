//! Temperature 0: only the likeliest token stays; of equals the lowest id.

use super::{Candidates, Context, SampleError, SamplingParameters, Stage, by_likelihood};

struct Greedy;

pub(super) fn stage(parameters: &SamplingParameters) -> Result<Option<Box<dyn Stage>>, SampleError> {
    Ok((parameters.temperature == 0.0).then(|| Box::new(Greedy) as Box<dyn Stage>))
}

impl Stage for Greedy {
    fn name(&self) -> &'static str {
        "greedy"
    }

    fn apply(&self, candidates: &mut Candidates, _context: Context<'_>) {
        let best = candidates.list.iter().copied().min_by(by_likelihood);
        candidates.list.clear();
        candidates.list.extend(best);
    }
}
