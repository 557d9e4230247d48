//! The planner: what it refuses, frozen and tied weights, values nobody kept.

use tsumugi_tensor::ops::elementwise::Unary;
use tsumugi_tensor::{Activation, Activations, NormKind, ParametersBuilder, Plan, PlanError, Tape};

use crate::support::{assert_same_bits, check_gradients, every_cpu, fill, noise, train_once};
use crate::transformer::{ROWS, parameters, record, set};

#[test]
fn a_parameter_that_the_loss_does_not_use_is_an_error_that_names_it() {
    let mut builder = ParametersBuilder::default();
    let table = builder.add("table", &[4, 3]);
    let head = builder.add("head", &[4, 3]);
    let forgotten = builder.add("forgotten.bias", &[3]);
    let mut parameters = builder.build();
    let tape = |parameters: &tsumugi_tensor::Parameters| {
        let mut tape = Tape::new();
        let (tokens, targets) = (tape.ids(2), tape.ids(2));
        let weights = tape.input(&[2]);
        let (table, head) = (tape.parameter(parameters, table), tape.parameter(parameters, head));
        let x = tape.embedding(tokens, table, None);
        let loss = tape.head_cross_entropy(x, head, targets, weights).0;
        (tape, loss, x)
    };
    let (recorded, loss, _) = tape(&parameters);
    let error = Plan::training(recorded, loss, &[], &parameters, Activations::Kept).err();
    assert_eq!(error, Some(PlanError::UnreachedParameters { names: vec!["forgotten.bias".into()] }));
    let (recorded, _, x) = tape(&parameters);
    let error = Plan::training(recorded, x, &[], &parameters, Activations::Kept).err();
    assert_eq!(error, Some(PlanError::NotALoss { operation: "embedding".into() }));
    parameters.set_trainable(forgotten, false);
    let (recorded, loss, _) = tape(&parameters);
    assert!(
        Plan::training(recorded, loss, &[], &parameters, Activations::Kept).is_ok(),
        "a frozen parameter needs no gradient"
    );
}

#[test]
fn the_loss_is_right_when_nothing_else_is_kept() {
    for cpu in every_cpu(1) {
        let parameters = parameters();
        let run = |keep_nats: bool| {
            let mut tape = Tape::new();
            let model = record(&mut tape, &parameters, ROWS, 0.0);
            let kept = if keep_nats { vec![model.nats] } else { vec![] };
            let (plan, gradients) = train_once(&cpu, tape, model.loss, &kept, &parameters, |plan| set(plan, &model));
            (plan.value(model.loss).to_vec(), gradients)
        };
        let (with, without) = (run(true), run(false));
        assert_same_bits("loss", &without.0, &with.0);
        assert_same_bits("gradients", &without.1, &with.1);
    }
}

#[test]
fn frozen_parameters_get_no_gradient_and_change_no_other() {
    for cpu in every_cpu(2) {
        let run = |frozen: &[&str]| {
            let mut parameters = parameters();
            for name in frozen {
                let id = parameters.find(name).expect("it is there");
                parameters.set_trainable(id, false);
            }
            let mut tape = Tape::new();
            let model = record(&mut tape, &parameters, ROWS, 0.0);
            let (_, gradients) = train_once(&cpu, tape, model.loss, &[], &parameters, |plan| set(plan, &model));
            (parameters, gradients)
        };
        let (_, all) = run(&[]);
        let every_other = ["tokens", "0.qkv", "0.first.norm.bias", "1.second.norm", "1.up"];
        // With everything below the last block frozen, backward stops early.
        let below = ["tokens", "positions", "0.qkv", "0.qkv.bias", "0.first.norm", "0.first.norm.bias"];
        for frozen in [&every_other[..], &below[..]] {
            let (parameters, some) = run(frozen);
            for (id, parameter) in parameters.iter() {
                let range = parameters.range(id);
                if frozen.contains(&parameter.name.as_str()) {
                    assert!(some[range].iter().all(|&g| g == 0.0), "{} is frozen", parameter.name);
                } else {
                    assert_same_bits(&parameter.name, &some[range.clone()], &all[range]);
                }
            }
        }
    }
}

#[test]
fn a_residual_stream_that_is_a_parameter_or_meets_itself_gets_its_whole_gradient() {
    // y = norm(p + p) and the stream p + p, both read by the loss; and with a value instead of the parameter.
    for by_value in [false, true] {
        for cpu in every_cpu(1) {
            let mut builder = ParametersBuilder::default();
            let (stream, weight) = (builder.add("stream", &[3, 5]), builder.add("weight.norm", &[5]));
            let mut parameters = builder.build();
            fill(&mut parameters, 0.8);
            let mut tape = Tape::new();
            let (p, w) = (tape.parameter(&parameters, stream), tape.parameter(&parameters, weight));
            let x = if by_value { tape.unary(Unary::Square, p) } else { p };
            let twice = if by_value { tape.tanh(p) } else { p };
            let (twice, _) = tape.add_normalize(twice, twice, w, None, NormKind::Rms, 1e-5);
            let (sum, y) = tape.add_normalize(x, x, w, None, NormKind::Layer, 1e-5);
            let (again, z) = tape.add_normalize(y, x, w, None, NormKind::Rms, 1e-5);
            let product = tape.multiply(sum, z);
            let all = tape.concat_columns(&[product, y, again, twice]);
            let weights = tape.input(&[3, 20]);
            let loss = tape.weighted_sum_loss(all, weights);
            let numbers = noise(4, 60);
            let (mut plan, gradients) =
                train_once(&cpu, tape, loss, &[all], &parameters, |plan| plan.set(weights, &numbers));
            let value = |plan: &Plan| -> f64 {
                plan.value(all).iter().zip(&numbers).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum()
            };
            check_gradients(&cpu, &mut plan, &mut parameters, &gradients, &value, 2e-3);
        }
    }
}

