//! What is bound by memory: norms, softmax, functions of each number, embedding, optimizer. Bytes are those of each operand
//! read and each result written once, of arrays that no cache holds.

use tsumugi_tensor::kernels::elementwise::{activate, exponential};
use tsumugi_tensor::memory::Buffer;
use tsumugi_tensor::optimizer_step::global_norm;
use tsumugi_tensor::{
    Activation, Activations, AdamW, AdamWStep, Isa, NormKind, Parameters, ParametersBuilder, Plan, Tape, Var,
};

use crate::harness::{Bench, Seconds, noise, time};

/// Rows and columns of a value: 48 MiB.
const ROWS: usize = 16_384;
const WIDTH: usize = 768;
const VOCABULARY: usize = 8192;
/// Numbers of a pass over flat memory: 64 MiB.
const LEN: usize = 16 << 20;
/// Numbers that stay in the first-level cache, with their results.
const SMALL: usize = 2048;
const CHUNK: usize = 1 << 15;
const RUNS: usize = 7;

/// Prints a row for each.
pub fn run(bench: &Bench) {
    elementwise(bench);
    optimizer(bench);
    let value = (4 * ROWS * WIDTH) as f64;
    // Name, values that forward and backward read and write, and what is recorded.
    let operations: [(&str, [f64; 2], Record); 4] = [
        ("embedding", [2.0, 1.0 + VOCABULARY as f64 / ROWS as f64], |_, x| x),
        ("normalize", [2.0, 3.0], |_, x| x),
        ("softmax", [2.0, 3.0], |tape, x| tape.softmax(x)),
        ("activation", [2.0, 3.0], |tape, x| tape.activation(x, Activation::GeluTanh)),
    ];
    for (name, values, record) in operations {
        operation(bench, name, values.map(|count| count * value), record);
    }
    cross_entropy(bench);
}

/// What is between the embedding and the norm.
type Record = fn(&mut Tape, Var) -> Var;

/// Functions of each number, in memory and in cache.
fn elementwise(bench: &Bench) {
    type Function = fn(Isa, &[f32], &mut [f32]);
    let functions: [(&str, Function); 4] = [
        ("exp", exponential),
        ("tanh", |isa, x, y| activate(isa, Activation::Tanh, x, y)),
        ("gelu", |isa, x, y| activate(isa, Activation::GeluTanh, x, y)),
        ("silu", |isa, x, y| activate(isa, Activation::Silu, x, y)),
    ];
    let cpu = &bench.f32;
    for (name, function) in functions {
        let (in_memory, in_cache) = (format!("elementwise {name} in memory"), format!("elementwise {name} in cache"));
        if bench.wants(&in_memory) {
            let (x, mut y) = (noise(LEN), Buffer::zeroed(LEN));
            let [seconds] = time([&mut || {
                cpu.pool()
                    .split([(&mut y, CHUNK)], |index, [y]| function(cpu.isa(), &x[index * CHUNK..][..y.len()], y));
            }]);
            bench.print_bytes(&in_memory, (8 * LEN) as f64, seconds);
        }
        if bench.wants(&in_cache) {
            let calls = LEN / SMALL / cpu.pool().threads();
            let x = noise(SMALL);
            let [seconds] = time([&mut || {
                cpu.pool().run_on_every_thread(&|_| {
                    let mut y = [0.0; SMALL];
                    (0..calls).for_each(|_| function(cpu.isa(), &x, std::hint::black_box(&mut y)));
                });
            }]);
            bench.print_bytes(&in_cache, (8 * calls * SMALL * cpu.pool().threads()) as f64, seconds);
        }
    }
}

