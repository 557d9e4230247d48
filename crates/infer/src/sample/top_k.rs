//! Keeps the k likeliest tokens (Fan et al. 2018).

use super::{Candidates, Context, SampleError, SamplingParameters, Stage, bad};

struct TopK(usize);

pub(super) fn stage(parameters: &SamplingParameters) -> Result<Option<Box<dyn Stage>>, SampleError> {
    match parameters.top_k {
        Some(0) => Err(bad("top_k", 0, "at least 1")),
        Some(count) => Ok(Some(Box::new(TopK(count)))),
        None => Ok(None),
    }
}

impl Stage for TopK {
    fn name(&self) -> &'static str {
        "top_k"
    }

    fn apply(&self, candidates: &mut Candidates, _context: Context<'_>) {
        candidates.keep_likeliest(self.0);
    }
}
