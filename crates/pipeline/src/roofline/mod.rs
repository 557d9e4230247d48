//! The roofline of a model on this machine (Williams, Waterman and Patterson 2009, "Roofline: An Insightful Visual Performance
//! Model for Multicore Architectures"): of each stage (a training step, reading a prompt, answering) the operations that it has
//! to do and the bytes that it has to move, which of the machine's two limits it meets, and how near it comes.

mod page;

use std::time::Instant;

use serde::Serialize;
use tsumugi_base::machine::available_memory_bytes;
use tsumugi_base::rng::{Key, Stream};
use tsumugi_infer::engine::{Engine, EngineOptions};
use tsumugi_models::{Decoder, DecoderSpec};
use tsumugi_tensor::quant::WeightKind;
use tsumugi_tensor::{Compute, Cpu, KEY_BLOCK};
use tsumugi_train::bench::{Limits, RandomTraining, limits};
use tsumugi_train::{StepOptions, TrainError, planner};

use crate::PipelineError;

pub use page::{page, table};

/// What to run. What is not said follows from the model; what is said is cut to the model's context.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked {
    /// Sequences that are trained on, and answered, at a time; at most [`tsumugi_infer::engine::BATCH_MAX`].
    pub batch: Option<usize>,
    /// Tokens of a training sequence.
    pub context: Option<usize>,
    /// Tokens of a prompt; answers begin at this depth.
    pub prompt: Option<usize>,
    /// Repetitions that count.
    pub repetitions: Option<usize>,
}

/// What is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Workload {
    /// Sequences that are trained on, and answered, at a time.
    pub batch: usize,
    /// Tokens of a training sequence.
    pub context: usize,
    /// Tokens of a prompt.
    pub prompt: usize,
    /// Tokens of an answer; none where the prompt fills the context.
    pub answer: usize,
    /// Repetitions that count.
    pub repetitions: usize,
}

/// Longest sequence that is trained on if nobody asks for more: the figures of longer ones say the same.
const CONTEXT: usize = 1024;
const PROMPT: usize = 512;
const ANSWER: usize = 64;
/// Odd, for a median; a prompt of a large model takes seconds.
const REPETITIONS: usize = 5;

impl Workload {
    /// What fits a model.
    pub fn new(asked: Asked, spec: &DecoderSpec) -> Self {
        let room_for_answer = ANSWER.min(spec.context / 2);
        let prompt = asked.prompt.unwrap_or(PROMPT.min(spec.context - room_for_answer)).clamp(1, spec.context);
        Self {
            batch: asked.batch.unwrap_or(1),
            context: asked.context.unwrap_or(CONTEXT).min(spec.context),
            prompt,
            answer: ANSWER.min(spec.context - prompt),
            repetitions: asked.repetitions.unwrap_or(REPETITIONS),
        }
    }
}

/// A stage beside the machine's limits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stage {
    /// `training step`, `prefill` (reading a prompt) or `decode` (a token of each answer).
    pub stage: &'static str,
    /// Type of its products.
    pub compute: &'static str,
    /// Tokens that it reads or makes.
    pub tokens: usize,
    /// Median of the repetitions.
    pub seconds: f64,
    /// The shortest.
    pub seconds_min: f64,
    /// Tokens over the median.
    pub tokens_per_second: f64,
    /// Floating-point operations, attention counted causally.
    pub flops: f64,
    /// Bytes that cross between memory and processor at least, if no cache keeps anything from one pass to the next.
    pub bytes: f64,
    /// Arithmetic intensity.
    pub flops_per_byte: f64,
    /// The limit that it meets first: `compute` or `memory`.
    pub limited_by: &'static str,
    /// The least time, which this limit allows.
    pub limit_seconds: f64,
    /// The least time over the median. Above 1, what was counted as moved stayed in a cache.
    pub share_of_limit: f64,
}

/// What most products of a stage are computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Products {
    Float(Compute),
    /// Quantized weights and activations rounded to 8 bits.
    Int8,
}

