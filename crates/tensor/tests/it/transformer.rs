//! Two small transformer blocks with everything the models use.

use std::sync::Arc;

use tsumugi_tensor::{
    Activation, Heads, Ids, NormKind, ParameterId, Parameters, ParametersBuilder, Plan, RotaryTable, Segment, Tape, Var,
};

use crate::support::{fill, noise_ids};

/// Sizes of the model: width not a multiple of any vector, grouped queries.
pub const WIDTH: usize = 12;
pub const VOCABULARY: usize = 11;
const HEADS: Heads = Heads::new(4, 2, 4, 0.5);
const HIDDEN: usize = 20;
const POSITIONS: usize = 16;

/// A recorded model.
pub struct Model {
    pub tokens: Ids,
    pub positions: Ids,
    pub targets: Ids,
    pub weights: Var,
    pub loss: Var,
    pub nats: Var,
}

/// The parameters by name, filled with noise.
pub fn parameters() -> Parameters {
    let mut builder = ParametersBuilder::default();
    builder.add("tokens", &[VOCABULARY, WIDTH]);
    builder.add("positions", &[POSITIONS, WIDTH]);
    for layer in 0..2 {
        let qkv = (HEADS.query + 2 * HEADS.key) * HEADS.width;
        let heads = HEADS.query * HEADS.width;
        let up = if layer == 0 { HIDDEN } else { 2 * HIDDEN };
        for (name, shape) in [
            ("first.norm", vec![WIDTH]),
            ("qkv", vec![qkv, WIDTH]),
            ("output", vec![WIDTH, heads]),
            ("second.norm", vec![WIDTH]),
            ("up", vec![up, WIDTH]),
            ("down", vec![WIDTH, HIDDEN]),
        ] {
            builder.add(format!("{layer}.{name}"), &shape);
            if layer == 0 {
                builder.add(format!("{layer}.{name}.bias"), &shape[..1]);
            }
        }
    }
    builder.add("last.norm", &[WIDTH]);
    let mut parameters = builder.build();
    fill(&mut parameters, 0.4);
    parameters
}

/// Layer 0 is GPT-2's (learned positions, LayerNorm, biases, GELU), layer 1 Llama's (rotary, RMSNorm, SwiGLU);
/// the head is the token table. Each layer is a block.
pub fn record(tape: &mut Tape, parameters: &Parameters, rows: usize, dropout: f32) -> Model {
    let find = |name: &str| -> ParameterId { parameters.find(name).expect("declared above") };
    let (tokens, positions, targets) = (tape.ids(rows), tape.ids(rows), tape.ids(rows));
    let weights = tape.input(&[rows]);
    let table = tape.parameter(parameters, find("tokens"));
    let position_table = tape.parameter(parameters, find("positions"));
    let mut stream = tape.embedding(tokens, table, Some((positions, position_table)));
    stream = tape.dropout(stream, dropout);
    let rotary = Arc::new(RotaryTable::new(POSITIONS, &RotaryTable::frequencies(HEADS.width, 10.0), 1.0));
    let mut branch = None;
    let layer = |tape: &mut Tape, layer: usize, stream: Var, branch: Option<Var>| {
        let kind = if layer == 0 { NormKind::Layer } else { NormKind::Rms };
        let get = |tape: &mut Tape, name: &str| tape.parameter(parameters, find(&format!("{layer}.{name}")));
        let bias = |tape: &mut Tape, name: &str| (layer == 0).then(|| get(tape, &format!("{name}.bias")));
        let linear = |tape: &mut Tape, x: Var, name: &str, activation| {
            let (w, b) = (get(tape, name), bias(tape, name));
            tape.linear(x, w, b, activation)
        };
        let norm = |tape: &mut Tape, stream: Var, branch: Option<Var>, name: &str| {
            let (w, b) = (get(tape, name), bias(tape, name));
            match branch {
                Some(branch) => tape.add_normalize(branch, stream, w, b, kind, 1e-5),
                None => (stream, tape.normalize(stream, w, b, kind, 1e-5)),
            }
        };
        let (next, x) = norm(tape, stream, branch, "first.norm");
        let mut qkv = linear(tape, x, "qkv", None);
        if layer == 1 {
            qkv = tape.rotary(qkv, positions, &HEADS, &rotary);
        }
        let x = tape.attention(qkv, HEADS, layer);
        let x = linear(tape, x, "output", None);
        let x = tape.dropout(x, dropout);
        let (next, x) = norm(tape, next, Some(x), "second.norm");
        let x = linear(tape, x, "up", (layer == 0).then_some(Activation::GeluTanh));
        let x = if layer == 1 { tape.gated(x, Activation::Silu) } else { x };
        let x = linear(tape, x, "down", None);
        (next, tape.dropout(x, dropout))
    };
    for index in 0..2 {
        let (next, x) = tape.block(|tape| layer(tape, index, stream, branch));
        (stream, branch) = (next, Some(x));
    }
    let last = tape.parameter(parameters, find("last.norm"));
    let branch = branch.expect("there are layers");
    let (_, x) = tape.add_normalize(branch, stream, last, None, NormKind::Rms, 1e-5);
    let (loss, nats) = tape.head_cross_entropy(x, table, targets, weights);
    Model { tokens, positions, targets, weights, loss, nats }
}

/// Rows of a batch, the segments they fall into, and their weights.
pub const SEGMENTS: [Segment; 2] = [Segment { start: 0, len: 5 }, Segment { start: 5, len: 8 }];
pub const ROWS: usize = 13;

/// Weights of the rows; row 4 is not trained.
pub fn row_weights() -> Vec<f32> {
    (0..ROWS).map(|row| if row == 4 { 0.0 } else { 0.5 + row as f32 / 10.0 }).collect()
}

/// Feeds a batch.
pub fn set(plan: &mut Plan, model: &Model) {
    plan.set_ids(model.tokens, &noise_ids(1, ROWS, VOCABULARY as u32));
    plan.set_ids(model.targets, &noise_ids(2, ROWS, VOCABULARY as u32));
    let positions: Vec<u32> = SEGMENTS.iter().flat_map(|segment| 0..segment.len as u32).collect();
    plan.set_ids(model.positions, &positions);
    plan.set(model.weights, &row_weights());
    plan.set_segments(&SEGMENTS);
    plan.set_loss_scale(0.5);
}
