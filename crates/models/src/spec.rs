//! What tells one decoder from another, and what follows from it: sizes, operations, memory.

use std::ops::Range;

use tsumugi_nn::{FeedForwardKind, RopeScaling, attention_factor, rotary_frequencies};
use tsumugi_tensor::{Activations, Heads, NormKind, RotaryTable, Routing};

/// How positions enter.
#[derive(Debug, Clone, PartialEq)]
pub enum Position {
    /// A learned vector per position (GPT-2).
    Learned,
    /// Rotation of queries and keys.
    Rotary(Rotary),
    /// Scores fall with the distance (Press et al. 2022, "ALiBi").
    Alibi,
}

/// Rotation of queries and keys (Su et al. 2021).
#[derive(Debug, Clone, PartialEq)]
pub struct Rotary {
    /// Base of the frequencies.
    pub base: f64,
    /// The part of each head that turns: its first numbers.
    pub share: f64,
    /// Scaling for long contexts.
    pub scaling: Option<RopeScaling>,
    /// Layers with a window have this base and no scaling (Gemma 3).
    pub window_base: Option<f64>,
    /// Layers in which nothing turns (SmolLM 3).
    pub unturned: Option<LayerPattern>,
}

impl Rotary {
    /// All of each head turns, in every layer alike, unscaled.
    pub fn plain(base: f64) -> Self {
        Self { base, share: 1.0, scaling: None, window_base: None, unturned: None }
    }

    /// Numbers of a head that turn.
    pub fn turned(&self, head_width: usize) -> usize {
        (head_width as f64 * self.share) as usize
    }
}

/// Some of the layers: a pattern that repeats from the first layer on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerPattern(Vec<bool>);

impl LayerPattern {
    /// The layers for which `chosen` is true, repeated; none when it is true for no layer.
    pub fn new(chosen: &[bool]) -> Option<Self> {
        let repeats = |period: &usize| chosen.iter().zip(chosen.iter().skip(*period)).all(|(a, b)| a == b);
        let period = (1..chosen.len()).find(repeats).unwrap_or(chosen.len());
        chosen.contains(&true).then(|| Self(chosen[..period].to_vec()))
    }

    /// Whether a layer is one of them.
    pub fn covers(&self, layer: usize) -> bool {
        self.0[layer % self.0.len()]
    }
}

/// Some layers attend to the last positions only (Beltagy et al. 2020; Mistral, Gemma).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Positions that a query sees at most, itself counted.
    pub positions: usize,
    /// Which layers have it.
    layers: LayerPattern,
}

impl Window {
    /// A window in the layers for which `windowed` is true, repeated; none when it is true for no layer.
    pub fn new(positions: usize, windowed: &[bool]) -> Option<Self> {
        LayerPattern::new(windowed).map(|layers| Self { positions, layers })
    }

    /// Whether a layer has it.
    pub fn covers(&self, layer: usize) -> bool {
        self.layers.covers(layer)
    }
}

/// Experts in place of every feed-forward block, each of the feed-forward width; gated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Experts {
    /// How many there are.
    pub count: usize,
    /// How a token chooses.
    pub routing: Routing,
    /// Hidden width of one more that serves every token, with a gate of its own (Qwen 2 MoE).
    pub shared_width: Option<usize>,
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
    /// Feed-forward width f, with experts that of each.
    pub feed_forward_width: usize,
    /// Longest context.
    pub context: usize,
    /// LayerNorm or RMSNorm.
    pub norm: NormKind,
    /// Of the norms.
    pub epsilon: f32,
    /// How positions enter.
    pub position: Position,
    /// Plain with an activation, or gated.
    pub feed_forward: FeedForwardKind,
    /// Experts in place of the feed-forward blocks.
    pub experts: Option<Experts>,
    /// Attention and feed-forward block read the same norm of the stream, and their sum is fed into it.
    pub parallel: bool,
    /// The embedding is normalized (BLOOM).
    pub embedding_norm: bool,
    /// Biases on queries, keys, values.
    pub qkv_bias: bool,
    /// Biases on the attention's output.
    pub output_bias: bool,
    /// Biases in the feed-forward block.
    pub feed_forward_bias: bool,
    /// The queries and keys of each head are normalized (Qwen 3, Gemma 3).
    pub head_norm: bool,
    /// What a block's two parts feed into the stream is normalized too (Gemma 2).
    pub post_norm: bool,
    /// Layers that attend to the last positions only.
    pub window: Option<Window>,
    /// Factor of the attention's scores; `1 / sqrt(d)` where not given.
    pub score_scale: Option<f32>,
    /// Scores are capped softly: `cap tanh(score / cap)` (Gemma 2).
    pub score_cap: Option<f32>,
    /// Logits are capped softly.
    pub logit_cap: Option<f32>,
    /// Factor of the embedding.
    pub embedding_scale: f32,
    /// Factor of what a block's two parts feed into the stream (Granite).
    pub residual_scale: f32,
    /// Divisor of the logits (Granite).
    pub logit_divisor: f32,
    /// The head is the embedding.
    pub tied: bool,
    /// In training: after the embedding and each block's two parts.
    pub dropout: f32,
}

