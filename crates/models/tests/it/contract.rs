//! What every family of `tsumugi_models::ALL` must do.

use std::collections::{BTreeMap, BTreeSet};

use tsumugi_base::rng::{Key, Stream};
use tsumugi_base::testing::temporary_folder;
use tsumugi_files::{ModelFiles, to_f32};
use tsumugi_models::gpt2::Gpt2;
use tsumugi_models::llama::Llama;
use tsumugi_models::plans::LossRows;
use tsumugi_models::spec::{Experts, LayerPattern, Rotary, Window};
use tsumugi_models::stablelm::StableLm;
use tsumugi_models::{ALL, Decoder, DecoderSpec, LogitsPlan, LossPlan, Place, Position};
use tsumugi_nn::{FeedForwardKind, RopeScaling};
use tsumugi_tensor::threads::Pool;
use tsumugi_tensor::{Activation, Activations, Cpu, Isa, NormKind, Routing, Segment, Tape};

use crate::goldens::GATE;

/// The tiny spec of every family, and what else its config can say.
pub fn specs() -> Vec<DecoderSpec> {
    let mut specs: Vec<DecoderSpec> = ALL.iter().map(|family| family.tiny()).collect();
    specs.push(DecoderSpec { tied: false, ..Gpt2.tiny_spec() });
    for activation in [Activation::Relu, Activation::ReluSquared, Activation::Silu] {
        specs.push(DecoderSpec { feed_forward: FeedForwardKind::Plain(activation), ..Gpt2.tiny_spec() });
    }
    specs.push(DecoderSpec { tied: false, ..Llama.tiny_spec() });
    let biases = DecoderSpec { qkv_bias: true, output_bias: true, feed_forward_bias: true, ..Llama.tiny_spec() };
    specs.push(biases);
    specs.push(DecoderSpec { parallel: true, ..StableLm.tiny_spec() });
    specs.push(DecoderSpec { head_width: 10, feed_forward_width: 7, ..Llama.tiny_spec() });
    specs
}

trait TinySpec {
    fn tiny_spec(&self) -> DecoderSpec;
}

impl<F: tsumugi_models::Family> TinySpec for F {
    fn tiny_spec(&self) -> DecoderSpec {
        self.tiny()
    }
}

/// Every weight another number.
fn numbered(spec: &DecoderSpec) -> Decoder {
    let mut decoder = Decoder::new(spec.clone());
    let ids: Vec<_> = decoder.parameters.iter().map(|(id, _)| id).collect();
    let mut next = 1.0;
    for id in ids {
        for value in decoder.parameters.values_mut(id) {
            *value = next;
            next += 1.0;
        }
    }
    decoder
}

pub fn random(spec: &DecoderSpec) -> Decoder {
    let mut decoder = Decoder::new(spec.clone());
    decoder.initialize(3, &Pool::new(1));
    let ids: Vec<_> = decoder.parameters.iter().map(|(id, parameter)| (id, parameter.shape.len())).collect();
    let mut noise = Stream::new(Key::from_seed(3));
    for (id, rank) in ids {
        for value in decoder.parameters.values_mut(id) {
            *value = if rank == 1 { *value + 0.3 * noise.next_normal() } else { *value * 6.0 };
        }
    }
    decoder
}

pub fn assert_same_bits(one: &Decoder, other: &Decoder) {
    let bits = |decoder: &Decoder, id| -> Vec<u32> {
        decoder.parameters.values(id).iter().map(|value| value.to_bits()).collect()
    };
    for ((id, parameter), (_, same)) in one.parameters.iter().zip(other.parameters.iter()) {
        assert_eq!(parameter, same);
        assert!(bits(one, id) == bits(other, id), "{}: `{}` changed", one.spec.family, parameter.name);
    }
}