fn optimizer(bench: &Bench) {
    let names = ["adamw", "gradient norm"];
    if !names.iter().any(|name| bench.wants(name)) {
        return;
    }
    let cpu = &bench.f32;
    let mut parameters = parameters(&[LEN / WIDTH, WIDTH]);
    let gradients = noise(parameters.buffer_len());
    let (mut optimizer, mut partials) = (AdamW::new(&parameters), Vec::new());
    let step = AdamWStep {
        learning_rate: 1e-4,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-8,
        weight_decay: 0.1,
        correction1: 1.0,
        correction2: 1.0,
        gradient_scale: 1.0,
    };
    let numbers = gradients.len() as f64;
    let [adamw] = time([&mut || optimizer.update(cpu, &mut parameters, &gradients, step)]);
    bench.print_bytes(names[0], 28.0 * numbers, adamw);
    let [norm] = time([&mut || {
        std::hint::black_box(global_norm(cpu, &gradients, &mut partials));
    }]);
    bench.print_bytes(names[1], 4.0 * numbers, norm);
}

/// A table of noise, and the weight of a norm of its rows.
fn parameters(shape: &[usize]) -> Parameters {
    let mut builder = ParametersBuilder::default();
    let id = builder.add("table", shape);
    builder.add("weight", &shape[1..]);
    let mut parameters = builder.build();
    let values = noise(shape.iter().product());
    parameters.values_mut(id).copy_from_slice(&values);
    parameters
}

/// An operation of a tape (embedding, `record`, norm, mean), as its profile has it. The gradient that comes in is that of a mean.
fn operation(bench: &Bench, name: &str, bytes: [f64; 2], record: Record) {
    let rows = ["forward", "backward"].map(|direction| format!("{name} {direction}"));
    if !rows.iter().any(|row| bench.wants(row)) {
        return;
    }
    let parameters = parameters(&[VOCABULARY, WIDTH]);
    let find = |name: &str| parameters.find(name).expect("declared above");
    let mut tape = Tape::new();
    let tokens = tape.ids(ROWS);
    let (table, weight) = (tape.parameter(&parameters, find("table")), tape.parameter(&parameters, find("weight")));
    let x = tape.embedding(tokens, table, None);
    let y = record(&mut tape, x);
    let y = tape.normalize(y, weight, None, NormKind::Layer, 1e-5);
    let loss = tape.mean_loss(y);
    let mut plan = Plan::training(tape, loss, &[], &parameters, Activations::Kept).expect("it is differentiable");
    let ids: Vec<u32> = (0..ROWS as u32).map(|row| row.wrapping_mul(2_654_435_761) % VOCABULARY as u32).collect();
    plan.set_ids(tokens, &ids);
    let mut gradients = Buffer::zeroed(parameters.buffer_len());
    let mut samples = [const { Vec::new() }; 2];
    for run in 0..=RUNS {
        plan.set_profiling(true);
        plan.train(&bench.f32, &parameters, &mut gradients, false);
        let profile = plan.profile().expect("it is on");
        for (direction, samples) in ["forward", "backward"].into_iter().zip(&mut samples) {
            let calls = profile.rows.iter().filter(|row| row.0 == name && row.1 == direction);
            samples.extend(calls.filter(|_| run > 0).map(|row| row.2 / row.3 as f64));
        }
    }
    for ((row, samples), bytes) in rows.iter().zip(samples).zip(bytes) {
        bench.print_bytes(row, bytes, Seconds::of(samples));
    }
}

/// The head's rows: logits become their own gradient.
fn cross_entropy(bench: &Bench) {
    let name = "cross-entropy of rows";
    if !bench.wants(name) {
        return;
    }
    const LOGITS: usize = 256 * VOCABULARY;
    let mut logits = noise(LOGITS);
    let cpu = &bench.f32;
    let [seconds] = time([&mut || {
        cpu.pool().split([(&mut logits, 4 * VOCABULARY)], |_, [rows]| {
            for row in rows.chunks_exact_mut(VOCABULARY) {
                std::hint::black_box(tsumugi_tensor::kernels::rows::cross_entropy(cpu.isa(), row, 7, 1.0));
            }
        });
    }]);
    bench.print_bytes(name, (8 * LOGITS) as f64, seconds);
}
