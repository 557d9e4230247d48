//! Coarse operations, as a plan runs them, against their references.

use std::sync::Arc;

use tsumugi_tensor::ops::cross_entropy::cross_entropy_reference;
use tsumugi_tensor::ops::embedding::{embedding_backward_reference, embedding_reference};
use tsumugi_tensor::ops::feed_forward::gated_reference;
use tsumugi_tensor::ops::linear::linear_reference;
use tsumugi_tensor::ops::matmul::matmul_reference;
use tsumugi_tensor::ops::normalize::normalize_reference;
use tsumugi_tensor::ops::rotary::rotary_reference;
use tsumugi_tensor::{
    Activation, Activations, Cpu, Heads, Isa, NormKind, ParameterId, Parameters, ParametersBuilder, Plan, RotaryTable,
    Tape, Var,
};

use crate::support::{assert_close, assert_same_bits, every_cpu, noise, noise_ids, panics, train_once};
use crate::transformer::{self, ROWS, record, set};

/// Evaluates one value of a tape without parameters.
fn evaluate(cpu: &Cpu, parameters: &Parameters, tape: Tape, value: Var, set: impl FnOnce(&mut Plan)) -> Vec<f32> {
    let mut plan = Plan::forward_only(tape, &[value]);
    set(&mut plan);
    plan.evaluate(cpu, parameters);
    plan.value(value).to_vec()
}

fn one_parameter(shape: &[usize], values: &[f32]) -> (Parameters, ParameterId) {
    let mut builder = ParametersBuilder::default();
    let id = builder.add("weight", shape);
    let mut parameters = builder.build();
    parameters.values_mut(id).copy_from_slice(values);
    (parameters, id)
}

#[test]
fn rows_of_tables_and_of_values() {
    for cpu in every_cpu(2) {
        for (rows, width) in [(1, 1), (70, 5), (3, 200), (130, 64)] {
            let table = noise(1, 11 * width);
            let (parameters, id) = one_parameter(&[11, width], &table);
            let ids = noise_ids(2, rows, 11);
            let mut tape = Tape::new();
            let (tokens, chosen) = (tape.ids(rows), tape.ids(3));
            let table_var = tape.parameter(&parameters, id);
            let x = tape.embedding(tokens, table_var, None);
            let picked = tape.select_rows(x, chosen);
            let mut plan = Plan::forward_only(tape, &[x, picked]);
            plan.set_ids(tokens, &ids);
            plan.set_ids(chosen, &[rows as u32 - 1, 0, rows as u32 - 1]);
            plan.evaluate(&cpu, &parameters);
            let want = embedding_reference(&ids, &table, width);
            assert_same_bits("embedding", plan.value(x), &want);
            let row = |i: usize| want[i * width..][..width].to_vec();
            assert_same_bits("rows", plan.value(picked), &[row(rows - 1), row(0), row(rows - 1)].concat());
        }
    }
}

#[test]
fn the_gradients_of_tables_sum_over_equal_ids() {
    const TABLE: usize = 300;
    for cpu in every_cpu(1).iter().chain(&every_cpu(3)) {
        // Ids that are all the same, few, in two bytes; more rows than the tasks have in their smallest size.
        for (rows, limit) in [(1, 1), (1, 300), (2, 2), (17, 3), (150, 9), (1100, 1), (1100, 300)] {
            for width in [1, 16, 70] {
                let (parameters, id) = one_parameter(&[TABLE, width], &noise(1, TABLE * width));
                let (ids, dy) = (noise_ids(2, rows, limit), noise(3, rows * width));
                let mut tape = Tape::new();
                let (tokens, weights) = (tape.ids(rows), tape.input(&[rows, width]));
                let table = tape.parameter(&parameters, id);
                let x = tape.embedding(tokens, table, None);
                let loss = tape.weighted_sum_loss(x, weights);
                let (mut plan, mut gradients) = train_once(cpu, tape, loss, &[], &parameters, |plan| {
                    plan.set_ids(tokens, &ids);
                    plan.set(weights, &dy);
                });
                let mut want = vec![0.0; TABLE * width];
                embedding_backward_reference(&ids, &dy, width, &mut want);
                assert_same_bits("replaced", &gradients[parameters.range(id)], &want);
                plan.train(cpu, &parameters, &mut gradients, true);
                embedding_backward_reference(&ids, &dy, width, &mut want);
                assert_same_bits("added to", &gradients[parameters.range(id)], &want);
                plan.set_ids(tokens, &vec![TABLE as u32; rows]);
                assert!(panics(|| plan.train(cpu, &parameters, &mut gradients, false)), "an id outside of the table");
            }
        }
    }
}