impl Products {
    fn name(self) -> &'static str {
        match self {
            Self::Float(compute) => compute.name(),
            Self::Int8 => "int8",
        }
    }

    /// Operations per second at most.
    fn limit(self, limits: &Limits) -> f64 {
        match self {
            Self::Float(compute) => limits.flops_per_second(compute),
            // Without instructions for four bytes at a time there are at least those for float32.
            Self::Int8 => limits.int8_operations_per_second.unwrap_or(limits.f32_flops_per_second),
        }
    }
}

/// Operations and bytes of a stage.
struct Work {
    stage: &'static str,
    products: Products,
    tokens: usize,
    flops: f64,
    bytes: f64,
}

impl Stage {
    /// Sets some work, done in each of these times, beside the limits.
    fn new(work: &Work, mut seconds: Vec<f64>, limits: &Limits) -> Self {
        seconds.sort_by(f64::total_cmp);
        let median = seconds[seconds.len() / 2];
        let by_compute = work.flops / work.products.limit(limits);
        let by_memory = work.bytes / limits.memory_bytes_per_second;
        let limit_seconds = by_compute.max(by_memory);
        Self {
            stage: work.stage,
            compute: work.products.name(),
            tokens: work.tokens,
            seconds: median,
            seconds_min: seconds[0],
            tokens_per_second: work.tokens as f64 / median,
            flops: work.flops,
            bytes: work.bytes,
            flops_per_byte: work.flops / work.bytes,
            limited_by: if by_compute >= by_memory { "compute" } else { "memory" },
            limit_seconds,
            share_of_limit: limit_seconds / median,
        }
    }
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Roofline {
    /// The model's name.
    pub model: String,
    /// Its parameters.
    pub parameters: usize,
    /// Instruction set.
    pub isa: &'static str,
    /// What was run.
    pub workload: Workload,
    /// The machine's limits, measured before and after.
    pub limits: Limits,
    /// Each stage.
    pub stages: Vec<Stage>,
    /// Stages that could not be run, and why.
    pub left_out: Vec<String>,
}

/// A model of random weights, if the memory that is there holds it.
pub fn random_model(spec: DecoderSpec, cpu: &Cpu) -> Result<Decoder, PipelineError> {
    let needed_bytes = u64::try_from(spec.parameters_at_least().saturating_mul(4)).unwrap_or(u64::MAX);
    if let Some(available_bytes) = available_memory_bytes().filter(|&available| needed_bytes > available) {
        return Err(PipelineError::ModelMemory { needed_bytes, available_bytes });
    }
    let mut decoder = Decoder::new(spec);
    decoder.initialize(0, cpu.pool());
    Ok(decoder)
}

/// Measures a model. `cpu` computes in the type of training; the engine has its own.
pub fn roofline(model: String, decoder: Decoder, asked: Asked, cpu: &Cpu) -> Result<Roofline, PipelineError> {
    let before = limits(cpu);
    let spec = decoder.spec.clone();
    let parameters = decoder.parameters.count();
    let workload = Workload::new(asked, &spec);
    let mut left_out = Vec::new();
    let kinds: Vec<&str> = decoder.parameters.stored_kinds().into_iter().map(WeightKind::name).collect();
    let mut timed = answering(decoder, workload, cpu)?;
    if !kinds.is_empty() {
        left_out.push(format!("training step: the weights are stored as {}", kinds.join(", ")));
    } else {
        match training(&spec, workload, cpu) {
            Ok(step) => timed.insert(0, step),
            Err(error @ TrainError::Memory { .. }) => left_out.push(format!("training step: {error}")),
            Err(error) => return Err(error.into()),
        }
    }
    if workload.answer == 0 {
        left_out.push(format!("decode: a prompt of {} tokens leaves no room for an answer", workload.prompt));
    }
    let limits = before.higher(limits(cpu));
    let stages = timed.into_iter().map(|(work, seconds)| Stage::new(&work, seconds, &limits)).collect();
    Ok(Roofline { model, parameters, isa: cpu.isa().name(), workload, limits, stages, left_out })
}

/// Steps before those that count: they touch memory for the first time.
const WARM_UP: usize = 2;
/// Of a number.
const F32_BYTES: f64 = size_of::<f32>() as f64;

/// The work of a training step, and its times.
fn training(spec: &DecoderSpec, workload: Workload, cpu: &Cpu) -> Result<(Work, Vec<f64>), TrainError> {
    let spec = DecoderSpec { context: workload.context, ..spec.clone() };
    let tokens = workload.batch * workload.context;
    planner::check_memory(&spec, tokens, StepOptions::default(), cpu)?;
    let activations = planner::memory(&spec, tokens, StepOptions::default(), cpu)?.activations;
    let mut training = RandomTraining::new(&spec, workload.batch, StepOptions::default(), cpu)?;
    let work = Work {
        stage: "training step",
        products: Products::Float(cpu.compute()),
        tokens,
        flops: spec.training_flops_per_token(workload.context) * tokens as f64,
        bytes: training_bytes(&spec, training.decoder.parameters.count(), activations),
    };
    let seconds = (0..WARM_UP + workload.repetitions).map(|_| seconds_of(|| training.step(cpu)));
    Ok((work, seconds.skip(WARM_UP).collect()))
}

/// Weights are read in forward and in backward. Gradients are written, read for their norm and read for the update, which reads
/// and writes weights and two moments. What forward keeps is written and read once.
fn training_bytes(spec: &DecoderSpec, parameters: usize, activations: u64) -> f64 {
    let passes = F32_BYTES * (2 * spec.product_parameters() + (3 + 2 * 3) * parameters) as f64;
    passes + 2.0 * activations as f64
}

fn seconds_of(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64()
}

/// The work of reading a prompt and of a step of all answers, and their times.
fn answering(decoder: Decoder, workload: Workload, cpu: &Cpu) -> Result<Vec<(Work, Vec<f64>)>, PipelineError> {
    let Workload { batch, prompt, answer, .. } = workload;
    let positions = (prompt + answer).next_multiple_of(KEY_BLOCK) * batch;
    let cpu = cpu.computing(Compute::F32);
    let options = EngineOptions { cache_positions: Some(positions), kept_sequences: 0, ..EngineOptions::default() };
    let position_bytes = Engine::position_bytes(&decoder.spec, options.kv, &cpu);
    check_cache_memory(positions as u64 * position_bytes as u64, batch)?;
    let (prefill, decode) = answering_work(&decoder, workload, options.prefill_rows, position_bytes);
    let mut engine = Engine::new(decoder, cpu, options);
    let (mut prefills, mut decodes) = (Vec::new(), Vec::new());
    for repetition in 0..=workload.repetitions {
        let (prefill, decode) = answer_once(&mut engine, workload)?;
        if repetition > 0 {
            prefills.extend(prefill);
            decodes.extend(decode);
        }
    }
    let stages = [(prefill, prefills), (decode, decodes)];
    Ok(stages.into_iter().filter(|(_, seconds)| !seconds.is_empty()).collect())
}

fn check_cache_memory(needed_bytes: u64, batch: usize) -> Result<(), PipelineError> {
    match available_memory_bytes() {
        Some(available_bytes) if needed_bytes > available_bytes => {
            Err(PipelineError::CacheMemory { needed_bytes, available_bytes, batch })
        }
        _ => Ok(()),
    }
}

/// The engine reads a prompt in chunks: each reads the weights once, all but the head's, which only the last token needs, and the
/// keys and values up to its end. A step of decoding reads the weights once for all answers; its depth is the mean of the answer's.
fn answering_work(decoder: &Decoder, workload: Workload, chunk: usize, position_bytes: usize) -> (Work, Work) {
    let Workload { batch, prompt, answer, .. } = workload;
    let (spec, parameters) = (&decoder.spec, &decoder.parameters);
    let head = parameters.bytes(decoder.head()) as f64;
    let in_blocks =
        parameters.iter().filter(|(_, parameter)| parameter.name.starts_with("layers.") && parameter.shape.len() > 1);
    let blocks: f64 = in_blocks.map(|(id, _)| parameters.bytes(id) as f64).sum();
    let rounds = parameters.stored_kinds().iter().any(|kind| kind.layout().is_some());
    let products = if rounds { Products::Int8 } else { Products::Float(Compute::F32) };
    let chunk_ends = (1..=prompt.div_ceil(chunk)).map(|count| (count * chunk).min(prompt));
    let positions_read: usize = chunk_ends.clone().sum();
    let prefill = Work {
        stage: "prefill",
        products,
        tokens: prompt,
        flops: spec.forward_flops(0..prompt, 1),
        bytes: blocks * chunk_ends.count() as f64 + head + (positions_read * position_bytes) as f64,
    };
    let depth = prompt as f64 + (answer as f64 + 1.0) / 2.0;
    let per_answer = spec.forward_flops(prompt..prompt + answer, answer) / answer.max(1) as f64;
    let decode = Work {
        stage: "decode",
        products,
        tokens: batch,
        flops: batch as f64 * per_answer,
        bytes: blocks + head + batch as f64 * depth * position_bytes as f64,
    };
    (prefill, decode)
}

/// Reads a prompt for each answer, then makes all answers together; returns the time of each prompt and of each step.
fn answer_once(engine: &mut Engine, workload: Workload) -> Result<(Vec<f64>, Vec<f64>), PipelineError> {
    // Sequences that begin alike would share their cache.
    engine.clear();
    let vocabulary = engine.spec().vocabulary as u64;
    let mut random = Stream::new(Key::from_seed(1));
    let mut token = move || random.below(vocabulary) as u32;
    let (mut prefills, mut sequences) = (Vec::new(), Vec::new());
    for _ in 0..workload.batch {
        let prompt: Vec<u32> = (0..workload.prompt).map(|_| token()).collect();
        let begun = Instant::now();
        let (id, cached) = engine.begin(&prompt)?;
        engine.prefill(id, &prompt[cached..])?;
        // A small vocabulary's prompts may begin alike by chance: those are answered, but say nothing of reading.
        if cached == 0 {
            prefills.push(begun.elapsed().as_secs_f64());
        }
        sequences.push(id);
    }
    let mut decodes = Vec::new();
    for _ in 0..workload.answer {
        let next: Vec<_> = sequences.iter().map(|&id| (id, token())).collect();
        let begun = Instant::now();
        engine.decode(&next)?;
        decodes.push(begun.elapsed().as_secs_f64());
    }
    Ok((prefills, decodes))
}

#[cfg(test)]
mod tests {
    use tsumugi_models::family;