impl DecoderSpec {
    /// What most families have nothing of; sizes are 0.
    pub(crate) const PRE_NORM: Self = Self {
        family: "",
        vocabulary: 0,
        width: 0,
        layers: 0,
        heads: 0,
        key_heads: 0,
        head_width: 0,
        feed_forward_width: 0,
        context: 0,
        norm: NormKind::Rms,
        epsilon: 1e-5,
        position: Position::Learned,
        feed_forward: FeedForwardKind::SWIGLU,
        experts: None,
        parallel: false,
        embedding_norm: false,
        qkv_bias: false,
        output_bias: false,
        feed_forward_bias: false,
        head_norm: false,
        post_norm: false,
        window: None,
        score_scale: None,
        score_cap: None,
        logit_cap: None,
        embedding_scale: 1.0,
        residual_scale: 1.0,
        logit_divisor: 1.0,
        tied: false,
        dropout: 0.0,
    };

    /// Parameters that take part in a matrix product for each token: what 6ND counts (the embedding
    /// look-up is no product, the head is; of the experts, those that a token chooses).
    pub fn product_parameters(&self) -> usize {
        let attention = self.width * (self.heads + 2 * self.key_heads) * self.head_width
            + self.heads * self.head_width * self.width;
        let of_width = (self.gate_and_up() + 1) * self.width;
        let feed_forward = self.experts.map_or(of_width * self.feed_forward_width, |experts| {
            let shared = experts.shared_width.map_or(0, |width| of_width * width + self.width);
            experts.count * self.width + experts.routing.chosen * of_width * self.feed_forward_width + shared
        });
        self.layers * (attention + feed_forward) + self.vocabulary * self.width
    }

    /// All matrices and tables, biases and norms not counted, without overflow for any sizes.
    pub fn parameters_at_least(&self) -> u128 {
        let wide = |sizes: &[usize]| sizes.iter().fold(1u128, |product, &size| product.saturating_mul(size as u128));
        let rows = (self.heads as u128 + 2 * self.key_heads as u128) * self.head_width as u128;
        let attention = wide(&[self.width]).saturating_mul(rows) + wide(&[self.heads, self.head_width, self.width]);
        let matrices = self.gate_and_up() + 1;
        let experts = self.experts.map_or(1, |experts| experts.count);
        let feed_forward = wide(&[experts, matrices, self.width, self.feed_forward_width]);
        let shared = self.experts.and_then(|experts| experts.shared_width);
        let block =
            attention.saturating_add(feed_forward).saturating_add(wide(&[matrices, self.width, shared.unwrap_or(0)]));
        let tables = if self.tied { 1 } else { 2 };
        let positions = if self.position == Position::Learned { wide(&[self.context, self.width]) } else { 0 };
        block
            .saturating_mul(self.layers as u128)
            .saturating_add(wide(&[tables, self.vocabulary, self.width]))
            .saturating_add(positions)
    }

    /// Matrices between the model's width and the feed-forward width, on the way in: gate and up, or one.
    pub fn gate_and_up(&self) -> usize {
        self.feed_forward.matrices_in()
    }

    /// Bytes that training takes at least: three float32 per parameter (weight, gradient, one moment) and, of each of
    /// `rows` tokens of a micro-batch, what the layers keep for backward; where activations are recomputed, what enters
    /// each layer.
    pub fn training_bytes_at_least(&self, rows: usize, activations: Activations) -> u128 {
        let of_width = |width: usize| width as u128 * (self.gate_and_up() as u128 + 1);
        let wide = self.experts.map_or(of_width(self.feed_forward_width), |experts| {
            // Gate and up for each that is chosen, and the router's probabilities.
            let chosen = 2 * experts.routing.chosen as u128 * self.feed_forward_width as u128;
            chosen + experts.count as u128 + experts.shared_width.map_or(0, of_width)
        });
        let qkv = (self.heads as u128 + 2 * self.key_heads as u128) * self.head_width as u128;
        let streams = if self.parallel { 2 } else { 4 };
        let layer = streams * self.width as u128 + qkv + self.heads as u128 * self.head_width as u128 + wide;
        let layer = if activations == Activations::Kept { layer } else { self.width as u128 };
        let kept = layer.saturating_mul(self.layers as u128).saturating_mul(rows as u128);
        self.parameters_at_least().saturating_mul(12).saturating_add(kept.saturating_mul(4))
    }

