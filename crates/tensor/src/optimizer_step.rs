//! Clipping by the global norm and AdamW over the parameters' buffers.

use crate::cpu::Cpu;
use crate::kernels::elementwise;
use crate::kernels::optimizer::{AdamWStep, adamw};
use crate::memory::Buffer;
use crate::parameters::Parameters;

/// Numbers in a partial sum or task; fixed, so that the norm does not depend on threads.
const CHUNK: usize = 1 << 15;

/// The Euclidean norm of a buffer, summed in fixed chunks.
pub fn global_norm(cpu: &Cpu, gradients: &[f32], partials: &mut Vec<f32>) -> f32 {
    partials.resize(gradients.len().div_ceil(CHUNK), 0.0);
    cpu.pool().split([(partials, 1)], |index, [partial]| {
        let end = ((index + 1) * CHUNK).min(gradients.len());
        partial[0] = elementwise::sum_of_squares(cpu.isa(), &gradients[index * CHUNK..end]);
    });
    partials.iter().map(|&x| f64::from(x)).sum::<f64>().sqrt() as f32
}

/// The moments of AdamW, laid out as the parameters.
#[derive(Debug)]
pub struct AdamW {
    /// Running mean of gradients.
    pub first: Buffer,
    /// Running mean of their squares.
    pub second: Buffer,
}

impl AdamW {
    /// Zero moments.
    pub fn new(parameters: &Parameters) -> Self {
        Self { first: Buffer::zeroed(parameters.buffer_len()), second: Buffer::zeroed(parameters.buffer_len()) }
    }

    /// Updates every trainable parameter. `step.weight_decay` applies to those that decay.
    pub fn update(&mut self, cpu: &Cpu, parameters: &mut Parameters, gradients: &[f32], step: AdamWStep) {
        for index in 0..parameters.iter().count() {
            let id = crate::parameters::ParameterId(index);
            let (decays, trainable) = (parameters.get(id).decays, parameters.get(id).trainable);
            if !trainable {
                continue;
            }
            let range = parameters.range(id);
            let step = AdamWStep { weight_decay: if decays { step.weight_decay } else { 0.0 }, ..step };
            let values = &mut parameters.buffer_mut()[range.clone()];
            let moments = [&mut self.first[range.clone()], &mut self.second[range.clone()]];
            adamw_in_chunks(cpu, step, &gradients[range], values, moments);
        }
    }
}

/// AdamW on one parameter, its chunks on all threads.
pub(crate) fn adamw_in_chunks(
    cpu: &Cpu,
    step: AdamWStep,
    gradients: &[f32],
    values: &mut [f32],
    [first, second]: [&mut [f32]; 2],
) {
    cpu.pool().split([(values, CHUNK), (first, CHUNK), (second, CHUNK)], |index, [values, first, second]| {
        adamw(cpu.isa(), step, &gradients[index * CHUNK..][..values.len()], values, first, second);
    });
}
