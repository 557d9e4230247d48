//! The decoder-only Transformer as data: one forward pass for GPT-2, Llama and their relatives.
//!
//! Pre-norm blocks: `x + attention(norm x)`, then `x + feed_forward(norm x)` (Radford et al. 2019;
//! Touvron et al. 2023). The residual addition is recorded with the norm that follows it.

use std::ops::Range;
use std::sync::Arc;

use tsumugi_nn::attention::AttentionConfig;
use tsumugi_nn::{
    CausalSelfAttention, Embedding, FeedForward, FeedForwardKind, Linear, Norm, RopeScaling, init, rotary_frequencies,
};
use tsumugi_tensor::threads::Pool;
use tsumugi_tensor::{
    Activations, Heads, Ids, NormKind, ParameterId, Parameters, ParametersBuilder, RotaryTable, Tape, Var,
};

/// How positions enter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Position {
    /// A learned vector per position (GPT-2).
    Learned,
    /// Rotation of queries and keys (Su et al. 2021).
    Rotary {
        /// Base of the frequencies.
        base: f64,
        /// Scaling for long contexts.
        scaling: Option<RopeScaling>,
    },
}

/// Everything that tells one decoder from another.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderSpec {
    /// Its `model_type`, e.g. `llama`.
    pub family: &'static str,
    /// Token ids.
    pub vocabulary: usize,
    /// Model width m.
    pub width: usize,
    /// Blocks.
    pub layers: usize,
    /// Query heads h.
    pub heads: usize,
    /// Key/value heads g.
    pub key_heads: usize,
    /// Head width d.
    pub head_width: usize,
    /// Feed-forward width f.
    pub feed_forward_width: usize,
    /// Longest context.
    pub context: usize,
    /// LayerNorm or RMSNorm.
    pub norm: NormKind,
    /// Of the norms.
    pub epsilon: f32,
    /// How positions enter.
    pub position: Position,
    /// Plain with an activation, or SwiGLU.
    pub feed_forward: FeedForwardKind,
    /// Biases on queries, keys, values.
    pub qkv_bias: bool,
    /// Biases on the attention's output.
    pub output_bias: bool,
    /// Biases in the feed-forward block.
    pub feed_forward_bias: bool,
    /// The head is the embedding.
    pub tied: bool,
    /// In training: after the embedding and each block's two parts.
    pub dropout: f32,
}

impl DecoderSpec {
    /// Parameters that take part in a matrix product for each token: what 6ND counts (the embedding
    /// look-up is no product, the head is).
    pub fn product_parameters(&self) -> usize {
        let attention = self.width * (self.heads + 2 * self.key_heads) * self.head_width
            + self.heads * self.head_width * self.width;
        let matrices = if self.feed_forward == FeedForwardKind::SwiGlu { 3 } else { 2 };
        self.layers * (attention + matrices * self.width * self.feed_forward_width) + self.vocabulary * self.width
    }

    /// All matrices and tables, biases and norms not counted, without overflow for any sizes.
    pub fn parameters_at_least(&self) -> u128 {
        let wide = |sizes: &[usize]| sizes.iter().fold(1u128, |product, &size| product.saturating_mul(size as u128));
        let rows = (self.heads as u128 + 2 * self.key_heads as u128) * self.head_width as u128;
        let attention = wide(&[self.width]).saturating_mul(rows) + wide(&[self.heads, self.head_width, self.width]);
        let matrices = if self.feed_forward == FeedForwardKind::SwiGlu { 3 } else { 2 };
        let block = attention.saturating_add(wide(&[matrices, self.width, self.feed_forward_width]));
        let tables = if self.tied { 1 } else { 2 };
        let positions = if self.position == Position::Learned { wide(&[self.context, self.width]) } else { 0 };
        block
            .saturating_mul(self.layers as u128)
            .saturating_add(wide(&[tables, self.vocabulary, self.width]))
            .saturating_add(positions)
    }

    /// Matrices between the model's width and the feed-forward width, on the way in: gate and up, or one.
    pub fn gate_and_up(&self) -> usize {
        if self.feed_forward == FeedForwardKind::SwiGlu { 2 } else { 1 }
    }