    use super::*;

    fn tiny() -> DecoderSpec {
        family::find("llama").expect("it is listed").tiny()
    }

    const LIMITS: Limits = Limits {
        threads: 1,
        f32_flops_per_second: 100.0,
        bf16_flops_per_second: 200.0,
        int8_operations_per_second: None,
        memory_bytes_per_second: 10.0,
    };

    #[test]
    fn a_stage_is_limited_by_what_takes_longer() {
        let work = |compute, flops, bytes| {
            let products = Products::Float(compute);
            Work { stage: "decode", products, tokens: 6, flops, bytes }
        };
        let stage = Stage::new(&work(Compute::F32, 1000.0, 20.0), vec![50.0, 20.0, 25.0], &LIMITS);
        assert_eq!((stage.limited_by, stage.limit_seconds, stage.share_of_limit), ("compute", 10.0, 0.4));
        assert_eq!((stage.seconds, stage.seconds_min, stage.tokens_per_second), (25.0, 20.0, 0.24));
        assert_eq!(stage.flops_per_byte, 50.0);
        let stage = Stage::new(&work(Compute::Bf16, 1000.0, 100.0), vec![20.0], &LIMITS);
        assert_eq!((stage.limited_by, stage.limit_seconds, stage.share_of_limit), ("memory", 10.0, 0.5));
    }

