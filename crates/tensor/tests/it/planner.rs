//! The planner: what it refuses, frozen and tied weights, values nobody kept.

use tsumugi_tensor::{ParametersBuilder, Plan, PlanError, Tape};

use crate::support::{assert_same_bits, every_cpu, train_once};
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
    let error = Plan::training(recorded, loss, &[], &parameters).err();
    assert_eq!(error, Some(PlanError::UnreachedParameters { names: vec!["forgotten.bias".into()] }));
    let (recorded, _, x) = tape(&parameters);
    let error = Plan::training(recorded, x, &[], &parameters).err();
    assert_eq!(error, Some(PlanError::NotALoss { operation: "embedding".into() }));
    parameters.set_trainable(forgotten, false);
    let (recorded, loss, _) = tape(&parameters);
    assert!(Plan::training(recorded, loss, &[], &parameters).is_ok(), "a frozen parameter needs no gradient");
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
