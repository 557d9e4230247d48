//! Self-attention with grouped queries (Vaswani et al. 2017; Ainslie et al. 2023), causal or in both directions as its heads say.

use std::sync::Arc;

use tsumugi_tensor::{Heads, Ids, NormKind, Parameters, ParametersBuilder, RotaryTable, Tape, Var};

use crate::{Linear, Norm};

/// `[r, m]` to `[r, m]`.
#[derive(Debug, Clone)]
pub struct SelfAttention {
    /// Queries, keys and values in one product: `[(h + 2g) d, m]`.
    pub qkv: Linear,
    /// `[m, h d]`
    pub output: Linear,
    /// Sizes.
    pub heads: Heads,
    /// Norms of each head's queries and of its keys, if any.
    pub head_norms: Option<[Norm; 2]>,
    /// Rotary positions, if any.
    pub rotary: Option<Arc<RotaryTable>>,
    /// Which layer's keys and values of the engine's cache are ours.
    pub layer: usize,
}

/// Sizes and options of an attention layer.
#[derive(Debug, Clone)]
pub struct AttentionConfig {
    /// Model width m.
    pub width: usize,
    /// Heads.
    pub heads: Heads,
    /// Whether queries, keys and values have a bias.
    pub qkv_bias: bool,
    /// Whether the output has a bias.
    pub output_bias: bool,
    /// Kind and epsilon of the norms of queries and keys, where each head has them.
    pub head_norm: Option<(NormKind, f32)>,
    /// Rotary positions, if any.
    pub rotary: Option<Arc<RotaryTable>>,
    /// Layer index.
    pub layer: usize,
}

impl SelfAttention {
    /// Declares `<name>.qkv`, `<name>.output` and, with norms of heads, `<name>.query_norm` and `<name>.key_norm`.
    pub fn declare(builder: &mut ParametersBuilder, name: &str, config: AttentionConfig) -> Self {
        let AttentionConfig { width, heads, qkv_bias, output_bias, head_norm, rotary, layer } = config;
        let (queries, keys) = (heads.query * heads.width, heads.key * heads.width);
        let qkv = Linear::declare(builder, &format!("{name}.qkv"), width, &[queries, keys, keys], qkv_bias);
        let head_norms = head_norm.map(|(kind, epsilon)| {
            ["query_norm", "key_norm"]
                .map(|which| Norm::declare(builder, &format!("{name}.{which}"), heads.width, kind, epsilon))
        });
        let output = Linear::declare(builder, &format!("{name}.output"), queries, &[width], output_bias);
        Self { qkv, output, heads, head_norms, rotary, layer }
    }

    /// Records the layer.
    pub fn record(&self, tape: &mut Tape, parameters: &Parameters, x: Var, positions: Ids) -> Var {
        let mut qkv = self.qkv.record(tape, parameters, x, None);
        if let Some([query, key]) = &self.head_norms {
            let weights = [query, key].map(|norm| tape.parameter(parameters, norm.weight));
            qkv = tape.normalize_heads(qkv, weights, &self.heads, query.kind, query.epsilon);
        }
        if let Some(table) = &self.rotary {
            // Rotate before caching: a cached key never moves again.
            qkv = tape.rotary(qkv, positions, &self.heads, table);
        }
        let mixed = tape.attention(qkv, self.heads, self.layer);
        self.output.record(tape, parameters, mixed, None)
    }
}
