//! What a training run will take, before it runs: parameters, operations, memory, time here, and the tokens that would be
//! the best use of its compute.

use serde::Serialize;
use tsumugi_base::units;
use tsumugi_models::plans::LossPlan;
use tsumugi_models::{Decoder, DecoderSpec};
use tsumugi_tensor::{Compute, Cpu};

use crate::bench::time_steps;
use crate::peak::peak_flops_per_second;
use crate::recipe::TOKENS_PER_PARAMETER;
use crate::{OptimizerKind, Resolved, TrainError};

/// Of the peak, where no step can be timed: what our benchmarks reach on models of 10 to 120 million parameters.
const SHARE_OF_PEAK: f64 = 0.5;
/// Longer steps than this are estimated, not timed.
const TIMED_STEP_SECONDS_MAX: f64 = 5.0;
/// As are more tokens at a time: small models reach far less than half of the peak.
const TIMED_ROWS_MAX: usize = 1 << 15;
/// Steps that are timed.
const TIMED_STEPS: usize = 3;
/// A pebibyte: no machine has it, and sizes below it cannot overflow.
const PLANNED_BYTES_MAX: u128 = 1 << 50;
/// Numbers of a table of rotary positions, which is made to plan.
const POSITIONS_MAX: u128 = 1 << 30;
/// The program, its libraries and small things, measured on Linux.
const PROGRAM_BYTES: u64 = 16 << 20;

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
    /// The text, which is in memory while it is trained on, and the ids of its held-out tenth.
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
pub fn memory(
    spec: &DecoderSpec,
    rows: usize,
    optimizer: OptimizerKind,
    compute: Compute,
    threads: usize,
) -> Result<MemoryPlan, TrainError> {
    memory_of(&described(spec, rows)?, rows, optimizer, compute, threads)
}

/// The decoder without its numbers, if its sizes can be planned with.
fn described(spec: &DecoderSpec, rows: usize) -> Result<Decoder, TrainError> {
    let least = spec.training_bytes_at_least(rows);
    let positions = spec.context as u128 * spec.head_width as u128;
    if least > PLANNED_BYTES_MAX || positions > POSITIONS_MAX {
        let bytes = units::bytes(u64::try_from(least).unwrap_or(u64::MAX));
        let problem = format!("at least {bytes} of memory follow from it: more than is planned for");
        return Err(TrainError::Setting { key: "width", value: spec.width.to_string(), problem });
    }
    Ok(Decoder::described(spec.clone()))
}

fn memory_of(
    decoder: &Decoder,
    rows: usize,
    optimizer: OptimizerKind,
    compute: Compute,
    threads: usize,
) -> Result<MemoryPlan, TrainError> {
    let (moments, per_thread) = optimizer.memory(&decoder.parameters);
    let weights = (decoder.parameters.buffer_len() * size_of::<f32>()) as u64;
    let (activations, evaluation) = LossPlan::bytes(decoder, rows)?;
    Ok(MemoryPlan {
        weights,
        gradients: weights,
        moments: (moments * size_of::<f32>()) as u64,
        activations: activations as u64,
        evaluation: evaluation as u64,
        scratch: scratch(&decoder.spec, rows, compute, threads) + (threads * per_thread * size_of::<f32>()) as u64,
        text: 0,
        program: PROGRAM_BYTES,
    })
}

/// The largest operands of the products of a step, as they are packed: the right one as a whole, the left one as a whole in
/// bfloat16 (in float32 a block of it per thread).
fn scratch(spec: &DecoderSpec, rows: usize, compute: Compute, threads: usize) -> u64 {
    let chunk = tsumugi_tensor::ops::cross_entropy::chunk_rows(rows, spec.vocabulary);
    let widest = spec.feed_forward_width * spec.gate_and_up();
    let qkv = (spec.heads + 2 * spec.key_heads) * spec.head_width;
    let inner = widest.max(qkv);
    let right = [spec.vocabulary * spec.width, inner * spec.width, rows * widest.max(spec.width), chunk * spec.width];
    let left = [rows * inner, rows * spec.width, chunk * spec.vocabulary];
    let largest = |sizes: &[usize]| sizes.iter().copied().max().unwrap_or(0);
    let numbers = match compute {
        Compute::F32 => largest(&right),
        Compute::Bf16 => (largest(&right) + largest(&left)) / 2,
    };
    // A block of A, and the packed keys, values, queries and gradients of a head, for each thread.
    let per_thread = 96 * 384 + 6 * spec.context.min(rows) * spec.head_width;
    ((numbers + threads * per_thread) * size_of::<f32>()) as u64
}

