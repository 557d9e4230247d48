//! The speed of a training step on the configurations that `bench/peers/pytorch_train` runs in PyTorch:
//! forward, backward, clipping and the update, on random tokens.

use std::time::Instant;

use serde::Serialize;
use tsumugi_base::machine::peak_memory_bytes;
use tsumugi_base::rng::{Key, Stream};
use tsumugi_models::gpt2::Gpt2;
use tsumugi_models::llama::Llama;
use tsumugi_models::plans::{LossPlan, LossRows};
use tsumugi_models::{Decoder, DecoderSpec};
use tsumugi_tensor::kernels::peak;
use tsumugi_tensor::memory::Buffer;
use tsumugi_tensor::optimizer_step::global_norm;
use tsumugi_tensor::{Activations, AdamWStep, Compute, Cpu, Segment};

use crate::peak::peak_flops_per_second;
use crate::{Optimizer, StepOptions, TrainError, planner};

/// A configuration.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// Sequences of a step.
    pub batch: usize,
    /// The model.
    pub spec: fn() -> DecoderSpec,
}

/// Every configuration.
pub const CASES: &[Case] = &[
    Case { name: "shakespeare-char", batch: 12, spec: || Gpt2::sized(65, 64, 128, 4, 4) },
    Case { name: "gpt-512", batch: 8, spec: || Gpt2::sized(512, 256, 384, 6, 6) },
    Case { name: "gpt-8192", batch: 8, spec: || Gpt2::sized(8192, 256, 384, 6, 6) },
    Case { name: "gpt2-124m-4x64", batch: 4, spec: || Gpt2::sized(50_257, 64, 768, 12, 12) },
    Case { name: "gpt2-124m-1x1024", batch: 1, spec: || Gpt2::sized(50_257, 1024, 768, 12, 12) },
    Case { name: "llama-350m", batch: 1, spec: || Llama::sized(32_000, 1024, 1024, 27, 16, 8) },
];

/// The machine's limits with a number of threads.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Limits {
    /// Threads.
    pub threads: usize,
    /// Operations per second in float32.
    pub f32_flops_per_second: f64,
    /// Operations per second in bfloat16.
    pub bf16_flops_per_second: f64,
    /// Operations per second on eight-bit integers; none where there are no instructions for them that we would use.
    pub int8_operations_per_second: Option<f64>,
    /// Bytes per second read from memory.
    pub memory_bytes_per_second: f64,
}

impl Limits {
    /// The higher of each: what another program disturbed was no limit.
    #[must_use]
    pub fn higher(self, other: Self) -> Self {
        let int8 = [self.int8_operations_per_second, other.int8_operations_per_second];
        Self {
            threads: self.threads,
            f32_flops_per_second: self.f32_flops_per_second.max(other.f32_flops_per_second),
            bf16_flops_per_second: self.bf16_flops_per_second.max(other.bf16_flops_per_second),
            int8_operations_per_second: int8.into_iter().flatten().reduce(f64::max),
            memory_bytes_per_second: self.memory_bytes_per_second.max(other.memory_bytes_per_second),
        }
    }

    /// Operations per second in a type.
    pub fn flops_per_second(&self, compute: Compute) -> f64 {
        match compute {
            Compute::F32 => self.f32_flops_per_second,
            Compute::Bf16 => self.bf16_flops_per_second,
        }
    }
}

/// Measures the limits, in about two seconds.
pub fn limits(cpu: &Cpu) -> Limits {
    Limits {
        threads: cpu.pool().threads(),
        f32_flops_per_second: peak::probe(&cpu.computing(Compute::F32)),
        bf16_flops_per_second: peak::probe(&cpu.computing(Compute::Bf16)),
        int8_operations_per_second: peak::probe_int8(cpu),
        memory_bytes_per_second: peak::probe_memory(cpu),
    }
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// The configuration.
    pub case: &'static str,
    /// Instruction set.
    pub isa: &'static str,
    /// Type of matrix products.
    pub compute: &'static str,
    /// What updates the parameters.
    pub optimizer: &'static str,
    /// Threads.
    pub threads: usize,
    /// Whether each layer's values were computed again.
    pub recompute: bool,
    /// Parameters of the model.
    pub parameters: usize,
    /// Tokens of a step over the median step.
    pub tokens_per_second: f64,
    /// Median.
    pub step_seconds: f64,
    /// Shortest.
    pub step_seconds_min: f64,
    /// Of the median step, clipping and the update.
    pub update_seconds: f64,
    /// Operations of a step (6 N and causal attention) over its median time, as a share of the probed peak. What is
    /// recomputed is work that the model does not need, and does not count.
    pub share_of_peak: f64,
    /// The probed peak, operations per second.
    pub peak_flops_per_second: f64,
    /// What the planner says that it holds.
    pub planned_memory_bytes: u64,
    /// The most memory that the process held.
    pub peak_memory_bytes: Option<u64>,
    /// Milliseconds per step by operation and direction, when profiled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub profile: Vec<(String, f64)>,
}

/// Steps before those that count: they touch memory for the first time.
const WARM_UP: usize = 2;

/// Runs `steps` counted steps of a configuration.
pub fn train_step(
    case: &Case,
    options: StepOptions,
    steps: usize,
    profile: bool,
    cpu: &Cpu,
) -> Result<Measured, TrainError> {
    let spec = (case.spec)();
    let rows = case.batch * spec.context;
    let planned = planner::memory(&spec, rows, options, cpu)?.total(false);
    let measured = time_steps(&spec, case.batch, options, steps, profile, cpu)?;
    Ok(Measured { case: case.name, planned_memory_bytes: planned, ..measured })
}

