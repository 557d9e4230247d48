//! What a training run will take, before it runs: parameters, operations, memory, time here, and the tokens that would be
//! the best use of its compute.

use serde::Serialize;
use tsumugi_base::units;
use tsumugi_models::plans::LossPlan;
use tsumugi_models::{Decoder, DecoderSpec};
use tsumugi_tensor::kernels::gemm::{BLOCK_OF_A_LEN, packed_lens};
use tsumugi_tensor::memory::Buffer;
use tsumugi_tensor::{Activations, Compute, Cpu};

use crate::bench::{Measured, time_steps};
use crate::peak::peak_flops_per_second;
use crate::recipe::{TOKENS_PER_PARAMETER, TokenizerKind};
use crate::{Resolved, StepOptions, TrainError};

/// Of the peak, where no step can be timed: what our benchmarks reach on models of 10 to 120 million parameters.
const SHARE_OF_PEAK: f64 = 0.5;
/// Of the speed, what is left where activations are recomputed: measured (docs/log.md).
const SPEED_OF_RECOMPUTING: f64 = 0.85;
/// Longer steps than this are estimated, not timed.
const TIMED_STEP_SECONDS_MAX: f64 = 5.0;
/// As are more tokens at a time: small models reach far less than half of the peak.
const TIMED_ROWS_MAX: usize = 1 << 15;
/// Steps that are timed.
const TIMED_STEPS: usize = 3;
/// A pebibyte: no machine has it, and sizes below it cannot overflow.
const PLANNED_BYTES_MAX: u128 = 1 << 50;
/// The program, its libraries, heap and stacks: 7 MiB were measured in `bench`, 9 in `train` (Linux).
const PROGRAM_BYTES: u64 = 8 << 20;
/// Bytes of text for a token of a learned vocabulary, about.
const BYTES_PER_TOKEN: u64 = 3;
/// Bytes of a token in the mapped shards, and what the allocator keeps of encoding it.
const SHARD_BYTES_PER_TOKEN: u64 = 2;
const ENCODING_BYTES_PER_TOKEN: u64 = 8;
/// Text that a thread encodes at a time.
const ENCODED_PIECE_BYTES: u64 = 1 << 20;

/// Bytes of memory, by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    /// Weights, float32.
    pub weights: u64,
    /// Their gradients.
    pub gradients: u64,
    /// The optimizer's moments.
    pub moments: u64,
    /// Values, saved statistics and gradients of one micro-batch, laid out by the tape's planner.
    pub activations: u64,
    /// The same for scoring held-out text, without gradients.
    pub evaluation: u64,
    /// Operands that are packed for products, per thread where each has its own.
    pub scratch: u64,
    /// The text, which is in memory while it is trained on, its tokens, and what encoding it took.
    pub text: u64,
    /// The program itself.
    pub program: u64,
}

impl MemoryPlan {
    /// Everything; without the evaluation where nothing is held out.
    pub fn total(&self, evaluates: bool) -> u64 {
        let Self { weights, gradients, moments, activations, evaluation, scratch, text, program } = self;
        let training = weights + gradients + moments + activations + scratch + text + program;
        training + if evaluates { *evaluation } else { 0 }
    }
}

/// What a run will take.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunPlan {
    /// Parameters.
    pub parameters: u64,
    /// Those that take part in a product for each token: the N of 6 N.
    pub product_parameters: u64,
    /// Optimizer steps.
    pub steps: u64,
    /// Tokens of a step.
    pub tokens_per_step: u64,
    /// Tokens of the run.
    pub tokens: f64,
    /// Floating-point operations per token: 6 N, and attention.
    pub flops_per_token: f64,
    /// Of the whole run, the update's products included.
    pub flops: f64,
    /// Bytes.
    pub memory: MemoryPlan,
    /// Bytes in all, evaluation included.
    pub memory_bytes: u64,
    /// The same with `--recompute`; none where the run has it.
    pub recompute_memory_bytes: Option<u64>,
    /// What the system has; none where it does not tell.
    pub available_memory_bytes: Option<u64>,
    /// Type of the products.
    pub compute: &'static str,
    /// Tokens per second on this machine.
    pub tokens_per_second: f64,
    /// Whether that was timed, or is half of the peak.
    pub is_timed: bool,
    /// Seconds of the run here, evaluations not counted.
    pub seconds: f64,
    /// Tokens for which a model of this size is the best use of its compute (Hoffmann et al. 2022).
    pub compute_optimal_tokens: f64,
}