    /// Bytes that training takes at least: three float32 per parameter (weight, gradient, one moment) and, of each of
    /// `rows` tokens of a micro-batch, what the layers keep for backward; where activations are recomputed, what enters
    /// each layer.
    pub fn training_bytes_at_least(&self, rows: usize, activations: Activations) -> u128 {
        let wide = self.feed_forward_width as u128 * if self.feed_forward == FeedForwardKind::SwiGlu { 3 } else { 2 };
        let qkv = (self.heads as u128 + 2 * self.key_heads as u128) * self.head_width as u128;
        let layer = 4 * self.width as u128 + qkv + self.heads as u128 * self.head_width as u128 + wide;
        let layer = if activations == Activations::Kept { layer } else { self.width as u128 };
        let kept = layer.saturating_mul(self.layers as u128).saturating_mul(rows as u128);
        self.parameters_at_least().saturating_mul(12).saturating_add(kept.saturating_mul(4))
    }

    /// Floating-point operations per token of a training step (forward and backward), with causal attention
    /// in segments of `length`: `6 N + 6 layers h d length` (half of the full square).
    pub fn training_flops_per_token(&self, length: usize) -> f64 {
        let attention = 6.0 * (self.layers * self.heads * self.head_width * length) as f64;
        6.0 * self.product_parameters() as f64 + attention
    }

    /// Floating-point operations of a forward pass over the tokens at `positions` of one sequence, with logits of `outputs`
    /// of them. Each token attends to itself and to every position before it.
    pub fn forward_flops(&self, positions: Range<usize>, outputs: usize) -> f64 {
        let head = (self.vocabulary * self.width) as f64;
        let blocks = self.product_parameters() as f64 - head;
        let pairs_before = |position: usize| position as f64 * (position as f64 + 1.0) / 2.0;
        let pairs = pairs_before(positions.end) - pairs_before(positions.start);
        let attention = 4.0 * (self.layers * self.heads * self.head_width) as f64 * pairs;
        2.0 * (blocks * positions.len() as f64 + head * outputs as f64) + attention
    }

    fn rotary_table(&self) -> Option<RotaryTable> {
        match self.position {
            Position::Learned => None,
            Position::Rotary { base, scaling } => {
                let frequencies = rotary_frequencies(self.head_width, base, scaling);
                Some(RotaryTable::new(self.context, &frequencies, 1.0))
            }
        }
    }

    fn described_rotary_table(&self) -> Option<RotaryTable> {
        (self.position != Position::Learned).then(|| RotaryTable::described(self.head_width))
    }
}

/// The stream with what the block before fed into it, if there is one, and its norm.
fn record_norm(norm: &Norm, tape: &mut Tape, parameters: &Parameters, fed: Option<Var>, stream: Var) -> (Var, Var) {
    match fed {
        Some(fed) => norm.record_add(tape, parameters, fed, stream),
        None => (stream, norm.record(tape, parameters, stream)),
    }
}

#[derive(Debug, Clone)]
struct Block {
    attention_norm: Norm,
    attention: CausalSelfAttention,
    feed_forward_norm: Norm,
    feed_forward: FeedForward,
}

/// A decoder: its spec, its parameters, and where each of them is used.
#[derive(Debug)]
pub struct Decoder {
    /// What it is.
    pub spec: DecoderSpec,
    /// Its weights.
    pub parameters: Parameters,
    embedding: Embedding,
    blocks: Vec<Block>,
    final_norm: Norm,
    /// `[v, m]`: the embedding where tied.
    head: ParameterId,
}

impl Decoder {
    /// Zero weights; fill them from a file or with [`Self::initialize`].
    pub fn new(spec: DecoderSpec) -> Self {
        let rotary = spec.rotary_table();
        Self::declared(spec, rotary, ParametersBuilder::build)
    }

    /// Names and shapes without numbers, to plan with.
    pub fn described(spec: DecoderSpec) -> Self {
        let rotary = spec.described_rotary_table();
        Self::declared(spec, rotary, ParametersBuilder::describe)
    }