#[test]
fn linear_layers_of_small_and_large_shapes() {
    for cpu in every_cpu(2) {
        for (rows, inputs, outputs) in [(1, 1, 1), (3, 5, 7), (17, 33, 20), (100, 40, 130)] {
            let (x, w) = (noise(1, rows * inputs), noise(2, outputs * inputs));
            let mut builder = ParametersBuilder::default();
            let ids = (builder.add("w", &[outputs, inputs]), builder.add("b", &[outputs]));
            let mut parameters = builder.build();
            parameters.values_mut(ids.0).copy_from_slice(&w);
            parameters.values_mut(ids.1).copy_from_slice(&noise(3, outputs));
            for bias in [false, true] {
                for activation in Activation::ALL.map(Some).into_iter().chain([None]) {
                    let mut tape = Tape::new();
                    let input = tape.input(&[rows, inputs]);
                    let weight = tape.parameter(&parameters, ids.0);
                    let b = bias.then(|| tape.parameter(&parameters, ids.1));
                    let y = tape.linear(input, weight, b, activation);
                    let got = evaluate(&cpu, &parameters, tape, y, |plan| plan.set(input, &x));
                    let b = if bias { parameters.values(ids.1) } else { &[] };
                    let want = linear_reference(&x, &w, b, inputs, activation);
                    let bound = 3e-7 * (inputs as f32 + 4.0);
                    assert_close(&format!("{activation:?}"), &got, &want, bound, bound);
                }
            }
        }
    }
}

#[test]
fn norms_with_and_without_a_residual_stream() {
    for cpu in every_cpu(2) {
        for (rows, width) in [(1, 1), (33, 12), (70, 65)] {
            for kind in NormKind::ALL {
                let (x, stream, w) = (noise(1, rows * width), noise(2, rows * width), noise(3, width));
                let (parameters, id) = one_parameter(&[width], &w);
                let mut tape = Tape::new();
                let (a, b) = (tape.input(&[rows, width]), tape.input(&[rows, width]));
                let weight = tape.parameter(&parameters, id);
                let alone = tape.normalize(a, weight, None, kind, 1e-3);
                let (sum, both) = tape.add_normalize(a, b, weight, None, kind, 1e-3);
                let mut plan = Plan::forward_only(tape, &[alone, sum, both]);
                plan.set(a, &x);
                plan.set(b, &stream);
                plan.evaluate(&cpu, &parameters);
                let added: Vec<f32> = x.iter().zip(&stream).map(|(x, s)| x + s).collect();
                assert_close("alone", plan.value(alone), &normalize_reference(&x, &w, &[], kind, 1e-3), 4e-6, 4e-6);
                assert_same_bits("sum", plan.value(sum), &added);
                assert_close("both", plan.value(both), &normalize_reference(&added, &w, &[], kind, 1e-3), 4e-6, 4e-6);
            }
        }
    }
}

#[test]
fn rotary_turns_queries_and_keys_by_their_positions_and_leaves_values() {
    const POSITIONS: usize = 5000;
    for cpu in every_cpu(2) {
        for (width, turned) in [(2, 2), (8, 8), (24, 6), (24, 24), (80, 80), (80, 20)] {
            let heads = Heads::new(3, 1, width, 1.0);
            let frequencies = RotaryTable::frequencies(turned, 10_000.0);
            let table = Arc::new(RotaryTable::new(POSITIONS, &frequencies, 1.0));
            let positions: Vec<u32> = (0..70).map(|i| i * 71).collect();
            let qkv = noise(1, 70 * heads.row());
            let mut tape = Tape::new();
            let (x, ids) = (tape.input(&[70, heads.row()]), tape.ids(70));
            let y = tape.rotary(x, ids, &heads, &table);
            let none = ParametersBuilder::default().build();
            let got = evaluate(&cpu, &none, tape, y, |plan| {
                plan.set(x, &qkv);
                plan.set_ids(ids, &positions);
            });
            for (row, &position) in positions.iter().enumerate() {
                for head in 0..5 {
                    let at = row * heads.row() + head * width;
                    let x = &qkv[at..][..width];
                    let turned = rotary_reference(x, position as usize, &frequencies);
                    let want = if head < 4 { &turned[..] } else { x };
                    assert_close(&format!("row {row} head {head}"), &got[at..][..width], want, 0.0, 4e-7);
                }
            }
        }
    }
}

