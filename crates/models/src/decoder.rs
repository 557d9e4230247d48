//! The decoder-only Transformer as data: one forward pass for GPT-2, Llama and their relatives.
//!
//! Pre-norm blocks: `x + attention(norm x)`, then `x + feed_forward(norm x)` (Radford et al. 2019;
//! Touvron et al. 2023). The residual addition is recorded with the norm that follows it.

use std::sync::Arc;

use tsumugi_nn::attention::AttentionConfig;
use tsumugi_nn::experts::ExpertsConfig;
use tsumugi_nn::{Embedding, Experts, FeedForward, FeedForwardKind, Linear, Norm, SelfAttention, init};
use tsumugi_tensor::quant::QuantizedMatrix;
use tsumugi_tensor::threads::Pool;
use tsumugi_tensor::{Ids, Parameter, ParameterId, Parameters, ParametersBuilder, RotaryTable, Tape, Var};

use crate::{DecoderSpec, Position};

/// Tables that are looked up and added, so they stay as they are.
const ADDED: [&str; 2] = ["positions.weight", "token_types.weight"];

/// Whether products take a parameter, so that it is packed for serving; the embedding of tokens may be a head too.
pub(crate) fn is_multiplied(parameter: &Parameter) -> bool {
    parameter.shape.len() > 1 && !ADDED.contains(&parameter.name.as_str())
}

/// The stream with what the block before fed into it, if there is one, and its norm.
fn record_norm(norm: &Norm, tape: &mut Tape, parameters: &Parameters, fed: Option<Var>, stream: Var) -> (Var, Var) {
    match fed {
        Some(fed) => norm.record_add(tape, parameters, fed, stream),
        None => (stream, norm.record(tape, parameters, stream)),
    }
}

/// The second part of a block.
#[derive(Debug, Clone)]
enum FeedForwardPart {
    Dense(FeedForward),
    Experts(Experts),
}

impl FeedForwardPart {
    fn declare(builder: &mut ParametersBuilder, spec: &DecoderSpec, layer: &str) -> Self {
        let (width, hidden, kind) = (spec.width, spec.feed_forward_width, spec.feed_forward);
        let Some(experts) = spec.experts else {
            let name = format!("{layer}.feed_forward");
            return Self::Dense(FeedForward::declare(builder, &name, width, hidden, kind, spec.feed_forward_bias));
        };
        let (FeedForwardKind::Gated(activation) | FeedForwardKind::Plain(activation)) = kind;
        let (count, routing, shared_hidden) = (experts.count, experts.routing, experts.shared_width);
        let config = ExpertsConfig { width, hidden, count, routing, shared_hidden, activation };
        Self::Experts(Experts::declare(builder, layer, config))
    }

    fn record(&self, tape: &mut Tape, parameters: &Parameters, x: Var) -> Var {
        match self {
            Self::Dense(block) => block.record(tape, parameters, x),
            Self::Experts(experts) => experts.record(tape, parameters, x),
        }
    }
}

#[derive(Debug, Clone)]
struct Block {
    attention_norm: Norm,
    attention: SelfAttention,
    /// Where both parts read one norm, there is none of the second.
    feed_forward_norm: Option<Norm>,
    feed_forward: FeedForwardPart,
    /// Norms of what attention and feed-forward feed into the stream, where there are any.
    post_norms: Option<[Norm; 2]>,
}

/// A decoder: its spec, its parameters, and where each of them is used.
#[derive(Debug)]
pub struct Decoder {
    /// What it is.
    pub spec: DecoderSpec,
    /// Its weights.
    pub parameters: Parameters,
    embedding: Embedding,
    embedding_norm: Option<Norm>,
    blocks: Vec<Block>,
    final_norm: Norm,
    /// `[v, m]`: the embedding where tied.
    head: ParameterId,
}

fn declare_norm(builder: &mut ParametersBuilder, spec: &DecoderSpec, name: &str) -> Norm {
    Norm::declare(builder, name, spec.width, spec.norm, spec.epsilon)
}

/// Rotary tables of layers without and with a window; the same where they turn alike.
struct RotaryTables([Option<Arc<RotaryTable>>; 2]);

