//! Training loss, gradients and ten steps of AdamW against what `transformers` and PyTorch computed.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use tsumugi_base::testing::temporary_folder;
use tsumugi_files::{ModelFiles, to_f32};
use tsumugi_models::plans::LossRows;
use tsumugi_models::{Decoder, LossPlan};
use tsumugi_tensor::optimizer_step::global_norm;
use tsumugi_tensor::threads::Pool;
use tsumugi_tensor::{Activations, AdamW, AdamWStep, Cpu, Isa, Segment};

use crate::goldens::{GATE, fixtures};

struct Golden {
    json: Value,
    tokens: Vec<u32>,
    targets: Vec<u32>,
    positions: Vec<u32>,
    segments: Vec<Segment>,
}

/// Both sequences in one batch; each token but the last predicts the next.
fn read(folder: &Path) -> Golden {
    let json: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("golden.json")).unwrap()).unwrap();
    let ids: Vec<Vec<u32>> = serde_json::from_value(json["ids"].clone()).unwrap();
    let (mut tokens, mut targets, mut positions, mut segments) = (vec![], vec![], vec![], vec![]);
    for ids in &ids {
        segments.push(Segment { start: tokens.len(), len: ids.len() - 1 });
        tokens.extend_from_slice(&ids[..ids.len() - 1]);
        targets.extend_from_slice(&ids[1..]);
        positions.extend(0..ids.len() as u32 - 1);
    }
    Golden { json, tokens, targets, positions, segments }
}

struct Trainer {
    plan: LossPlan,
    gradients: Vec<f32>,
}

impl Trainer {
    fn new(decoder: &Decoder, golden: &Golden) -> Self {
        let mut plan = LossPlan::training(decoder, golden.tokens.len(), Activations::Kept).unwrap();
        plan.set(LossRows {
            tokens: &golden.tokens,
            positions: &golden.positions,
            targets: &golden.targets,
            weights: &vec![1.0; golden.tokens.len()],
            segments: &golden.segments,
        });
        Self { plan, gradients: vec![0.0; decoder.parameters.buffer_len()] }
    }

    fn loss(&mut self, cpu: &Cpu, decoder: &Decoder) -> f64 {
        let scale = 1.0 / self.plan.nats().len() as f32;
        f64::from(self.plan.train(cpu, &decoder.parameters, &mut self.gradients, scale, false))
    }
}

fn load(folder: &Path) -> Decoder {
    Decoder::load(&ModelFiles::admit(folder, &GATE).unwrap(), &Pool::new(2)).unwrap()
}

fn assert_near(found: f64, expected: f64, tolerance: f64, what: &str) {
    assert!((found - expected).abs() <= tolerance, "{what}: {found} is not {expected}");
}

#[test]
fn loss_and_gradients_equal_pytorch_on_every_instruction_set() {
    for folder in fixtures() {
        let golden = read(&folder);
        let decoder = load(&folder);
        for isa in Isa::available() {
            let cpu = Cpu::with_isa(isa, 2);
            let mut trainer = Trainer::new(&decoder, &golden);
            let what = format!("{} on {}", folder.file_name().unwrap().display(), isa.name());
            let loss = trainer.loss(&cpu, &decoder);
            assert_near(loss, golden.json["loss_nats"].as_f64().unwrap(), 5e-6, &what);
            // Gradients laid out as weights, saved as a checkpoint, have the outside names and shapes.
            let mut as_weights = Decoder::new(decoder.spec.clone());
            as_weights.parameters.buffer_mut().copy_from_slice(&trainer.gradients);
            let saved = temporary_folder();
            as_weights.save(saved.path(), &BTreeMap::new()).unwrap();
            let tensors = ModelFiles::admit(saved.path(), &GATE).unwrap().tensors().unwrap();
            let expected = golden.json["gradients"].as_object().unwrap();
            assert_eq!(tensors.names().count(), expected.len(), "{what}: parameters");
            for (name, expected) in expected {
                let tensor = tensors.get(name).unwrap_or_else(|| panic!("{what}: no gradient of {name}"));
                compare_gradient(&to_f32(&tensor).unwrap(), expected, &format!("{what}, {name}"));
            }
        }
    }
}

fn compare_gradient(found: &[f32], expected: &Value, what: &str) {
    let norm = expected["norm"].as_f64().unwrap();
    assert!(norm > 0.0, "{what}: a golden of nothing");
    let found_norm = found.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    assert_near(found_norm, norm, 2e-5 * norm, &format!("norm of {what}"));
    // Errors of the elements are independent, so the sum's grows with the root of their number; so does the norm.
    let sum: f64 = found.iter().map(|&x| f64::from(x)).sum();
    assert_near(sum, expected["sum"].as_f64().unwrap(), 1e-4 * norm + 1e-6, &format!("sum of {what}"));
    let first: Vec<f64> = serde_json::from_value(expected["first"].clone()).unwrap();
    let typical = norm / (found.len() as f64).sqrt();
    for (index, (&found, &expected)) in found.iter().zip(&first).enumerate() {
        assert_near(f64::from(found), expected, 2e-4 * typical.max(expected.abs()), &format!("{what}[{index}]"));
    }
}

#[test]
fn ten_steps_of_adamw_give_the_losses_of_pytorch() {
    for folder in fixtures() {
        let golden = read(&folder);
        let recipe = &golden.json["adamw"];
        let number = |key: &str| recipe[key].as_f64().unwrap() as f32;
        let expected: Vec<f64> = serde_json::from_value(recipe["losses_nats"].clone()).unwrap();
        assert_eq!(expected.len(), 11);
        let cpu = Cpu::detect(Some(2)).unwrap();
        let mut decoder = load(&folder);
        let mut trainer = Trainer::new(&decoder, &golden);
        let (mut optimizer, mut partials) = (AdamW::new(&decoder.parameters), Vec::new());
        for (step, &expected) in (1..).zip(&expected) {
            let loss = trainer.loss(&cpu, &decoder);
            assert_near(loss, expected, 2e-5 * expected, &format!("{} before step {step}", folder.display()));
            let norm = global_norm(&cpu, &trainer.gradients, &mut partials);
            let (beta1, beta2) = (number("beta1"), number("beta2"));
            let update = AdamWStep {
                learning_rate: number("learning_rate"),
                beta1,
                beta2,
                epsilon: number("epsilon"),
                weight_decay: number("weight_decay"),
                correction1: 1.0 / (1.0 - beta1.powi(step)),
                correction2: 1.0 / (1.0 - beta2.powi(step)),
                gradient_scale: (number("clip_norm") / (norm + 1e-6)).min(1.0),
            };
            optimizer.update(&cpu, &mut decoder.parameters, &trainer.gradients, update);
        }
        let fell = expected[10] < expected[0];
        assert!(fell, "{}: a golden that learns nothing", folder.display());
    }
}