#[test]
fn gate_and_up_side_by_side() {
    for cpu in every_cpu(2) {
        for ((rows, width), activation) in [(1, 1), (40, 9), (5, 100)].into_iter().zip(Activation::ALL.iter().cycle()) {
            let x = noise(1, rows * 2 * width);
            let mut tape = Tape::new();
            let input = tape.input(&[rows, 2 * width]);
            let y = tape.gated(input, *activation);
            let none = ParametersBuilder::default().build();
            let got = evaluate(&cpu, &none, tape, y, |plan| plan.set(input, &x));
            assert_close("gated", &got, &gated_reference(&x, width, *activation), 1e-6, 4e-7);
        }
    }
}

#[test]
fn the_head_in_several_chunks_of_rows() {
    // More than 2^21 logits, and a last chunk that is shorter.
    const HEAD_ROWS: usize = 150;
    const VOCABULARY: usize = 30_011;
    const WIDTH: usize = 6;
    let (x, head) = (noise(1, HEAD_ROWS * WIDTH), noise(2, VOCABULARY * WIDTH));
    let targets = noise_ids(3, HEAD_ROWS, VOCABULARY as u32);
    let weights: Vec<f32> = noise(4, HEAD_ROWS).iter().map(|w| w + 1.0).collect();
    let logits = matmul_reference(&x, &head, (HEAD_ROWS, VOCABULARY, WIDTH), [false, true]);
    let nats = cross_entropy_reference(&logits, &targets);
    let loss: f64 = 0.01 * nats.iter().zip(&weights).map(|(n, &w)| n * f64::from(w)).sum::<f64>();
    let (mut dx, mut dhead) = (vec![0.0_f64; x.len()], vec![0.0_f64; head.len()]);
    for row in 0..HEAD_ROWS {
        let target = targets[row] as usize;
        let at_target = f64::from(logits[row * VOCABULARY + target]);
        for v in 0..VOCABULARY {
            let p = (f64::from(logits[row * VOCABULARY + v]) - at_target - nats[row]).exp();
            let d = 0.01 * f64::from(weights[row]) * (p - f64::from(u8::from(v == target)));
            for i in 0..WIDTH {
                dx[row * WIDTH + i] += d * f64::from(head[v * WIDTH + i]);
                dhead[v * WIDTH + i] += d * f64::from(x[row * WIDTH + i]);
            }
        }
    }
    let narrow = |x: &[f64]| -> Vec<f32> { x.iter().map(|&x| x as f32).collect() };
    let mut builder = ParametersBuilder::default();
    let ids = (builder.add("x", &[HEAD_ROWS, WIDTH]), builder.add("head", &[VOCABULARY, WIDTH]));
    let mut parameters = builder.build();
    parameters.values_mut(ids.0).copy_from_slice(&x);
    parameters.values_mut(ids.1).copy_from_slice(&head);
    for cpu in every_cpu(2) {
        let mut tape = Tape::new();
        let (a, b) = (tape.parameter(&parameters, ids.0), tape.parameter(&parameters, ids.1));
        let (ids_of, weights_of) = (tape.ids(HEAD_ROWS), tape.input(&[HEAD_ROWS]));
        let (loss_var, nats_var) = tape.head_cross_entropy(a, b, ids_of, weights_of);
        let (mut plan, mut gradients) = train_once(&cpu, tape, loss_var, &[nats_var], &parameters, |plan| {
            plan.set_ids(ids_of, &targets);
            plan.set(weights_of, &weights);
            plan.set_loss_scale(0.01);
        });
        assert_close("nats", plan.value(nats_var), &narrow(&nats), 2e-6, 0.0);
        assert!((f64::from(plan.value(loss_var)[0]) - loss).abs() <= 1e-6 * loss);
        assert_close("x", &gradients[parameters.range(ids.0)], &narrow(&dx), 1e-4, 1e-7);
        assert_close("head", &gradients[parameters.range(ids.1)], &narrow(&dhead), 1e-4, 1e-7);
        let once = gradients.clone();
        plan.train(&cpu, &parameters, &mut gradients, true);
        assert_close("accumulated", &gradients, &once.iter().map(|g| 2.0 * g).collect::<Vec<_>>(), 1e-6, 1e-9);
    }
}