    #[test]
    fn what_is_run_fits_into_the_context() {
        let fitted = |context: usize, asked: Asked| {
            let workload = Workload::new(asked, &DecoderSpec { context, ..tiny() });
            (workload.context, workload.prompt, workload.answer)
        };
        assert_eq!(fitted(4096, Asked::default()), (1024, 512, 64));
        assert_eq!(fitted(64, Asked::default()), (64, 32, 32));
        assert_eq!(fitted(1, Asked::default()), (1, 1, 0));
        let asked = Asked { context: Some(2048), prompt: Some(1000), ..Asked::default() };
        assert_eq!(fitted(4096, asked), (2048, 1000, 64));
        assert_eq!(fitted(1010, asked), (1010, 1000, 10));
        assert_eq!(fitted(900, asked), (900, 900, 0));
    }

    /// Bytes, counted pass by pass as the engine and the trainer make them.
    #[test]
    fn bytes_are_those_of_each_pass() {
        let spec = DecoderSpec { context: 512, ..tiny() };
        let workload = Workload { batch: 3, context: 8, prompt: 300, answer: 4, repetitions: 1 };
        let (prefill, decode) = answering_work(&Decoder::described(spec.clone()), workload, 128, 10);
        let (n, head) = (4.0 * spec.product_parameters() as f64, 4.0 * (spec.vocabulary * spec.width) as f64);
        assert_eq!(prefill.bytes, 3.0 * (n - head) + head + 10.0 * (128.0 + 256.0 + 300.0));
        let depths = [301.0, 302.0, 303.0, 304.0];
        assert_eq!(decode.bytes, n + 3.0 * 10.0 * depths.iter().sum::<f64>() / 4.0);
        let each: f64 = (300..304).map(|at| spec.forward_flops(at..at + 1, 1)).sum();
        assert!((decode.flops / (3.0 * each / 4.0) - 1.0).abs() < 1e-12);
        assert_eq!(training_bytes(&spec, 100, 7), 2.0 * n + 36.0 * 100.0 + 14.0);
    }

