//! The same bits for any number of threads; accumulation that does not depend on how a batch is cut.

use tsumugi_tensor::{Activations, AdamW, AdamWStep, Compute, Cpu, Isa, Plan, Segment, Tape};

use crate::support::{assert_same_bits, noise, noise_ids};
use crate::transformer::{VOCABULARY, parameters, record};

const LONG: usize = 16;

fn step() -> AdamWStep {
    AdamWStep {
        learning_rate: 1e-2,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.1,
        correction1: 10.0,
        correction2: 20.0,
        gradient_scale: 0.7,
    }
}

/// Losses, gradients and parameters of three steps with dropout on 160 rows.
fn three_steps(isa: Isa, compute: Compute, threads: usize) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let cpu = Cpu::with_isa(isa, threads).computing(compute);
    let rows = 10 * LONG;
    let mut parameters = parameters();
    let mut tape = Tape::new();
    let model = record(&mut tape, &parameters, rows, 0.2);
    let mut plan = Plan::training(tape, model.loss, &[], &parameters, Activations::Kept).expect("complete");
    let mut gradients = vec![0.0; parameters.buffer_len()];
    let mut optimizer = AdamW::new(&parameters);
    let mut losses = Vec::new();
    plan.set_segments(&(0..10).map(|i| Segment { start: i * LONG, len: LONG }).collect::<Vec<_>>());
    plan.set_ids(model.positions, &(0..rows as u32).map(|row| row % LONG as u32).collect::<Vec<_>>());
    plan.set(model.weights, &vec![1.0; rows]);
    plan.set_loss_scale(1.0 / rows as f32);
    for index in 0..3 {
        plan.set_ids(model.tokens, &noise_ids(index, rows, VOCABULARY as u32));
        plan.set_ids(model.targets, &noise_ids(index + 9, rows, VOCABULARY as u32));
        plan.set_random_key(0x1234_5678_9abc_def0 * (index + 1));
        plan.train(&cpu, &parameters, &mut gradients, false);
        let norm = tsumugi_tensor::optimizer_step::global_norm(&cpu, &gradients, &mut Vec::new());
        losses.extend([plan.value(model.loss)[0], norm]);
        optimizer.update(&cpu, &mut parameters, &gradients, step());
    }
    (losses, gradients, parameters.buffer().to_vec())
}

#[test]
fn a_training_step_gives_the_same_bits_with_any_number_of_threads() {
    let types = [Compute::F32, Compute::Bf16];
    for (isa, compute) in Isa::available().into_iter().flat_map(|isa| types.map(|compute| (isa, compute))) {
        let one = three_steps(isa, compute, 1);
        assert!(one.0.iter().all(|loss| loss.is_finite()) && one.0[0] != one.0[2]);
        for threads in [2, 3] {
            let more = three_steps(isa, compute, threads);
            assert_same_bits("losses and norms", &more.0, &one.0);
            assert_same_bits("gradients", &more.1, &one.1);
            assert_same_bits("parameters", &more.2, &one.2);
        }
    }
}

/// Loss and gradients of 8 sequences of unequal weights, `batch` of them at a time.
fn accumulated(cpu: &Cpu, batch: usize) -> (f64, Vec<f32>) {
    let parameters = parameters();
    let mut tape = Tape::new();
    let rows = batch * LONG;
    let model = record(&mut tape, &parameters, rows, 0.0);
    let mut plan = Plan::training(tape, model.loss, &[], &parameters, Activations::Kept).expect("complete");
    let all = 8 * LONG;
    let (tokens, targets) = (noise_ids(1, all, VOCABULARY as u32), noise_ids(2, all, VOCABULARY as u32));
    let weights: Vec<f32> = noise(3, all).iter().map(|x| if *x < -0.2 { 0.0 } else { x + 0.3 }).collect();
    plan.set_segments(&(0..batch).map(|i| Segment { start: i * LONG, len: LONG }).collect::<Vec<_>>());
    plan.set_ids(model.positions, &(0..rows as u32).map(|row| row % LONG as u32).collect::<Vec<_>>());
    plan.set_loss_scale(1.0 / weights.iter().sum::<f32>());
    let mut gradients = vec![f32::NAN; parameters.buffer_len()];
    let mut loss = 0.0;
    for micro in 0..8 / batch {
        let range = micro * rows..(micro + 1) * rows;
        plan.set_ids(model.tokens, &tokens[range.clone()]);
        plan.set_ids(model.targets, &targets[range.clone()]);
        plan.set(model.weights, &weights[range]);
        plan.train(cpu, &parameters, &mut gradients, micro > 0);
        loss += f64::from(plan.value(model.loss)[0]);
    }
    let gradients = parameters.iter().flat_map(|(id, _)| gradients[parameters.range(id)].to_vec()).collect();
    (loss, gradients)
}

#[test]
fn accumulation_does_not_depend_on_how_the_batch_is_cut() {
    for isa in Isa::available() {
        let cpu = Cpu::with_isa(isa, 2);
        let whole = accumulated(&cpu, 8);
        let norm = |x: &[f32]| x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        for batch in [1, 2, 4] {
            let parts = accumulated(&cpu, batch);
            assert!((parts.0 - whole.0).abs() <= 1e-6 * whole.0, "loss {} and {}", parts.0, whole.0);
            let difference: Vec<f32> = parts.1.iter().zip(&whole.1).map(|(a, b)| a - b).collect();
            let relative = norm(&difference) / norm(&whole.1);
            assert!(relative <= 1e-6, "gradients differ by {relative:e} with {batch} sequences at a time");
        }
    }
}