impl RotaryTables {
    fn new(spec: &DecoderSpec, make: impl Fn(&[f64], f64) -> RotaryTable) -> Self {
        let [every, windowed] = spec.rotary_tables(make).map(|table| table.map(Arc::new));
        let windowed = windowed.or_else(|| every.clone());
        Self([every, windowed])
    }

    fn of(&self, spec: &DecoderSpec, layer: usize) -> Option<Arc<RotaryTable>> {
        self.0[usize::from(spec.window_of(layer).is_some())].clone().filter(|_| spec.turns(layer))
    }
}

fn declare_block(builder: &mut ParametersBuilder, spec: &DecoderSpec, layer: usize, rotary: &RotaryTables) -> Block {
    let name = format!("layers.{layer}");
    let config = AttentionConfig {
        width: spec.width,
        heads: spec.attention_heads(layer),
        qkv_bias: spec.qkv_bias,
        output_bias: spec.output_bias,
        head_norm: spec.head_norm.then_some((spec.norm, spec.epsilon)),
        rotary: rotary.of(spec, layer),
        layer,
    };
    let norm = |builder: &mut ParametersBuilder, which: &str| declare_norm(builder, spec, &format!("{name}.{which}"));
    Block {
        attention_norm: norm(builder, "attention_norm"),
        attention: SelfAttention::declare(builder, &format!("{name}.attention"), config),
        feed_forward_norm: (!spec.parallel).then(|| norm(builder, "feed_forward_norm")),
        feed_forward: FeedForwardPart::declare(builder, spec, &name),
        post_norms: spec
            .post_norm
            .then(|| ["attention_post_norm", "feed_forward_post_norm"].map(|which| norm(builder, which))),
    }
}

impl Decoder {
    /// Zero weights; fill them from a file or with [`Self::initialize`].
    pub fn new(spec: DecoderSpec) -> Self {
        Self::serving(spec, |_| None)
    }

    /// For serving: parameters that `quantized` has a weight for are that weight, the others zero.
    pub fn serving(spec: DecoderSpec, quantized: impl FnMut(&Parameter) -> Option<QuantizedMatrix>) -> Self {
        let context = spec.context;
        let make = |frequencies: &[f64], factor: f64| RotaryTable::new(context, frequencies, factor);
        let rotary = RotaryTables::new(&spec, make);
        Self::declared(spec, &rotary, |builder| builder.build_serving(quantized))
    }

    /// Names and shapes without numbers, to plan with.
    pub fn described(spec: DecoderSpec) -> Self {
        let rotary = RotaryTables::new(&spec, |frequencies, _| RotaryTable::described(2 * frequencies.len()));
        Self::declared(spec, &rotary, ParametersBuilder::describe)
    }

    fn declared(spec: DecoderSpec, rotary: &RotaryTables, make: impl FnOnce(ParametersBuilder) -> Parameters) -> Self {
        let mut builder = ParametersBuilder::default();
        let learned = (spec.position == Position::Learned).then_some(spec.context);
        let embedding = Embedding::declare(&mut builder, spec.vocabulary, spec.width, learned);
        let embedding_norm = spec.embedding_norm.then(|| declare_norm(&mut builder, &spec, "embedding_norm"));
        let blocks = (0..spec.layers).map(|layer| declare_block(&mut builder, &spec, layer, rotary)).collect();
        let final_norm = declare_norm(&mut builder, &spec, "final_norm");
        let head =
            if spec.tied { embedding.tokens } else { builder.add("head.weight", &[spec.vocabulary, spec.width]) };
        Self { parameters: make(builder), spec, embedding, embedding_norm, blocks, final_norm, head }
    }