#[test]
fn families_are_found_by_their_names_and_the_names_are_different() {
    let names: BTreeSet<&str> = ALL.iter().map(|family| family.name()).collect();
    assert_eq!(names.len(), ALL.len());
    for family in ALL {
        assert_eq!(tsumugi_models::family::find(family.name()).unwrap().name(), family.name());
        assert_eq!(family.tiny().family, family.name());
        assert!(!family.about().is_empty() && family.about().len() < 120);
        let outside: BTreeSet<&str> = family.names().iter().map(|name| name.outside).collect();
        assert_eq!(outside.len(), family.names().len(), "{}: a name twice", family.name());
        let ours: BTreeSet<(&str, String)> =
            family.names().iter().map(|name| (name.ours, format!("{:?}", name.place))).collect();
        assert_eq!(ours.len(), family.names().len(), "{}: a place twice", family.name());
        assert!(family.names().iter().any(|name| name.place == Place::Whole));
    }
}

#[test]
fn the_names_cover_every_number_of_every_parameter_once() {
    for spec in specs() {
        let decoder = numbered(&spec);
        let folder = temporary_folder();
        decoder.save(folder.path(), &BTreeMap::new()).unwrap();
        let tensors = ModelFiles::admit(folder.path(), &GATE).unwrap().tensors().unwrap();
        let mut numbers: Vec<f32> = tensors.iter().flat_map(|tensor| to_f32(&tensor).unwrap()).collect();
        numbers.sort_by(f32::total_cmp);
        let expected: Vec<f32> = (1..=decoder.parameters.count()).map(|number| number as f32).collect();
        assert_eq!(numbers.len(), expected.len(), "{spec:?}");
        assert!(numbers == expected, "{spec:?}: a number is missing or there twice");
    }
}

#[test]
fn save_and_load_give_the_same_spec_and_bits() {
    for spec in specs() {
        let decoder = random(&spec);
        let folder = temporary_folder();
        decoder.save(folder.path(), &BTreeMap::new()).unwrap();
        let loaded = Decoder::load(&ModelFiles::admit(folder.path(), &GATE).unwrap(), &Pool::new(3)).unwrap();
        assert_eq!(loaded.spec, decoder.spec);
        assert_same_bits(&decoder, &loaded);
    }
}

#[test]
fn relu_squared_has_the_word_of_transformers() {
    let spec = DecoderSpec { feed_forward: FeedForwardKind::Plain(Activation::ReluSquared), ..Gpt2.tiny_spec() };
    assert_eq!(tsumugi_models::Family::config(&Gpt2, &spec).unwrap()["activation_function"], "relu2");
}

#[test]
fn the_gradient_is_the_slope_of_the_loss() {
    const ROWS: usize = 20;
    let cpu = Cpu::with_isa(Isa::detect().unwrap(), 1);
    let ids = |factor: u32| -> Vec<u32> { (0..ROWS as u32).map(|i| (i * factor + 3) % 50).collect() };
    let positions: Vec<u32> = (0..ROWS as u32).collect();
    let rows = LossRows {
        tokens: &ids(7),
        positions: &positions,
        targets: &ids(11),
        weights: &[1.0; ROWS],
        segments: &[Segment { start: 0, len: ROWS }],
    };
    for spec in specs() {
        let mut decoder = random(&spec);
        let mut plan = LossPlan::training(&decoder, ROWS, Activations::Kept).unwrap();
        plan.set(rows);
        let mut gradient = vec![0.0; decoder.parameters.buffer_len()];
        let mut discarded = gradient.clone();
        plan.train(&cpu, &decoder.parameters, &mut gradient, 1.0 / ROWS as f32, false);
        let norm = gradient.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        let start = decoder.parameters.buffer().to_vec();
        // Along the gradient the slope is its norm. A loss of some nats is known to 1e-6, the slope then to 1e-3.
        let mut loss_at = |step: f64| -> f64 {
            let moved = start.iter().zip(&gradient).map(|(&w, &g)| (f64::from(w) + step / norm * f64::from(g)) as f32);
            decoder.parameters.buffer_mut().iter_mut().zip(moved).for_each(|(to, moved)| *to = moved);
            plan.train(&cpu, &decoder.parameters, &mut discarded, 1.0 / ROWS as f32, false);
            plan.nats().iter().map(|&nats| f64::from(nats)).sum::<f64>() / ROWS as f64
        };
        let slope = (loss_at(1e-3) - loss_at(-1e-3)) / 2e-3;
        assert!((slope / norm - 1.0).abs() < 1e-2, "{spec:?}: the slope is {slope}, the gradient's norm {norm}");
    }
}

