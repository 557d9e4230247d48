//! Falcon (Almazrouei et al. 2023, arXiv 2311.16867): attention and feed-forward block side by side, keys and values that all
//! queries or groups of them share, rotary positions, LayerNorm, GELU.

use serde_json::{Map, Value, json};
use tsumugi_nn::FeedForwardKind;
use tsumugi_tensor::{Activation, NormKind};

use crate::family::{Family, Place, Rename, rename};
use crate::hf_config::{ConfigProblem, ConfigReader, activation_word, check_heads, keys};
use crate::spec::Rotary;
use crate::{DecoderSpec, Position, rope_config};

/// The family.
pub struct Falcon;

const NAMES: &[Rename] = &[
    rename("transformer.word_embeddings.weight", "embedding.weight", Place::Whole),
    rename("transformer.h.{}.input_layernorm.weight", "layers.{}.attention_norm.weight", Place::Whole),
    rename("transformer.h.{}.input_layernorm.bias", "layers.{}.attention_norm.bias", Place::Whole),
    rename("transformer.h.{}.self_attention.query_key_value.weight", "layers.{}.attention.qkv.weight", Place::Groups),
    rename("transformer.h.{}.self_attention.dense.weight", "layers.{}.attention.output.weight", Place::Whole),
    rename("transformer.h.{}.mlp.dense_h_to_4h.weight", "layers.{}.feed_forward.up.weight", Place::Whole),
    rename("transformer.h.{}.mlp.dense_4h_to_h.weight", "layers.{}.feed_forward.down.weight", Place::Whole),
    rename("transformer.ln_f.weight", "final_norm.weight", Place::Whole),
    rename("transformer.ln_f.bias", "final_norm.bias", Place::Whole),
    rename("lm_head.weight", "head.weight", Place::Whole),
];

impl Falcon {
    fn sized(vocabulary: usize, context: usize, width: usize, layers: usize, heads: usize) -> DecoderSpec {
        DecoderSpec {
            family: "falcon",
            vocabulary,
            width,
            layers,
            heads,
            key_heads: 1,
            head_width: width / heads,
            feed_forward_width: 4 * width,
            context,
            norm: NormKind::Layer,
            position: Position::Rotary(Rotary::plain(10_000.0)),
            feed_forward: FeedForwardKind::Plain(Activation::Gelu),
            parallel: true,
            tied: true,
            ..DecoderSpec::PRE_NORM
        }
    }
}

/// Heads of keys and values: a number of them in newer models; in older ones one, or as many as of queries.
fn read_key_heads(config: &ConfigReader<'_>, heads: usize) -> Result<usize, ConfigProblem> {
    if config.flag_or("new_decoder_architecture", false)? {
        config.only("num_ln_in_parallel_attn", &json!(1))?;
        if config.size_if_there("num_ln_in_parallel_attn")?.is_none() {
            return Err(ConfigProblem(
                "`num_ln_in_parallel_attn` is not there, which stands for 2: only 1 norm of each layer is supported"
                    .into(),
            ));
        }
        return config.size_or("num_kv_heads", config.size_or("n_head_kv", heads)?);
    }
    config.only("parallel_attn", &json!(true))?;
    Ok(if config.flag_or("multi_query", true)? { 1 } else { heads })
}

/// The keys of [`read_key_heads`].
pub(crate) fn heads_keys(heads: usize, key_heads: usize) -> Map<String, Value> {
    keys(json!({
        "num_attention_heads": heads,
        "num_kv_heads": key_heads,
        "multi_query": key_heads == 1,
        "new_decoder_architecture": ![1, heads].contains(&key_heads),
        "num_ln_in_parallel_attn": 1,
        "parallel_attn": true,
    }))
}

impl Family for Falcon {
    fn name(&self) -> &'static str {
        "falcon"
    }

    fn about(&self) -> &'static str {
        "Falcon (Almazrouei et al. 2023): attention and feed-forward side by side, shared keys, LayerNorm, GELU"
    }

    fn spec(&self, config: &ConfigReader<'_>) -> Result<DecoderSpec, ConfigProblem> {
        let width = config.size("hidden_size")?;
        let heads = config.either("n_head", "num_attention_heads")?;
        if !width.is_multiple_of(heads) {
            return Err(ConfigProblem(format!("num_attention_heads {heads} does not divide hidden_size {width}")));
        }
        config.only("alibi", &json!(false))?;
        config.only("bias", &json!(false))?;
        let context = config.size_or("max_position_embeddings", 2048)?;
        let layers = config.either("n_layer", "num_hidden_layers")?;
        let mut spec = Self::sized(config.size("vocab_size")?, context, width, layers, heads);
        spec.key_heads = read_key_heads(config, heads)?;
        check_heads(heads, spec.key_heads)?;
        spec.feed_forward_width = config.size_or("ffn_hidden_size", 4 * width)?;
        spec.feed_forward = FeedForwardKind::Plain(config.activation_or("activation", Activation::Gelu)?);
        spec.epsilon = config.positive_or("layer_norm_epsilon", 1e-5)? as f32;
        spec.position =
            Position::Rotary(rope_config::read(config, spec.head_width, context, &Rotary::plain(10_000.0))?);
        spec.tied = config.flag_or("tie_word_embeddings", true)?;
        Ok(spec)
    }

    fn keys(&self, spec: &DecoderSpec) -> Map<String, Value> {
        let (FeedForwardKind::Plain(activation) | FeedForwardKind::Gated(activation)) = spec.feed_forward;
        let mut keys = keys(json!({
            "architectures": ["FalconForCausalLM"],
            "model_type": "falcon",
            "vocab_size": spec.vocabulary,
            "max_position_embeddings": spec.context,
            "hidden_size": spec.width,
            "num_hidden_layers": spec.layers,
            "ffn_hidden_size": spec.feed_forward_width,
            "activation": activation_word(activation),
            "layer_norm_epsilon": spec.epsilon,
            "alibi": false,
            "bias": false,
            "tie_word_embeddings": spec.tied,
            "hidden_dropout": spec.dropout,
            "attention_dropout": 0.0,
            "torch_dtype": "float32",
        }));
        keys.extend(heads_keys(spec.heads, spec.key_heads));
        keys.extend(rope_config::keys(&spec.position));
        keys
    }

    fn names(&self) -> &'static [Rename] {
        NAMES
    }

    fn optional_prefix(&self) -> &'static str {
        "transformer."
    }

    fn ignored(&self, name: &str) -> bool {
        name.ends_with("rotary_emb.inv_freq")
    }

    fn tiny(&self) -> DecoderSpec {
        DecoderSpec { key_heads: 2, ..Self::sized(50, 24, 16, 2, 4) }
    }
}
