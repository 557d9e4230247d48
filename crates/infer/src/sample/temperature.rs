//! Divides logits by the temperature. The largest becomes 0, so that no temperature overflows.

use super::{Candidates, Context, SampleError, SamplingParameters, Stage, ranges};

struct Temperature(f32);

pub(super) fn stage(parameters: &SamplingParameters) -> Result<Option<Box<dyn Stage>>, SampleError> {
    let temperature = ranges::TEMPERATURE.check("temperature", parameters.temperature)?;
    Ok((temperature != 0.0 && temperature != 1.0).then(|| Box::new(Temperature(temperature)) as Box<dyn Stage>))
}

impl Stage for Temperature {
    fn name(&self) -> &'static str {
        "temperature"
    }

    fn apply(&self, candidates: &mut Candidates, _context: Context<'_>) {
        let largest = candidates.largest();
        for candidate in &mut candidates.list {
            candidate.logit = (candidate.logit - largest) / self.0;
        }
    }
}