/// Of the layers nothing but the stream that enters each is kept, `[r, m]`, and one layer's values at a time.
#[test]
fn recomputing_keeps_one_stream_per_layer_and_changes_no_bit() {
    const ROWS: usize = 96;
    let cpu = Cpu::with_isa(Isa::detect().unwrap(), 2);
    let ids = |factor: u32| -> Vec<u32> { (0..ROWS as u32).map(|i| (i * factor + 3) % 50).collect() };
    let positions: Vec<u32> = (0..ROWS as u32).map(|row| row % 48).collect();
    let rows = LossRows {
        tokens: &ids(7),
        positions: &positions,
        targets: &ids(11),
        weights: &[1.0; ROWS],
        segments: &[Segment { start: 0, len: 48 }, Segment { start: 48, len: 48 }],
    };
    for spec in specs() {
        let spec = DecoderSpec { dropout: 0.2, context: 64, layers: 3, ..spec };
        let decoder = random(&spec);
        let run = |activations| {
            let mut plan = LossPlan::training(&decoder, ROWS, activations).unwrap();
            plan.set(rows);
            plan.plan.set_random_key(5);
            let mut gradients = vec![0.0; decoder.parameters.buffer_len()];
            for accumulate in [false, true] {
                plan.train(&cpu, &decoder.parameters, &mut gradients, 1.0 / ROWS as f32, accumulate);
            }
            (plan.nats().to_vec(), gradients)
        };
        let (kept, recomputed) = (run(Activations::Kept), run(Activations::Recomputed));
        assert!(same_bits(&kept.0, &recomputed.0) && same_bits(&kept.1, &recomputed.1), "{spec:?}");
        let bytes = |layers, activations| {
            let spec = DecoderSpec { layers, ..spec.clone() };
            size_of::<f32>() * LossPlan::arena_lens(&Decoder::described(spec), ROWS, activations).unwrap().0
        };
        let per_layer = |activations| (bytes(12, activations) - bytes(4, activations)) / 8;
        let stream = ROWS * spec.width * size_of::<f32>();
        assert_eq!(per_layer(Activations::Recomputed), stream, "{spec:?}");
        let least = |activations| {
            (spec.training_bytes_at_least(ROWS, activations) - spec.training_bytes_at_least(0, activations)) / 3
        };
        for activations in [Activations::Kept, Activations::Recomputed] {
            let per_layer = per_layer(activations) as u128;
            assert!(per_layer >= least(activations) && per_layer < 2 * least(activations), "{spec:?}: {per_layer}");
        }
    }
}

fn logits(decoder: &Decoder, cpu: &Cpu, texts: &[&[u32]]) -> Vec<f32> {
    let (mut tokens, mut positions, mut segments) = (vec![], vec![], vec![]);
    for text in texts {
        segments.push(Segment { start: tokens.len(), len: text.len() });
        tokens.extend_from_slice(text);
        positions.extend(0..text.len() as u32);
    }
    let mut plan = LogitsPlan::new(decoder, tokens.len(), tokens.len());
    plan.run_uncached(cpu, &decoder.parameters, &tokens, &positions, &segments).to_vec()
}

fn same_bits(one: &[f32], other: &[f32]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| a.to_bits() == b.to_bits())
}