#[test]
fn dropout_has_one_mask_in_both_directions_and_none_in_evaluation() {
    const LEN: usize = 40_000;
    let (parameters, id) = one_parameter(&[LEN / 8, 8], &[1.0; LEN]);
    for isa in Isa::available() {
        let mut all = Vec::new();
        for (threads, key) in [(1, 5), (2, 5), (3, 6)] {
            let cpu = Cpu::with_isa(isa, threads);
            let mut tape = Tape::new();
            let x = tape.parameter(&parameters, id);
            let x = tape.scale(x, 1.0);
            let first = tape.dropout(x, 0.25);
            let second = tape.dropout(first, 0.5);
            let weights = tape.input(&[LEN / 8, 8]);
            let loss = tape.weighted_sum_loss(second, weights);
            let numbers = noise(1, LEN);
            let (mut plan, gradients) = train_once(&cpu, tape, loss, &[first, second], &parameters, |plan| {
                plan.set(weights, &numbers);
                plan.set_random_key(key);
            });
            let (y, z) = (plan.value(first).to_vec(), plan.value(second).to_vec());
            let want: Vec<f32> = z.iter().zip(&numbers).map(|(z, w)| z * w).collect();
            assert_close("gradient", &gradients[parameters.range(id)], &want, 1e-6, 0.0);
            let kept = |v: &[f32]| v.iter().filter(|&&v| v != 0.0).count() as f64 / LEN as f64;
            assert!((kept(&y) - 0.75).abs() < 0.015 && (kept(&z) - 0.375).abs() < 0.015, "{} {}", kept(&y), kept(&z));
            all.push(z);
            plan.evaluate(&cpu, &parameters);
            assert!(plan.value(second).iter().all(|&y| y == 1.0));
        }
        assert_eq!(all[0], all[1], "threads");
        assert_ne!(all[0], all[2], "keys");
    }
}

#[test]
fn packed_weights_give_the_bits_of_plain_ones() {
    for cpu in every_cpu(2) {
        let plain = transformer::parameters();
        let run = |parameters: &Parameters| {
            let mut tape = Tape::new();
            let model = record(&mut tape, parameters, ROWS, 0.1);
            let mut plan = Plan::forward_only(tape, &[model.nats, model.loss]);
            set(&mut plan, &model);
            plan.evaluate(&cpu, parameters);
            [plan.value(model.nats), plan.value(model.loss)].concat()
        };
        let want = run(&plain);
        let packed = transformer::parameters().pack(&cpu, |parameter| parameter.name != "positions");
        assert_same_bits("packed", &run(&packed), &want);
        assert!(packed.buffer_len() < plain.buffer_len() / 2);
        let mut tape = Tape::new();
        let model = record(&mut tape, &plain, ROWS, 0.0);
        let (mut trained, _) = train_once(&cpu, tape, model.loss, &[model.nats], &plain, |plan| set(plan, &model));
        trained.evaluate(&cpu, &plain);
        assert_same_bits("a plan for training", trained.value(model.nats), &want[..ROWS]);
    }
}

#[test]
fn a_nan_in_any_parameter_comes_out_in_the_loss() {
    for cpu in every_cpu(1) {
        let mut parameters = transformer::parameters();
        let mut tape = Tape::new();
        let model = record(&mut tape, &parameters, ROWS, 0.0);
        let mut plan = Plan::training(tape, model.loss, &[], &parameters, Activations::Kept).expect("complete");
        set(&mut plan, &model);
        let mut gradients = vec![0.0; parameters.buffer_len()];
        let ids: Vec<ParameterId> = parameters.iter().map(|(id, _)| id).collect();
        for id in ids {
            for bad in [f32::NAN, f32::INFINITY] {
                let old = parameters.values(id)[0];
                parameters.values_mut(id)[0] = bad;
                plan.train(&cpu, &parameters, &mut gradients, false);
                let (loss, name) = (plan.value(model.loss)[0], &parameters.get(id).name);
                assert!(!loss.is_finite(), "{bad} in `{name}` gives the loss {loss}");
                parameters.values_mut(id)[0] = old;
            }
        }
        plan.train(&cpu, &parameters, &mut gradients, false);
        assert!(plan.value(model.loss)[0].is_finite() && gradients.iter().all(|g| g.is_finite()), "and is forgotten");
    }
}