/// Memory of training a decoder on micro-batches of `rows` tokens.
pub fn memory(spec: &DecoderSpec, rows: usize, options: StepOptions, cpu: &Cpu) -> Result<MemoryPlan, TrainError> {
    memory_of(&described(spec, rows)?, rows, options, cpu)
}

/// The decoder without its numbers, if its sizes can be planned with.
fn described(spec: &DecoderSpec, rows: usize) -> Result<Decoder, TrainError> {
    let least = spec.training_bytes_at_least(rows, Activations::Kept);
    if least > PLANNED_BYTES_MAX {
        let bytes = units::bytes(u64::try_from(least).unwrap_or(u64::MAX));
        let problem = format!("at least {bytes} of memory follow from it: more than is planned for");
        return Err(TrainError::Setting { key: "width", value: spec.width.to_string(), problem });
    }
    Ok(Decoder::described(spec.clone()))
}

fn memory_of(decoder: &Decoder, rows: usize, options: StepOptions, cpu: &Cpu) -> Result<MemoryPlan, TrainError> {
    let held = |numbers: usize| Buffer::bytes(numbers).unwrap_or(usize::MAX) as u64;
    let weights = held(decoder.parameters.buffer_len());
    let (moments, per_thread) = options.optimizer.memory(&decoder.parameters, cpu.compute());
    let (activations, evaluation) = LossPlan::arena_lens(decoder, rows, options.activations)?;
    let threads = cpu.pool().threads();
    Ok(MemoryPlan {
        weights,
        gradients: weights,
        moments: moments.into_iter().map(held).sum(),
        activations: held(activations),
        evaluation: held(evaluation),
        scratch: scratch(&decoder.spec, rows, cpu.compute(), threads) + threads as u64 * held(per_thread),
        text: 0,
        program: PROGRAM_BYTES,
    })
}

/// The largest operands of the products of a step, as they are packed.
fn scratch(spec: &DecoderSpec, rows: usize, compute: Compute, threads: usize) -> u64 {
    let chunk = tsumugi_tensor::ops::cross_entropy::chunk_rows(rows, spec.vocabulary);
    let heads = spec.heads * spec.head_width;
    let qkv = heads + 2 * spec.key_heads * spec.head_width;
    // Rows, inputs and outputs of the layers and the head; an expert has all rows at most.
    let shared_width = spec.experts.and_then(|experts| experts.shared_width).unwrap_or(0);
    let layers = [
        (rows, spec.width, qkv),
        (rows, heads, spec.width),
        (rows, spec.width, spec.feed_forward_width * spec.gate_and_up()),
        (rows, spec.feed_forward_width, spec.width),
        (rows, spec.width, shared_width * spec.gate_and_up()),
        (rows, shared_width, spec.width),
        (chunk, spec.width, spec.vocabulary),
    ];
    let products = layers.into_iter().flat_map(|(rows, inputs, outputs)| {
        // Forward, and the gradients of the rows and of the weight.
        [(rows, outputs, inputs), (rows, inputs, outputs), (outputs, inputs, rows)]
    });
    let [left, right] = products
        .map(|size| packed_lens(compute, size))
        .fold([0, 0], |most, lens| [most[0].max(lens[0]), most[1].max(lens[1])]);
    // A block of A, and the packed keys, values, queries and gradients of a head, for each thread.
    let per_thread = BLOCK_OF_A_LEN + 6 * spec.context.min(rows) * spec.head_width;
    ((left + right + threads * per_thread) * size_of::<f32>()) as u64
}

/// Parameters, gradients and moments, and what backward reads of a micro-batch, must fit into the memory that is
/// there: better told now than killed by the system in an hour.
pub fn check_memory(spec: &DecoderSpec, rows: usize, options: StepOptions, cpu: &Cpu) -> Result<(), TrainError> {
    let Some(available_bytes) = tsumugi_base::machine::available_memory_bytes() else { return Ok(()) };
    let needed = |activations| -> Result<u64, TrainError> {
        // A lower bound that is too much already is not worth a plan.
        match u64::try_from(spec.training_bytes_at_least(rows, activations)) {
            Ok(least) if least <= available_bytes => {
                Ok(memory(spec, rows, StepOptions { activations, ..options }, cpu)?.total(true))
            }
            least => Ok(least.unwrap_or(u64::MAX)),
        }
    };
    let needed_bytes = needed(options.activations)?;
    if needed_bytes <= available_bytes {
        return Ok(());
    }
    let recompute_bytes = match options.activations {
        Activations::Kept => Some(needed(Activations::Recomputed)?),
        Activations::Recomputed => None,
    };
    Err(TrainError::Memory {
        needed_bytes,
        available_bytes,
        recompute_bytes,
        parameters: u64::try_from(spec.parameters_at_least()).unwrap_or(u64::MAX),
        rows: rows as u64,
    })
}

