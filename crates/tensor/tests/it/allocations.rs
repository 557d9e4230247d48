//! A training step allocates nothing after the first.
//!
//! Counted are the allocations of the calling thread, which does every kind of task that the workers do.

use allocation_counter::measure;
use tsumugi_tensor::optimizer_step::global_norm;
use tsumugi_tensor::{Activations, AdamW, AdamWStep, Cpu, Isa, Plan, Segment, Tape};

use crate::{support, transformer};

/// Allocations of each of `steps` steps.
fn count(isa: Isa, threads: usize, steps: usize) -> Vec<u64> {
    const LONG: usize = 16;
    const ROWS: usize = 8 * LONG;
    let cpu = Cpu::with_isa(isa, threads);
    let mut parameters = transformer::parameters();
    let mut tape = Tape::new();
    let model = transformer::record(&mut tape, &parameters, ROWS, 0.1);
    let mut plan = Plan::training(tape, model.loss, &[], &parameters, Activations::Recomputed).expect("complete");
    let mut gradients = vec![0.0; parameters.buffer_len()];
    let (mut optimizer, mut partials) = (AdamW::new(&parameters), Vec::new());
    let segments: Vec<Segment> = (0..8).map(|i| Segment { start: i * LONG, len: LONG }).collect();
    let positions: Vec<u32> = (0..ROWS as u32).map(|row| row % LONG as u32).collect();
    let tokens = support::noise_ids(1, ROWS, transformer::VOCABULARY as u32);
    let step = AdamWStep {
        learning_rate: 1e-3,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.1,
        correction1: 10.0,
        correction2: 20.0,
        gradient_scale: 1.0,
    };
    let mut counts = Vec::with_capacity(steps);
    for index in 0..steps {
        let counted = measure(|| {
            plan.set_segments(&segments);
            plan.set_ids(model.positions, &positions);
            plan.set_ids(model.tokens, &tokens);
            plan.set_ids(model.targets, &tokens);
            plan.set(model.weights, &[1.0; ROWS]);
            plan.set_random_key(index as u64);
            plan.train(&cpu, &parameters, &mut gradients, false);
            let norm = global_norm(&cpu, &gradients, &mut partials);
            assert!(norm.is_finite());
            optimizer.update(&cpu, &mut parameters, &gradients, step);
        });
        counts.push(counted.count_total);
    }
    counts
}

#[test]
fn a_training_step_allocates_nothing_after_the_first() {
    for isa in Isa::available() {
        let one = count(isa, 1, 10);
        assert!(one[1..].iter().all(|&count| count == 0), "{} with 1 thread: {one:?}", isa.name());
        // A thread makes its scratch memory when it first gets a task that needs some, which may be later.
        let two = count(isa, 2, 60);
        let (late, steps) = (two[1..].iter().sum::<u64>(), two[1..].iter().filter(|&&count| count > 0).count());
        assert!(late <= 6 && steps <= 4, "{} with 2 threads: {late} allocations in {steps} steps", isa.name());
    }
}

#[test]
fn the_counter_counts() {
    assert!(measure(|| drop(std::hint::black_box(vec![1_u8; 100]))).count_total == 1);
}
