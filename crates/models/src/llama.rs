//! Llama (Touvron et al. 2023): rotary positions, RMSNorm, SwiGLU, grouped queries, no biases; and what its relatives
//! share with it: names of tensors and keys of `config.json`.

use serde_json::{Map, Value, json};
use tsumugi_nn::FeedForwardKind;
use tsumugi_tensor::Activation;

use crate::family::{Family, Place, Rename, rename};
use crate::hf_config::{self, ConfigProblem, ConfigReader, activation_word, check_heads};
use crate::spec::Rotary;
use crate::{DecoderSpec, Position, rope_config};

/// The family.
pub struct Llama;

/// Of Llama and its relatives.
pub(crate) const NAMES: &[Rename] = &[
    rename("model.embed_tokens.weight", "embedding.weight", Place::Whole),
    rename("model.layers.{}.input_layernorm.weight", "layers.{}.attention_norm.weight", Place::Whole),
    rename("model.layers.{}.input_layernorm.bias", "layers.{}.attention_norm.bias", Place::Whole),
    rename("model.layers.{}.self_attn.q_proj.weight", "layers.{}.attention.qkv.weight", Place::Query),
    rename("model.layers.{}.self_attn.k_proj.weight", "layers.{}.attention.qkv.weight", Place::Key),
    rename("model.layers.{}.self_attn.v_proj.weight", "layers.{}.attention.qkv.weight", Place::Value),
    rename("model.layers.{}.self_attn.q_proj.bias", "layers.{}.attention.qkv.bias", Place::Query),
    rename("model.layers.{}.self_attn.k_proj.bias", "layers.{}.attention.qkv.bias", Place::Key),
    rename("model.layers.{}.self_attn.v_proj.bias", "layers.{}.attention.qkv.bias", Place::Value),
    rename("model.layers.{}.self_attn.q_norm.weight", "layers.{}.attention.query_norm.weight", Place::Whole),
    rename("model.layers.{}.self_attn.k_norm.weight", "layers.{}.attention.key_norm.weight", Place::Whole),
    rename("model.layers.{}.self_attn.o_proj.weight", "layers.{}.attention.output.weight", Place::Whole),
    rename("model.layers.{}.self_attn.o_proj.bias", "layers.{}.attention.output.bias", Place::Whole),
    rename("model.layers.{}.post_attention_layernorm.weight", "layers.{}.feed_forward_norm.weight", Place::Whole),
    rename("model.layers.{}.post_attention_layernorm.bias", "layers.{}.feed_forward_norm.bias", Place::Whole),
    rename("model.layers.{}.mlp.gate_proj.weight", "layers.{}.feed_forward.gate_up.weight", Place::Gate),
    rename("model.layers.{}.mlp.up_proj.weight", "layers.{}.feed_forward.gate_up.weight", Place::Up),
    rename("model.layers.{}.mlp.gate_proj.bias", "layers.{}.feed_forward.gate_up.bias", Place::Gate),
    rename("model.layers.{}.mlp.up_proj.bias", "layers.{}.feed_forward.gate_up.bias", Place::Up),
    rename("model.layers.{}.mlp.down_proj.weight", "layers.{}.feed_forward.down.weight", Place::Whole),
    rename("model.layers.{}.mlp.down_proj.bias", "layers.{}.feed_forward.down.bias", Place::Whole),
    rename("model.norm.weight", "final_norm.weight", Place::Whole),
    rename("model.norm.bias", "final_norm.bias", Place::Whole),
    rename("lm_head.weight", "head.weight", Place::Whole),
];

impl Llama {
    /// A Llama of these sizes: heads of `width / heads`, SwiGLU of 8/3 of the width rounded up to 32,
    /// tied head, frequencies of base 10,000.
    pub fn sized(
        vocabulary: usize,
        context: usize,
        width: usize,
        layers: usize,
        heads: usize,
        key_heads: usize,
    ) -> DecoderSpec {
        DecoderSpec {
            family: "llama",
            vocabulary,
            width,
            layers,
            heads,
            key_heads,
            head_width: width / heads,
            feed_forward_width: (width * 8).div_ceil(3).next_multiple_of(32),
            context,
            position: Position::Rotary(Rotary::plain(10_000.0)),
            tied: true,
            ..DecoderSpec::PRE_NORM
        }
    }
}