/// Runs `steps` counted steps on batches of `batch` sequences of random tokens.
pub fn time_steps(
    spec: &DecoderSpec,
    batch: usize,
    options: StepOptions,
    steps: usize,
    profile: bool,
    cpu: &Cpu,
) -> Result<Measured, TrainError> {
    let mut training = RandomTraining::new(spec, batch, options, cpu)?;
    let mut seconds: Vec<(f64, f64)> = Vec::new();
    for step in 0..WARM_UP + steps {
        if step == WARM_UP {
            training.plan.plan.set_profiling(profile);
        }
        let begun = Instant::now();
        training.gradient(cpu);
        let computed = begun.elapsed();
        training.update(cpu);
        let taken = begun.elapsed();
        seconds.push((taken.as_secs_f64(), (taken - computed).as_secs_f64()));
    }
    let RandomTraining { decoder, plan, rows, .. } = training;
    let mut seconds = seconds.split_off(WARM_UP);
    seconds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (step_seconds, update_seconds) = seconds[seconds.len() / 2];
    let tokens_per_second = rows.tokens.len() as f64 / step_seconds;
    let peak = peak_flops_per_second(cpu);
    let per_step = |(name, direction, seconds, _): &(&str, &str, f64, u64)| {
        (format!("{name} {direction}"), 1e3 * seconds / steps as f64)
    };
    Ok(Measured {
        case: "",
        isa: cpu.isa().name(),
        compute: cpu.compute().name(),
        optimizer: options.optimizer.name(),
        threads: cpu.pool().threads(),
        recompute: options.activations == Activations::Recomputed,
        parameters: decoder.parameters.count(),
        tokens_per_second,
        step_seconds,
        step_seconds_min: seconds[0].0,
        update_seconds,
        share_of_peak: decoder.spec.training_flops_per_token(spec.context) * tokens_per_second / peak,
        peak_flops_per_second: peak,
        planned_memory_bytes: 0,
        peak_memory_bytes: peak_memory_bytes(),
        profile: plan.plan.profile().map(|profile| profile.rows.iter().map(per_step).collect()).unwrap_or_default(),
    })
}

/// Sequences of random tokens, as long as the context.
#[derive(Debug)]
pub struct RandomRows {
    tokens: Vec<u32>,
    targets: Vec<u32>,
    positions: Vec<u32>,
    weights: Vec<f32>,
    segments: Vec<Segment>,
}

impl RandomRows {
    /// `batch` sequences for a model of this spec.
    pub fn new(spec: &DecoderSpec, batch: usize) -> Self {
        let rows = batch * spec.context;
        let mut random = Stream::new(Key::from_seed(1));
        let mut ids = || (0..rows).map(|_| random.below(spec.vocabulary as u64) as u32).collect();
        Self {
            tokens: ids(),
            targets: ids(),
            positions: (0..rows).map(|row| (row % spec.context) as u32).collect(),
            weights: vec![1.0; rows],
            segments: (0..batch).map(|i| Segment { start: i * spec.context, len: spec.context }).collect(),
        }
    }

    /// Gives them to a plan of as many rows.
    pub fn set(&self, plan: &mut LossPlan) {
        let Self { tokens, targets, positions, weights, segments } = self;
        plan.set(LossRows { tokens, positions, targets, weights, segments });
    }
}

/// Training steps on random tokens, to be timed: forward, backward, clipping, update.
pub struct RandomTraining {
    /// The model.
    pub decoder: Decoder,
    /// What it reads, again and again.
    pub rows: RandomRows,
    plan: LossPlan,
    gradients: Buffer,
    optimizer: Optimizer,
    partials: Vec<f32>,
    steps: i32,
}

impl RandomTraining {
    /// A model of random weights, on batches of `batch` sequences.
    pub fn new(spec: &DecoderSpec, batch: usize, options: StepOptions, cpu: &Cpu) -> Result<Self, TrainError> {
        let mut decoder = Decoder::new(spec.clone());
        decoder.initialize(0, cpu.pool());
        let rows = RandomRows::new(spec, batch);
        let plan = LossPlan::training(&decoder, rows.tokens.len(), options.activations)?;
        let gradients = Buffer::zeroed(decoder.parameters.buffer_len());
        let optimizer = Optimizer::new(options.optimizer, &decoder.parameters);
        Ok(Self { decoder, rows, plan, gradients, optimizer, partials: Vec::new(), steps: 0 })
    }

    /// One step of one micro-batch, as the trainer makes it.
    pub fn step(&mut self, cpu: &Cpu) {
        self.gradient(cpu);
        self.update(cpu);
    }

    /// Forward and backward.
    fn gradient(&mut self, cpu: &Cpu) {
        self.rows.set(&mut self.plan);
        let scale = 1.0 / self.rows.tokens.len() as f32;
        self.plan.train(cpu, &self.decoder.parameters, &mut self.gradients, scale, false);
    }

    /// Clipping and the update.
    fn update(&mut self, cpu: &Cpu) {
        let norm = global_norm(cpu, &self.gradients, &mut self.partials);
        self.steps += 1;
        let correction = |beta: f64| (1.0 / (1.0 - beta.powi(self.steps))) as f32;
        let step = AdamWStep {
            learning_rate: 1e-4,
            beta1: 0.9,
            beta2: 0.99,
            epsilon: 1e-8,
            weight_decay: 0.1,
            correction1: correction(0.9),
            correction2: correction(0.99),
            gradient_scale: 1.0 / norm.max(1.0),
        };
        self.optimizer.update(cpu, &mut self.decoder.parameters, &self.gradients, step);
    }
}
