//! GPT-2 (Radford et al. 2019): learned positions, LayerNorm, GELU, biases everywhere, tied head.

use serde_json::{Map, Value, json};
use tsumugi_nn::FeedForwardKind;
use tsumugi_tensor::{Activation, NormKind};

use crate::family::{Family, Place, Rename, rename};
use crate::hf_config::{ConfigProblem, ConfigReader, activation_word, keys};
use crate::{DecoderSpec, Position};

/// The family.
pub struct Gpt2;

const NAMES: &[Rename] = &[
    rename("transformer.wte.weight", "embedding.weight", Place::Whole),
    rename("transformer.wpe.weight", "positions.weight", Place::Whole),
    rename("transformer.h.{}.ln_1.weight", "layers.{}.attention_norm.weight", Place::Whole),
    rename("transformer.h.{}.ln_1.bias", "layers.{}.attention_norm.bias", Place::Whole),
    rename("transformer.h.{}.attn.c_attn.weight", "layers.{}.attention.qkv.weight", Place::Transposed),
    rename("transformer.h.{}.attn.c_attn.bias", "layers.{}.attention.qkv.bias", Place::Whole),
    rename("transformer.h.{}.attn.c_proj.weight", "layers.{}.attention.output.weight", Place::Transposed),
    rename("transformer.h.{}.attn.c_proj.bias", "layers.{}.attention.output.bias", Place::Whole),
    rename("transformer.h.{}.ln_2.weight", "layers.{}.feed_forward_norm.weight", Place::Whole),
    rename("transformer.h.{}.ln_2.bias", "layers.{}.feed_forward_norm.bias", Place::Whole),
    rename("transformer.h.{}.mlp.c_fc.weight", "layers.{}.feed_forward.up.weight", Place::Transposed),
    rename("transformer.h.{}.mlp.c_fc.bias", "layers.{}.feed_forward.up.bias", Place::Whole),
    rename("transformer.h.{}.mlp.c_proj.weight", "layers.{}.feed_forward.down.weight", Place::Transposed),
    rename("transformer.h.{}.mlp.c_proj.bias", "layers.{}.feed_forward.down.bias", Place::Whole),
    rename("transformer.ln_f.weight", "final_norm.weight", Place::Whole),
    rename("transformer.ln_f.bias", "final_norm.bias", Place::Whole),
    rename("lm_head.weight", "head.weight", Place::Whole),
];

impl Gpt2 {
    /// A GPT-2 of these sizes.
    pub fn sized(vocabulary: usize, context: usize, width: usize, layers: usize, heads: usize) -> DecoderSpec {
        DecoderSpec {
            family: "gpt2",
            vocabulary,
            width,
            layers,
            heads,
            key_heads: heads,
            head_width: width / heads,
            feed_forward_width: 4 * width,
            context,
            norm: NormKind::Layer,
            epsilon: 1e-5,
            position: Position::Learned,
            feed_forward: FeedForwardKind::Plain(Activation::GeluTanh),
            qkv_bias: true,
            output_bias: true,
            feed_forward_bias: true,
            tied: true,
            ..DecoderSpec::PRE_NORM
        }
    }
}

impl Family for Gpt2 {
    fn name(&self) -> &'static str {
        "gpt2"
    }

    fn about(&self) -> &'static str {
        "GPT-2 (Radford et al. 2019): learned positions, LayerNorm, GELU"
    }

    fn spec(&self, config: &ConfigReader<'_>) -> Result<DecoderSpec, ConfigProblem> {
        let (width, heads) = (config.size("n_embd")?, config.size("n_head")?);
        if !width.is_multiple_of(heads) {
            return Err(ConfigProblem(format!("n_head {heads} does not divide n_embd {width}")));
        }
        config.only("scale_attn_weights", &json!(true))?;
        config.only("scale_attn_by_inverse_layer_idx", &json!(false))?;
        let activation = config.activation_or("activation_function", Activation::GeluTanh)?;
        let context = config.size_or("n_positions", 1024)?;
        let mut spec = Self::sized(config.size("vocab_size")?, context, width, config.size("n_layer")?, heads);
        spec.feed_forward_width = config.size_or("n_inner", 4 * width)?;
        spec.feed_forward = FeedForwardKind::Plain(activation);
        spec.epsilon = config.positive_or("layer_norm_epsilon", 1e-5)? as f32;
        spec.tied = config.flag_or("tie_word_embeddings", true)?;
        Ok(spec)
    }

    fn keys(&self, spec: &DecoderSpec) -> Map<String, Value> {
        let activation = match spec.feed_forward {
            FeedForwardKind::Plain(activation) | FeedForwardKind::Gated(activation) => activation_word(activation),
        };
        keys(json!({
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "vocab_size": spec.vocabulary,
            "n_positions": spec.context,
            "n_embd": spec.width,
            "n_layer": spec.layers,
            "n_head": spec.heads,
            "n_inner": spec.feed_forward_width,
            "activation_function": activation,
            "layer_norm_epsilon": spec.epsilon,
            "tie_word_embeddings": spec.tied,
            "embd_pdrop": spec.dropout,
            "attn_pdrop": 0.0,
            "resid_pdrop": spec.dropout,
            "torch_dtype": "float32",
        }))
    }

    fn names(&self) -> &'static [Rename] {
        NAMES
    }

    fn optional_prefix(&self) -> &'static str {
        "transformer."
    }

    fn ignored(&self, name: &str) -> bool {
        name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias")
    }

    fn tiny(&self) -> DecoderSpec {
        Self::sized(50, 24, 16, 2, 2)
    }
}