/// What Llama's relatives share in `config.json`, over a base that has what the family always has, and the context, head
/// width (0: the model's by the heads), base of rotation, activation and tying for where a key is absent.
pub(crate) fn read(config: &ConfigReader<'_>, base: DecoderSpec) -> Result<DecoderSpec, ConfigProblem> {
    let (width, heads) = (config.size("hidden_size")?, config.size("num_attention_heads")?);
    let key_heads = config.size_or("num_key_value_heads", heads)?;
    let context = config.size_or("max_position_embeddings", base.context)?;
    let head_width = match (config.size_if_there("head_dim")?, base.head_width) {
        (Some(width), _) => width,
        (None, 0) if width.is_multiple_of(heads) => width / heads,
        (None, 0) => {
            return Err(ConfigProblem(format!("num_attention_heads {heads} does not divide hidden_size {width}")));
        }
        (None, width) => width,
    };
    check_heads(heads, key_heads)?;
    let Position::Rotary(rotary) = &base.position else { return Err(ConfigProblem("no rotary positions".into())) };
    let (FeedForwardKind::Gated(activation) | FeedForwardKind::Plain(activation)) = base.feed_forward;
    let activation = match config.activation_or("hidden_act", activation)? {
        activation @ (Activation::Silu | Activation::Gelu | Activation::GeluTanh) => activation,
        other => return Err(ConfigProblem(format!("hidden_act `{}` is not supported", activation_word(other)))),
    };
    Ok(DecoderSpec {
        vocabulary: config.size("vocab_size")?,
        width,
        layers: config.size("num_hidden_layers")?,
        heads,
        key_heads,
        head_width,
        feed_forward_width: config.size("intermediate_size")?,
        context,
        epsilon: config.positive_or("rms_norm_eps", 1e-6)? as f32,
        position: Position::Rotary(rope_config::read(config, head_width, context, rotary)?),
        feed_forward: FeedForwardKind::Gated(activation),
        tied: config.flag_or("tie_word_embeddings", base.tied)?,
        ..base
    })
}

/// The keys of [`read`].
pub(crate) fn keys(spec: &DecoderSpec, architecture: &str) -> Map<String, Value> {
    let (FeedForwardKind::Gated(activation) | FeedForwardKind::Plain(activation)) = spec.feed_forward;
    let mut keys = hf_config::keys(json!({
        "architectures": [architecture],
        "model_type": spec.family,
        "vocab_size": spec.vocabulary,
        "hidden_size": spec.width,
        "intermediate_size": spec.feed_forward_width,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "num_key_value_heads": spec.key_heads,
        "head_dim": spec.head_width,
        "hidden_act": activation_word(activation),
        "max_position_embeddings": spec.context,
        "rms_norm_eps": spec.epsilon,
        "tie_word_embeddings": spec.tied,
        "torch_dtype": "float32",
    }));
    keys.extend(rope_config::keys(&spec.position));
    keys
}

/// `attention_bias` and `mlp_bias`, which some relatives have.
pub(crate) fn read_biases(config: &ConfigReader<'_>, spec: &mut DecoderSpec) -> Result<(), ConfigProblem> {
    spec.qkv_bias = config.flag_or("attention_bias", false)?;
    spec.output_bias = spec.qkv_bias;
    spec.feed_forward_bias = config.flag_or("mlp_bias", false)?;
    Ok(())
}

/// The keys of [`read_biases`].
pub(crate) fn bias_keys(spec: &DecoderSpec) -> Map<String, Value> {
    hf_config::keys(json!({ "attention_bias": spec.qkv_bias, "mlp_bias": spec.feed_forward_bias }))
}

impl Family for Llama {
    fn name(&self) -> &'static str {
        "llama"
    }

    fn about(&self) -> &'static str {
        "Llama 1, 2, 3 and SmolLM (Touvron et al. 2023): rotary positions, RMSNorm, SwiGLU, grouped queries"
    }

    fn spec(&self, config: &ConfigReader<'_>) -> Result<DecoderSpec, ConfigProblem> {
        let mut spec = read(config, relative("llama", 2048))?;
        read_biases(config, &mut spec)?;
        Ok(spec)
    }

    fn keys(&self, spec: &DecoderSpec) -> Map<String, Value> {
        let mut keys = keys(spec, "LlamaForCausalLM");
        keys.extend(bias_keys(spec));
        keys
    }

    fn names(&self) -> &'static [Rename] {
        NAMES
    }

    fn optional_prefix(&self) -> &'static str {
        "model."
    }

    fn ignored(&self, name: &str) -> bool {
        name.ends_with("rotary_emb.inv_freq")
    }

    fn tiny(&self) -> DecoderSpec {
        Self::sized(50, 24, 16, 2, 4, 2)
    }
}

/// What a family that is as Llama begins with, where its config says nothing else.
pub(crate) fn relative(family: &'static str, context: usize) -> DecoderSpec {
    DecoderSpec { family, context, position: Position::Rotary(Rotary::plain(10_000.0)), ..DecoderSpec::PRE_NORM }
}