#[test]
fn a_weight_that_was_computed_gets_its_gradient() {
    // A low-rank update merged into a weight: W + B A, through the coarse layers.
    for cpu in every_cpu(1) {
        let mut builder = ParametersBuilder::default();
        let ids =
            [("x", [4, 6]), ("w", [5, 6]), ("b", [5, 2]), ("a", [2, 6])].map(|(name, shape)| builder.add(name, &shape));
        let mut parameters = builder.build();
        fill(&mut parameters, 0.8);
        let mut tape = Tape::new();
        let [x, w, b, a] = ids.map(|id| tape.parameter(&parameters, id));
        let update = tape.matmul(b, a, false, false);
        let merged = tape.add(w, update);
        let y = tape.linear(x, merged, None, Some(Activation::Silu));
        let head = tape.tanh(merged);
        let back = tape.matmul(y, merged, false, false);
        let (targets, weights) = (tape.ids(4), tape.input(&[4]));
        let (loss, nats) = tape.head_cross_entropy(back, head, targets, weights);
        let (mut plan, gradients) = train_once(&cpu, tape, loss, &[nats], &parameters, |plan| {
            plan.set_ids(targets, &[0, 4, 2, 1]);
            plan.set(weights, &[1.0, 2.0, 0.5, 1.5]);
        });
        let value = |plan: &Plan| -> f64 {
            plan.value(nats).iter().zip([1.0, 2.0, 0.5, 1.5]).map(|(&n, w)| f64::from(n) * w).sum()
        };
        check_gradients(&cpu, &mut plan, &mut parameters, &gradients, &value, 3e-4);
    }
}

#[test]
fn a_loss_that_something_reads_is_refused_and_one_beside_the_root_is_evaluated() {
    let mut builder = ParametersBuilder::default();
    let id = builder.add("x", &[3]);
    let mut parameters = builder.build();
    parameters.values_mut(id).copy_from_slice(&[1.0, 2.0, 6.0]);
    let mut tape = Tape::new();
    let x = tape.parameter(&parameters, id);
    let inner = tape.mean_loss(x);
    let root = tape.weighted_sum_loss(inner, inner);
    let error = Plan::training(tape, root, &[], &parameters, Activations::Kept).err();
    let (loss, operation) = ("mean_loss".to_owned(), "weighted_sum_loss".to_owned());
    assert_eq!(error, Some(PlanError::LossInside { loss, operation }));

    let mut tape = Tape::new();
    let x = tape.parameter(&parameters, id);
    let beside = tape.mean_loss(x);
    let squares = tape.unary(Unary::Square, x);
    let root = tape.mean_loss(squares);
    let cpu = &every_cpu(1)[0];
    let (plan, gradients) = train_once(cpu, tape, root, &[beside], &parameters, |_| {});
    assert_eq!(plan.value(beside), [3.0]);
    assert!((gradients[2] - 4.0).abs() < 1e-6);
}

#[test]
fn values_read_by_many_nodes_sum_their_gradients() {
    // A diamond: one value read by a slice, a norm, a product with itself and a residual addition.
    for cpu in every_cpu(1) {
        let mut builder = ParametersBuilder::default();
        let (p, w) = (builder.add("p", &[4, 6]), builder.add("w.norm", &[6]));
        let mut parameters = builder.build();
        fill(&mut parameters, 0.7);
        let mut tape = Tape::new();
        let (p, w) = (tape.parameter(&parameters, p), tape.parameter(&parameters, w));
        let x = tape.tanh(p);
        let normal = tape.normalize(x, w, None, NormKind::Rms, 1e-5);
        let left = tape.slice_columns(x, 1..4);
        let gram = tape.matmul(x, x, true, false);
        let mixed = tape.matmul(normal, gram, false, false);
        let dropped = tape.dropout(mixed, 0.5); // off in evaluation, so not part of the differences
        let (sum, y) = tape.add_normalize(mixed, x, w, None, NormKind::Layer, 1e-5);
        let all = tape.concat_columns(&[sum, y, left, normal]);
        let weights = tape.input(&[4, 21]);
        let loss = tape.weighted_sum_loss(all, weights);
        let numbers = noise(6, 84);
        let kept = [all, dropped];
        let (mut plan, gradients) =
            train_once(&cpu, tape, loss, &kept, &parameters, |plan| plan.set(weights, &numbers));
        let value = |plan: &Plan| -> f64 {
            plan.value(all).iter().zip(&numbers).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum()
        };
        check_gradients(&cpu, &mut plan, &mut parameters, &gradients, &value, 2e-3);
    }
}