    /// Floating-point operations per token of a training step (forward and backward), with causal attention
    /// in segments of `length`: `6 N + 6 layers h d length` (half of the full square) where no layer has a window.
    pub fn training_flops_per_token(&self, length: usize) -> f64 {
        // A window that is shorter leaves a band: the square without the triangle that it does not see.
        let seen = |layer: usize| match self.window_of(layer) {
            Some(window) if window < length => 2.0 * window as f64 - (window * window) as f64 / length as f64,
            _ => length as f64,
        };
        let attention: f64 = (0..self.layers).map(seen).sum();
        6.0 * self.product_parameters() as f64 + 6.0 * (self.heads * self.head_width) as f64 * attention
    }

    /// Floating-point operations of a forward pass over the tokens at `positions` of one sequence, with logits of `outputs`
    /// of them. Each token attends to itself and to every position before it that its layer sees.
    pub fn forward_flops(&self, positions: Range<usize>, outputs: usize) -> f64 {
        let head = (self.vocabulary * self.width) as f64;
        let blocks = self.product_parameters() as f64 - head;
        // Pairs of the tokens before a position: a triangle, then a band as wide as the window.
        let pairs_before = |position: usize, window: usize| {
            let (triangle, band) = (position.min(window), position.saturating_sub(window));
            triangle as f64 * (triangle as f64 + 1.0) / 2.0 + band as f64 * window as f64
        };
        let pairs = |layer: usize| {
            let window = self.window_of(layer).unwrap_or(usize::MAX);
            pairs_before(positions.end, window) - pairs_before(positions.start, window)
        };
        let pairs: f64 = (0..self.layers).map(pairs).sum();
        let attention = 4.0 * (self.heads * self.head_width) as f64 * pairs;
        2.0 * (blocks * positions.len() as f64 + head * outputs as f64) + attention
    }

    /// Positions that a query of a layer sees at most, where they are limited.
    pub fn window_of(&self, layer: usize) -> Option<usize> {
        self.window.as_ref().filter(|window| window.covers(layer)).map(|window| window.positions)
    }

    /// The attention of a layer.
    pub fn attention_heads(&self, layer: usize) -> Heads {
        let scale = self.score_scale.unwrap_or(1.0 / (self.head_width as f32).sqrt());
        Heads {
            window: self.window_of(layer),
            soft_cap: self.score_cap,
            alibi: self.position == Position::Alibi,
            ..Heads::new(self.heads, self.key_heads, self.head_width, scale)
        }
    }

    /// Whether a layer turns its queries and keys.
    pub(crate) fn turns(&self, layer: usize) -> bool {
        match &self.position {
            Position::Rotary(rotary) => !rotary.unturned.as_ref().is_some_and(|unturned| unturned.covers(layer)),
            _ => false,
        }
    }

    /// The rotations of layers without and with a window of their own base, where the decoder rotates.
    pub(crate) fn rotary_tables(&self, make: impl Fn(&[f64], f64) -> RotaryTable) -> [Option<RotaryTable>; 2] {
        let Position::Rotary(rotary) = &self.position else { return [None, None] };
        let turned = rotary.turned(self.head_width);
        let scaling = rotary.scaling.as_ref();
        let every = make(&rotary_frequencies(turned, rotary.base, scaling, self.context), attention_factor(scaling));
        let windowed = rotary.window_base.map(|base| make(&rotary_frequencies(turned, base, None, self.context), 1.0));
        [Some(every), windowed]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_repeats_its_shortest_pattern() {
        assert_eq!(Window::new(4, &[false, false]), None);
        assert_eq!(Window::new(4, &[]), None);
        let gemma = Window::new(4, &[true, true, false, true, true, false, true]).unwrap();
        assert_eq!(gemma.layers.0, [true, true, false]);
        assert_eq!(
            (0..7).map(|layer| gemma.covers(layer)).collect::<Vec<_>>(),
            [true, true, false, true, true, false, true]
        );
        assert_eq!(Window::new(4, &[true; 5]).unwrap().layers.0, [true]);
        assert_eq!(Window::new(4, &[false, false, true]).unwrap().layers.0, [false, false, true]);
    }
}