/// Parameters, gradients and two moments, and what backward reads of a micro-batch, must fit into the memory that is
/// there: better told now than killed by the system in an hour.
pub fn check_memory(spec: &DecoderSpec, rows: usize, optimizer: OptimizerKind, cpu: &Cpu) -> Result<(), TrainError> {
    let Some(available_bytes) = tsumugi_base::machine::available_memory_bytes() else { return Ok(()) };
    let mut needed = spec.training_bytes_at_least(rows);
    if needed <= u128::from(available_bytes) {
        needed = u128::from(memory(spec, rows, optimizer, cpu.compute(), cpu.pool().threads())?.total(true));
    }
    if needed <= u128::from(available_bytes) {
        return Ok(());
    }
    Err(TrainError::Memory {
        needed_bytes: u64::try_from(needed).unwrap_or(u64::MAX),
        available_bytes,
        parameters: u64::try_from(spec.parameters_at_least()).unwrap_or(u64::MAX),
        rows: rows as u64,
    })
}

/// Plans a run of a recipe on a text of so many bytes, whose tokenizer has `vocabulary` tokens. `cpu` computes in the type of the run.
pub fn plan(resolved: &Resolved, vocabulary: usize, text_bytes: u64, cpu: &Cpu) -> Result<RunPlan, TrainError> {
    let spec = resolved.spec(vocabulary);
    let rows = resolved.batch * resolved.context;
    // Five bytes for an id of the held-out tenth, of at most a byte of text each.
    let text = text_bytes + text_bytes / 10 * 5;
    let decoder = described(&spec, rows)?;
    let optimizer = resolved.train.optimizer;
    let memory = MemoryPlan { text, ..memory_of(&decoder, rows, optimizer, cpu.compute(), cpu.pool().threads())? };
    let available_memory_bytes = tsumugi_base::machine::available_memory_bytes();
    let flops_per_token = spec.training_flops_per_token(resolved.context);
    let tokens_per_step = (rows * resolved.train.accumulate) as u64;
    let update_per_token = optimizer.flops(&decoder.parameters) / tokens_per_step as f64;
    let estimated = SHARE_OF_PEAK * peak_flops_per_second(cpu) / (flops_per_token + update_per_token);
    let fits = available_memory_bytes.is_some_and(|available| memory.total(true) < available);
    let is_timed = fits && rows <= TIMED_ROWS_MAX && rows as f64 / estimated < TIMED_STEP_SECONDS_MAX;
    let tokens_per_second = match is_timed {
        true => time_steps(&spec, resolved.batch, optimizer, TIMED_STEPS, false, cpu)?.tokens_per_second,
        false => estimated,
    };
    let parameters = decoder.parameters.count() as u64;
    let tokens = resolved.train.steps as f64 * tokens_per_step as f64;
    Ok(RunPlan {
        parameters,
        product_parameters: spec.product_parameters() as u64,
        steps: resolved.train.steps,
        tokens_per_step,
        tokens,
        flops_per_token,
        flops: (flops_per_token + update_per_token) * tokens,
        memory,
        memory_bytes: memory.total(true),
        available_memory_bytes,
        compute: cpu.compute().name(),
        tokens_per_second,
        is_timed,
        seconds: tokens / tokens_per_second,
        compute_optimal_tokens: (TOKENS_PER_PARAMETER * parameters) as f64,
    })
}