/// Bytes of the text, of the ids of its held-out tenth (five for each), of its mapped tokens, and of what encoding them,
/// a share at a time, leaves with the allocator.
fn text_memory(tokenizer: TokenizerKind, text_bytes: u64, threads: u64) -> u64 {
    let tokens = |bytes: u64| match tokenizer {
        TokenizerKind::Bpe => bytes / BYTES_PER_TOKEN,
        TokenizerKind::Bytes | TokenizerKind::Characters => bytes,
    };
    let encoded_at_a_time = tokens(text_bytes.min(threads * ENCODED_PIECE_BYTES));
    text_bytes
        + tokens(text_bytes / 10) * 5
        + tokens(text_bytes) * SHARD_BYTES_PER_TOKEN
        + encoded_at_a_time * ENCODING_BYTES_PER_TOKEN
}

/// Seconds of a step of `accumulate` micro-batches, of which the last is followed by clipping and the update.
fn step_seconds(measured: &Measured, accumulate: usize) -> f64 {
    let Measured { step_seconds, update_seconds, .. } = measured;
    accumulate as f64 * (step_seconds - update_seconds) + update_seconds
}

/// Plans a run of a recipe on a text of so many bytes, whose tokenizer has `vocabulary` tokens. `cpu` computes in the type of the run.
pub fn plan(resolved: &Resolved, vocabulary: usize, text_bytes: u64, cpu: &Cpu) -> Result<RunPlan, TrainError> {
    let spec = resolved.spec(vocabulary);
    let rows = resolved.batch * resolved.context;
    let text = text_memory(resolved.tokenizer, text_bytes, cpu.pool().threads() as u64);
    let decoder = described(&spec, rows)?;
    let options = resolved.train.options();
    let memory_with = |activations| {
        let options = StepOptions { activations, ..options };
        Ok::<_, TrainError>(MemoryPlan { text, ..memory_of(&decoder, rows, options, cpu)? })
    };
    let memory = memory_with(options.activations)?;
    let recompute_memory_bytes = match options.activations {
        Activations::Kept => Some(memory_with(Activations::Recomputed)?.total(true)),
        Activations::Recomputed => None,
    };
    let available_memory_bytes = tsumugi_base::machine::available_memory_bytes();
    let flops_per_token = spec.training_flops_per_token(resolved.context);
    let update_flops = options.optimizer.flops(&decoder.parameters);
    let slower = if options.activations == Activations::Recomputed { 1.0 / SPEED_OF_RECOMPUTING } else { 1.0 };
    let speed = SHARE_OF_PEAK * peak_flops_per_second(cpu);
    let estimated = |accumulate| ((accumulate * rows) as f64 * slower * flops_per_token + update_flops) / speed;
    let accumulate = resolved.train.accumulate;
    let fits = available_memory_bytes.is_some_and(|available| memory.total(true) < available);
    let is_timed = fits && rows <= TIMED_ROWS_MAX && estimated(1) < TIMED_STEP_SECONDS_MAX;
    let seconds_per_step = match is_timed {
        true => step_seconds(&time_steps(&spec, resolved.batch, options, TIMED_STEPS, false, cpu)?, accumulate),
        false => estimated(accumulate),
    };
    let parameters = decoder.parameters.count() as u64;
    let tokens_per_step = (rows * accumulate) as u64;
    let steps = resolved.train.steps;
    let tokens = steps as f64 * tokens_per_step as f64;
    Ok(RunPlan {
        parameters,
        product_parameters: spec.product_parameters() as u64,
        steps,
        tokens_per_step,
        tokens,
        flops_per_token,
        flops: flops_per_token * tokens + update_flops * steps as f64,
        memory,
        memory_bytes: memory.total(true),
        recompute_memory_bytes,
        available_memory_bytes,
        compute: cpu.compute().name(),
        tokens_per_second: tokens_per_step as f64 / seconds_per_step,
        is_timed,
        seconds: steps as f64 * seconds_per_step,
        compute_optimal_tokens: (TOKENS_PER_PARAMETER * parameters) as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_update_is_counted_once_per_step() {
        let cpu = Cpu::detect(Some(1)).unwrap();
        let spec = tsumugi_models::family::find("llama").unwrap().tiny();
        let measured = time_steps(&spec, 1, StepOptions::default(), 1, false, &cpu).unwrap();
        let measured = Measured { step_seconds: 1.0, update_seconds: 0.25, ..measured };
        assert_eq!([1, 4].map(|accumulate| step_seconds(&measured, accumulate)), [1.0, 3.25]);
    }
}