    /// Random weights: normal with deviation 0.02, the outputs of residual branches smaller by the root of
    /// their number (Radford et al. 2019, section 2.3); norms multiply by 1, biases are 0.
    pub fn initialize(&mut self, seed: u64, pool: &Pool) {
        const DEVIATION: f32 = 0.02;
        let norm = 1.0 - self.spec.norm.weight_offset();
        let branches = (2.0 * self.spec.layers as f32).sqrt();
        let ids: Vec<(ParameterId, String, usize)> =
            self.parameters.iter().map(|(id, parameter)| (id, parameter.name.clone(), parameter.shape.len())).collect();
        for (id, name, rank) in ids {
            let branch = name.ends_with("attention.output.weight") || name.ends_with(".down.weight");
            match rank {
                1 if name.ends_with("norm.weight") => init::constant(&mut self.parameters, id, norm),
                1 => init::constant(&mut self.parameters, id, 0.0),
                _ if branch => init::normal(pool, &mut self.parameters, id, seed, DEVIATION / branches),
                _ => init::normal(pool, &mut self.parameters, id, seed, DEVIATION),
            }
        }
    }

    /// For serving: linear layers' weights packed for the matrix product, the rest as it is.
    #[must_use]
    pub fn pack(mut self, cpu: &tsumugi_tensor::Cpu) -> Self {
        self.parameters = self.parameters.pack(cpu, is_multiplied);
        self
    }

    /// The head's parameter, `[v, m]`.
    pub fn head(&self) -> ParameterId {
        self.head
    }

    /// Records ids to final hidden states, `[r, m]`, normalized. `tokens` and `positions` have r ids.
    pub fn record_hidden(&self, tape: &mut Tape, tokens: Ids, positions: Ids) -> Var {
        let parameters = &self.parameters;
        let embedded = self.embedding.record(tape, parameters, tokens, positions);
        let embedded = scale(tape, embedded, self.spec.embedding_scale);
        let embedded = self.embedding_norm.map_or(embedded, |norm| norm.record(tape, parameters, embedded));
        let mut stream = tape.dropout(embedded, self.spec.dropout);
        let mut fed = None;
        for block in &self.blocks {
            (stream, fed) = tape.block(|tape| {
                let (stream, normal) = record_norm(&block.attention_norm, tape, parameters, fed, stream);
                let mixed = block.attention.record(tape, parameters, normal, positions);
                let mixed = self.record_branch(tape, mixed, block.post_norms.map(|[norm, _]| norm));
                let (stream, normal) = match &block.feed_forward_norm {
                    Some(norm) => norm.record_add(tape, parameters, mixed, stream),
                    None => (stream, normal),
                };
                let fed = block.feed_forward.record(tape, parameters, normal);
                let fed = self.record_branch(tape, fed, block.post_norms.map(|[_, norm]| norm));
                (stream, Some(if self.spec.parallel { tape.add(fed, mixed) } else { fed }))
            });
        }
        let hidden = record_norm(&self.final_norm, tape, parameters, fed, stream).1;
        // Of the logits, but there are fewer numbers here.
        scale(tape, hidden, 1.0 / self.spec.logit_divisor)
    }

    /// What a part of a block feeds into the stream.
    fn record_branch(&self, tape: &mut Tape, x: Var, post_norm: Option<Norm>) -> Var {
        let x = post_norm.map_or(x, |norm| norm.record(tape, &self.parameters, x));
        let x = tape.dropout(x, self.spec.dropout);
        scale(tape, x, self.spec.residual_scale)
    }

    /// Records logits `[rows, v]` of hidden states `[rows, m]`.
    pub fn record_logits(&self, tape: &mut Tape, hidden: Var) -> Var {
        let logits = Linear { weight: self.head, bias: None }.record(tape, &self.parameters, hidden, None);
        self.spec.logit_cap.map_or(logits, |cap| tape.soft_cap(logits, cap))
    }

    /// Records the cross-entropy of hidden states `[r, m]` against `targets`, `weights [r]`: loss `[1]` and nats `[r]`.
    pub fn record_loss(&self, tape: &mut Tape, hidden: Var, targets: Ids, weights: Var) -> (Var, Var) {
        if self.spec.logit_cap.is_some() {
            let logits = self.record_logits(tape, hidden);
            return tape.cross_entropy_loss(logits, targets, weights);
        }
        let head = tape.parameter(&self.parameters, self.head);
        tape.head_cross_entropy(hidden, head, targets, weights)
    }
}

/// Nothing is recorded for a factor of 1.
fn scale(tape: &mut Tape, x: Var, factor: f32) -> Var {
    if factor == 1.0 { x } else { tape.scale(x, factor) }
}
