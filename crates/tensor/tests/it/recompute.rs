//! Blocks that are computed again before their backward (Chen et al. 2016): the same bits for less memory.

use tsumugi_tensor::{Activations, Compute, Cpu, Parameters, Plan, Tape};

use crate::support::{assert_same_bits, every_cpu, noise_ids, panics};
use crate::transformer::{ROWS, VOCABULARY, parameters, record, set};

/// Loss and gradients of three micro-batches, summed.
fn accumulated(cpu: &Cpu, parameters: &Parameters, dropout: f32, how: Activations) -> (f32, Vec<f32>) {
    let mut tape = Tape::new();
    let model = record(&mut tape, parameters, ROWS, dropout);
    let mut plan = Plan::training(tape, model.loss, &[], parameters, how).expect("complete");
    set(&mut plan, &model);
    let (mut loss, mut gradients) = (0.0, vec![0.0; parameters.buffer_len()]);
    for micro in 0..3 {
        plan.set_ids(model.tokens, &noise_ids(micro + 5, ROWS, VOCABULARY as u32));
        plan.set_random_key(0x9abc_def0 * (micro + 1));
        plan.train(cpu, parameters, &mut gradients, micro > 0);
        loss += plan.value(model.loss)[0];
    }
    (loss, gradients)
}

#[test]
fn recomputed_blocks_give_the_bits_of_kept_ones() {
    let mut parameters = parameters();
    for frozen in [None, Some("tokens"), Some("1.up")] {
        if let Some(name) = frozen {
            let id = parameters.find(name).expect("it is there");
            parameters.set_trainable(id, false);
        }
        let computes = [Compute::F32, Compute::Bf16];
        let cpus = every_cpu(2).into_iter().flat_map(|cpu| computes.map(|compute| cpu.computing(compute)));
        for cpu in cpus {
            for dropout in [0.0, 0.3] {
                let kept = accumulated(&cpu, &parameters, dropout, Activations::Kept);
                let recomputed = accumulated(&cpu, &parameters, dropout, Activations::Recomputed);
                assert_same_bits("loss", &[recomputed.0], &[kept.0]);
                assert_same_bits("gradients", &recomputed.1, &kept.1);
            }
        }
    }
}

#[test]
fn only_what_is_missing_runs_again() {
    let (parameters, cpu) = (parameters(), &every_cpu(1)[0]);
    let mut tape = Tape::new();
    let model = record(&mut tape, &parameters, ROWS, 0.0);
    let mut plan = Plan::training(tape, model.loss, &[], &parameters, Activations::Recomputed).expect("complete");
    set(&mut plan, &model);
    plan.set_profiling(true);
    plan.train(cpu, &parameters, &mut vec![0.0; parameters.buffer_len()], false);
    let rows = &plan.profile().expect("it is on").rows;
    let again = |name: &str| rows.iter().find(|row| row.0 == name && row.1 == "again").map_or(0, |row| row.3);
    // Of two layers: queries to values, output and up, but not down, whose result enters the next layer.
    assert_eq!(again("linear"), 6);
    assert_eq!(again("attention"), 2);
    assert_eq!([again("normalize"), again("add_normalize"), again("rotary"), again("gated")], [1, 3, 1, 1]);
    assert_eq!([again("embedding"), again("head_cross_entropy")], [0, 0], "outside of blocks");
}

#[test]
fn a_block_inside_of_a_block_is_refused() {
    let parameters = parameters();
    let x = parameters.find("tokens").expect("it is there");
    assert!(panics(|| {
        let mut tape = Tape::new();
        tape.block(|tape| {
            let x = tape.parameter(&parameters, x);
            let y = tape.tanh(x);
            tape.block(|tape| tape.tanh(y))
        });
    }));
}