    #[test]
    fn a_model_is_measured_in_three_stages_and_what_cannot_run_is_said() {
        let cpu = Cpu::detect(Some(1)).expect("an instruction set").computing(Compute::Bf16);
        let measure = |prompt| {
            let decoder = random_model(tiny(), &cpu).expect("it fits");
            let asked = Asked { batch: Some(2), prompt, repetitions: Some(1), ..Asked::default() };
            roofline("tiny".into(), decoder, asked, &cpu).expect("it fits")
        };
        let measured = measure(None);
        let stages: Vec<_> = measured.stages.iter().map(|stage| (stage.stage, stage.compute)).collect();
        assert_eq!(stages, [("training step", "bf16"), ("prefill", "f32"), ("decode", "f32")]);
        assert!(measured.left_out.is_empty(), "{:?}", measured.left_out);
        assert!(measured.stages.iter().all(|stage| stage.share_of_limit > 0.0), "{measured:?}");
        assert!(table(&measured).to_text().contains("training step"));
        let html = page(&measured);
        assert!(html.contains("decode: ") && html.contains("<svg"), "{html}");
        let full = measure(Some(usize::MAX));
        assert_eq!((full.stages.len(), full.left_out.len()), (2, 1), "{full:?}");
    }

    #[test]
    fn a_model_that_no_memory_holds_is_refused() {
        let cpu = Cpu::detect(Some(1)).expect("an instruction set");
        let error = random_model(DecoderSpec { width: 1 << 20, layers: 1 << 10, ..tiny() }, &cpu);
        assert!(matches!(error, Err(PipelineError::ModelMemory { .. })));
    }

    #[test]
    fn a_cache_that_no_memory_holds_is_refused() {
        let error = check_cache_memory(u64::MAX, 7);
        assert!(matches!(error, Err(PipelineError::CacheMemory { batch: 7, .. })), "{error:?}");
        assert!(check_cache_memory(1, 7).is_ok());
    }
}
