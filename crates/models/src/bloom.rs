//! BLOOM (BigScience 2022, arXiv 2211.05100): ALiBi in place of positions, a norm of the embedding, LayerNorm, GELU, biases.

use serde_json::{Map, Value, json};
use tsumugi_nn::FeedForwardKind;
use tsumugi_tensor::{Activation, NormKind};

use crate::family::{Family, Place, Rename, rename};
use crate::hf_config::{ConfigProblem, ConfigReader, keys};
use crate::{DecoderSpec, Position};

/// The family.
pub struct Bloom;

const NAMES: &[Rename] = &[
    rename("transformer.word_embeddings.weight", "embedding.weight", Place::Whole),
    rename("transformer.word_embeddings_layernorm.weight", "embedding_norm.weight", Place::Whole),
    rename("transformer.word_embeddings_layernorm.bias", "embedding_norm.bias", Place::Whole),
    rename("transformer.h.{}.input_layernorm.weight", "layers.{}.attention_norm.weight", Place::Whole),
    rename("transformer.h.{}.input_layernorm.bias", "layers.{}.attention_norm.bias", Place::Whole),
    rename("transformer.h.{}.self_attention.query_key_value.weight", "layers.{}.attention.qkv.weight", Place::Groups),
    rename("transformer.h.{}.self_attention.query_key_value.bias", "layers.{}.attention.qkv.bias", Place::Groups),
    rename("transformer.h.{}.self_attention.dense.weight", "layers.{}.attention.output.weight", Place::Whole),
    rename("transformer.h.{}.self_attention.dense.bias", "layers.{}.attention.output.bias", Place::Whole),
    rename("transformer.h.{}.post_attention_layernorm.weight", "layers.{}.feed_forward_norm.weight", Place::Whole),
    rename("transformer.h.{}.post_attention_layernorm.bias", "layers.{}.feed_forward_norm.bias", Place::Whole),
    rename("transformer.h.{}.mlp.dense_h_to_4h.weight", "layers.{}.feed_forward.up.weight", Place::Whole),
    rename("transformer.h.{}.mlp.dense_h_to_4h.bias", "layers.{}.feed_forward.up.bias", Place::Whole),
    rename("transformer.h.{}.mlp.dense_4h_to_h.weight", "layers.{}.feed_forward.down.weight", Place::Whole),
    rename("transformer.h.{}.mlp.dense_4h_to_h.bias", "layers.{}.feed_forward.down.bias", Place::Whole),
    rename("transformer.ln_f.weight", "final_norm.weight", Place::Whole),
    rename("transformer.ln_f.bias", "final_norm.bias", Place::Whole),
    rename("lm_head.weight", "head.weight", Place::Whole),
];

impl Bloom {
    fn sized(vocabulary: usize, context: usize, width: usize, layers: usize, heads: usize) -> DecoderSpec {
        DecoderSpec {
            family: "bloom",
            vocabulary,
            width,
            layers,
            heads,
            key_heads: heads,
            head_width: width / heads,
            feed_forward_width: 4 * width,
            context,
            norm: NormKind::Layer,
            position: Position::Alibi,
            feed_forward: FeedForwardKind::Plain(Activation::GeluTanh),
            embedding_norm: true,
            qkv_bias: true,
            output_bias: true,
            feed_forward_bias: true,
            tied: true,
            ..DecoderSpec::PRE_NORM
        }
    }
}

impl Family for Bloom {
    fn name(&self) -> &'static str {
        "bloom"
    }

    fn about(&self) -> &'static str {
        "BLOOM (BigScience 2022): ALiBi, a norm of the embedding, LayerNorm, GELU"
    }

    fn spec(&self, config: &ConfigReader<'_>) -> Result<DecoderSpec, ConfigProblem> {
        let width = config.either("n_embed", "hidden_size")?;
        let heads = config.either("n_head", "num_attention_heads")?;
        if !width.is_multiple_of(heads) {
            return Err(ConfigProblem(format!("n_head {heads} does not divide hidden_size {width}")));
        }
        config.only("apply_residual_connection_post_layernorm", &json!(false))?;
        // ALiBi has no longest context: this is the one of the training.
        let context = config.size_or("seq_length", 2048)?;
        let layers = config.either("n_layer", "num_hidden_layers")?;
        let mut spec = Self::sized(config.size("vocab_size")?, context, width, layers, heads);
        spec.epsilon = config.positive_or("layer_norm_epsilon", 1e-5)? as f32;
        spec.tied = config.flag_or("tie_word_embeddings", true)?;
        Ok(spec)
    }

    fn keys(&self, spec: &DecoderSpec) -> Map<String, Value> {
        keys(json!({
            "architectures": ["BloomForCausalLM"],
            "model_type": "bloom",
            "vocab_size": spec.vocabulary,
            "seq_length": spec.context,
            "hidden_size": spec.width,
            "n_layer": spec.layers,
            "n_head": spec.heads,
            "layer_norm_epsilon": spec.epsilon,
            "tie_word_embeddings": spec.tied,
            "hidden_dropout": spec.dropout,
            "attention_dropout": 0.0,
            "torch_dtype": "float32",
        }))
    }

    fn names(&self) -> &'static [Rename] {
        NAMES
    }

    fn optional_prefix(&self) -> &'static str {
        "transformer."
    }

    fn tiny(&self) -> DecoderSpec {
        Self::sized(50, 24, 18, 2, 3)
    }
}