    fn declared(
        spec: DecoderSpec,
        rotary: Option<RotaryTable>,
        make: impl FnOnce(ParametersBuilder) -> Parameters,
    ) -> Self {
        let mut builder = ParametersBuilder::default();
        let learned = (spec.position == Position::Learned).then_some(spec.context);
        let embedding = Embedding::declare(&mut builder, spec.vocabulary, spec.width, learned);
        let rotary = rotary.map(Arc::new);
        let norm = |builder: &mut ParametersBuilder, name: &str| {
            Norm::declare(builder, name, spec.width, spec.norm, spec.epsilon)
        };
        let heads = Heads::new(spec.heads, spec.key_heads, spec.head_width, 1.0 / (spec.head_width as f32).sqrt());
        let mut blocks = Vec::new();
        for layer in 0..spec.layers {
            let name = format!("layers.{layer}");
            let config = AttentionConfig {
                width: spec.width,
                heads,
                qkv_bias: spec.qkv_bias,
                output_bias: spec.output_bias,
                rotary: rotary.clone(),
                layer,
            };
            let feed_forward = (spec.width, spec.feed_forward_width, spec.feed_forward, spec.feed_forward_bias);
            blocks.push(Block {
                attention_norm: norm(&mut builder, &format!("{name}.attention_norm")),
                attention: CausalSelfAttention::declare(&mut builder, &format!("{name}.attention"), config),
                feed_forward_norm: norm(&mut builder, &format!("{name}.feed_forward_norm")),
                feed_forward: FeedForward::declare(
                    &mut builder,
                    &format!("{name}.feed_forward"),
                    feed_forward.0,
                    feed_forward.1,
                    feed_forward.2,
                    feed_forward.3,
                ),
            });
        }
        let final_norm = norm(&mut builder, "final_norm");
        let head =
            if spec.tied { embedding.tokens } else { builder.add("head.weight", &[spec.vocabulary, spec.width]) };
        Self { parameters: make(builder), spec, embedding, blocks, final_norm, head }
    }

    /// Random weights: normal with deviation 0.02, the outputs of residual branches smaller by the root of
    /// their number (Radford et al. 2019, section 2.3); norms 1, biases 0.
    pub fn initialize(&mut self, seed: u64, pool: &Pool) {
        const DEVIATION: f32 = 0.02;
        let branches = (2.0 * self.spec.layers as f32).sqrt();
        let ids: Vec<(ParameterId, String, usize)> =
            self.parameters.iter().map(|(id, parameter)| (id, parameter.name.clone(), parameter.shape.len())).collect();
        for (id, name, rank) in ids {
            let branch = name.ends_with("attention.output.weight") || name.ends_with("feed_forward.down.weight");
            match rank {
                1 if name.ends_with("norm.weight") => init::constant(&mut self.parameters, id, 1.0),
                1 => init::constant(&mut self.parameters, id, 0.0),
                _ if branch => init::normal(pool, &mut self.parameters, id, seed, DEVIATION / branches),
                _ => init::normal(pool, &mut self.parameters, id, seed, DEVIATION),
            }
        }
    }

    /// For serving: linear layers' weights packed for the matrix product, the rest as it is.
    #[must_use]
    pub fn pack(mut self, cpu: &tsumugi_tensor::Cpu) -> Self {
        self.parameters = self.parameters.pack(cpu, |parameter| parameter.name != "positions.weight");
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
        let mut stream = tape.dropout(embedded, self.spec.dropout);
        let mut fed = None;
        for block in &self.blocks {
            (stream, fed) = tape.block(|tape| {
                let (stream, normal) = record_norm(&block.attention_norm, tape, parameters, fed, stream);
                let mixed = block.attention.record(tape, parameters, normal, positions);
                let mixed = tape.dropout(mixed, self.spec.dropout);
                let (stream, normal) = block.feed_forward_norm.record_add(tape, parameters, mixed, stream);
                let fed = block.feed_forward.record(tape, parameters, normal);
                (stream, Some(tape.dropout(fed, self.spec.dropout)))
            });
        }
        record_norm(&self.final_norm, tape, parameters, fed, stream).1
    }

    /// Records logits `[rows, v]` of hidden states `[rows, m]`.
    pub fn record_logits(&self, tape: &mut Tape, hidden: Var) -> Var {
        Linear { weight: self.head, bias: None }.record(tape, &self.parameters, hidden, None)
    }
}