#[test]
fn three_texts_at_once_are_three_texts_one_by_one_and_packing_changes_no_bit() {
    for spec in specs() {
        let texts: [Vec<u32>; 3] = [5, 1, 22].map(|len| (0..len).map(|i| (i * 7 + len) % 50).collect());
        let texts = [&texts[0][..], &texts[1][..], &texts[2][..]];
        for isa in Isa::available() {
            let decoder = random(&spec);
            let (one, two) = (Cpu::with_isa(isa, 1), Cpu::with_isa(isa, 2));
            let together = logits(&decoder, &two, &texts);
            let apart: Vec<f32> = texts.iter().flat_map(|text| logits(&decoder, &one, &[text])).collect();
            assert!(same_bits(&together, &apart), "{} on {}: a batch changed bits", spec.family, isa.name());
            assert!(together.iter().all(|x| x.is_finite()) && together.iter().any(|&x| x != together[0]));
            let packed = decoder.pack(&two);
            let from_packed = logits(&packed, &two, &texts);
            assert!(same_bits(&together, &from_packed), "{} on {}: packing changed bits", spec.family, isa.name());
        }
    }
}

/// A word of the error, and a change of a spec.
type Change = (&'static str, fn(&mut DecoderSpec));

/// Each thing that tells decoders apart, changed.
const CHANGES: [Change; 22] = [
    ("norm: Layer", |spec| spec.norm = NormKind::Layer),
    ("norm: RmsPlusOne", |spec| spec.norm = NormKind::RmsPlusOne),
    ("Learned", |spec| spec.position = Position::Learned),
    ("Alibi", |spec| spec.position = Position::Alibi),
    ("unturned", |spec| {
        rotary(spec, Rotary { unturned: LayerPattern::new(&[true, false]), ..Rotary::plain(20.0) });
    }),
    ("window_base", |spec| rotary(spec, Rotary { window_base: Some(30.0), ..Rotary::plain(20.0) })),
    ("share", |spec| rotary(spec, Rotary { share: 0.7, ..Rotary::plain(20.0) })),
    ("Linear", |spec| {
        rotary(spec, Rotary { scaling: Some(RopeScaling::Linear { factor: 2.0 }), ..Rotary::plain(20.0) })
    }),
    ("Relu", |spec| spec.feed_forward = FeedForwardKind::Plain(Activation::Relu)),
    ("Gated", |spec| spec.feed_forward = FeedForwardKind::Gated(Activation::Gelu)),
    ("bias", |spec| spec.qkv_bias = !spec.qkv_bias),
    ("bias", |spec| spec.feed_forward_bias = !spec.feed_forward_bias),
    ("experts", |spec| {
        let routing = Routing { chosen: 1, normalized: false };
        let experts = Experts { count: 3, routing, shared_width: None };
        spec.experts = if spec.experts.is_some() { None } else { Some(experts) };
    }),
    ("parallel", |spec| spec.parallel = !spec.parallel),
    ("embedding_norm", |spec| spec.embedding_norm = !spec.embedding_norm),
    ("head_norm", |spec| spec.head_norm = !spec.head_norm),
    ("post_norm", |spec| spec.post_norm = !spec.post_norm),
    ("window", |spec| spec.window = Window::new(3, &[true, false])),
    ("score", |spec| (spec.score_scale, spec.score_cap) = (Some(0.7), Some(9.0))),
    ("logit_cap", |spec| spec.logit_cap = Some(9.0)),
    ("scale", |spec| (spec.embedding_scale, spec.residual_scale) = (1.5, 0.7)),
    ("logit_divisor", |spec| spec.logit_divisor = 3.0),
];

fn rotary(spec: &mut DecoderSpec, rotary: Rotary) {
    spec.position = Position::Rotary(rotary);
}

/// A family writes what it has a word for, and refuses the rest by name before anything is written.
#[test]
fn what_a_family_has_no_word_for_cannot_be_saved() {
    for family in ALL {
        let mut refused = 0;
        for (what, change) in CHANGES {
            let mut spec = family.tiny();
            change(&mut spec);
            let Err(error) = family.config(&spec) else { continue };
            refused += 1;
            assert!(error.to_lowercase().contains(&what.to_lowercase()), "{}, {what}: {error}", family.name());
            if refused == 1 {
                let folder = temporary_folder();
                let error = Decoder::new(spec).save(folder.path(), &BTreeMap::new()).unwrap_err();
                assert!(error.to_string().contains(family.name()), "{error}");
                assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was written");
            }
        }
        assert!(refused > 3, "{} has a word for everything", family.name());
    }
}

/// What Muon updates: every matrix of the layers, those that share a product one by one; no embedding and no head.
#[test]
fn hidden_matrices_are_known_one_by_one() {
    for spec in specs() {
        let decoder = Decoder::new(spec.clone());
        let queries = spec.heads * spec.head_width;
        let keys = spec.key_heads * spec.head_width;
        let shared_width = spec.experts.and_then(|experts| experts.shared_width);
        for (_, parameter) in decoder.parameters.iter() {
            let name = parameter.name.as_str();
            let layer = name.strip_prefix("layers.").and_then(|name| name.split_once('.')).map(|(_, name)| name);
            let want = match layer {
                Some("attention.qkv.weight") => vec![queries, keys, keys],
                Some("attention.output.weight" | "feed_forward.down.weight") => vec![spec.width],
                Some("feed_forward.up.weight") => vec![spec.feed_forward_width],
                Some("feed_forward.gate_up.weight") => vec![spec.feed_forward_width; 2],
                Some("experts.gate_up.weight") => vec![spec.feed_forward_width; 2 * parameter.shape[0]],
                Some("experts.down.weight") => vec![spec.width; parameter.shape[0]],
                Some("shared_expert.gate_up.weight") => vec![shared_width.unwrap(); 2],
                Some("shared_expert.down.weight") => vec![spec.width],
                _ => Vec::new(),
            };
            assert_eq!(parameter.matrix_rows, want, "{name}");
            let columns = parameter.shape.last().unwrap();
            let held = parameter.matrix_rows.iter().sum::<usize>() * columns;
            assert!(want.is_empty() || (held == parameter.len() && parameter.shape.len() > 1), "{name}");
        }
        let hidden = decoder.parameters.iter().filter(|(_, parameter)| !parameter.matrix_rows.is_empty()).count();
        assert_eq!(hidden, (if shared_width.is_some() { 6 } else { 4 }) * spec.layers);
    }
}

/// Products are counted by the tape's own operations; attention pair by pair.
#[test]
fn the_operations_of_a_pass_are_those_that_the_tape_counts_and_attention() {
    for spec in specs() {
        let (first, rows, outputs) = (3, 5, 2);
        let mut tape = Tape::new();
        let (tokens, positions, selected) = (tape.ids(rows), tape.ids(rows), tape.ids(outputs));
        let decoder = Decoder::described(spec.clone());
        let hidden = decoder.record_hidden(&mut tape, tokens, positions);
        let hidden = tape.select_rows(hidden, selected);
        decoder.record_logits(&mut tape, hidden);
        let per_pair = 2.0 * 2.0 * (spec.heads * spec.head_width) as f64; // a score and a share of a value
        let seen = |layer: usize, position: usize| spec.window_of(layer).unwrap_or(usize::MAX).min(position + 1);
        let seen_by = |position: usize| (0..spec.layers).map(|layer| seen(layer, position)).sum::<usize>();
        let pairs: usize = (first..first + rows).map(seen_by).sum();
        let counted = spec.forward_flops(first..first + rows, outputs);
        assert_eq!(counted, tape.forward_flops() + per_pair * pairs as f64, "{spec:?}");
        // Backward is twice forward; the formula of training takes half of the square for the triangle.
        let (length, n) = (64, 64.0);
        let training = spec.training_flops_per_token(length) * n;
        let diagonal = 3.0 * per_pair * seen_by(length - 1) as f64 / 2.0;
        let forward = 3.0 * spec.forward_flops(0..length, length);
        assert!((training + diagonal - forward).abs() <= 1e-9 * forward, "{spec:?}");
    }
}
