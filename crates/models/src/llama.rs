//! Llama (Touvron et al. 2023): rotary positions, RMSNorm, SwiGLU, grouped queries, no biases.

use serde_json::{Value, json};
use tsumugi_nn::{FeedForwardKind, RopeScaling};
use tsumugi_tensor::NormKind;

use crate::family::{Family, Place, Rename, rename};
use crate::hf_config::{ConfigProblem, ConfigReader, check_heads};
use crate::{DecoderSpec, Position};

/// The family.
pub struct Llama;

const NAMES: &[Rename] = &[
    rename("model.embed_tokens.weight", "embedding.weight", Place::Whole),
    rename("model.layers.{}.input_layernorm.weight", "layers.{}.attention_norm.weight", Place::Whole),
    rename("model.layers.{}.self_attn.q_proj.weight", "layers.{}.attention.qkv.weight", Place::Query),
    rename("model.layers.{}.self_attn.k_proj.weight", "layers.{}.attention.qkv.weight", Place::Key),
    rename("model.layers.{}.self_attn.v_proj.weight", "layers.{}.attention.qkv.weight", Place::Value),
    rename("model.layers.{}.self_attn.q_proj.bias", "layers.{}.attention.qkv.bias", Place::Query),
    rename("model.layers.{}.self_attn.k_proj.bias", "layers.{}.attention.qkv.bias", Place::Key),
    rename("model.layers.{}.self_attn.v_proj.bias", "layers.{}.attention.qkv.bias", Place::Value),
    rename("model.layers.{}.self_attn.o_proj.weight", "layers.{}.attention.output.weight", Place::Whole),
    rename("model.layers.{}.self_attn.o_proj.bias", "layers.{}.attention.output.bias", Place::Whole),
    rename("model.layers.{}.post_attention_layernorm.weight", "layers.{}.feed_forward_norm.weight", Place::Whole),
    rename("model.layers.{}.mlp.gate_proj.weight", "layers.{}.feed_forward.gate_up.weight", Place::Gate),
    rename("model.layers.{}.mlp.up_proj.weight", "layers.{}.feed_forward.gate_up.weight", Place::Up),
    rename("model.layers.{}.mlp.gate_proj.bias", "layers.{}.feed_forward.gate_up.bias", Place::Gate),
    rename("model.layers.{}.mlp.up_proj.bias", "layers.{}.feed_forward.gate_up.bias", Place::Up),
    rename("model.layers.{}.mlp.down_proj.weight", "layers.{}.feed_forward.down.weight", Place::Whole),
    rename("model.layers.{}.mlp.down_proj.bias", "layers.{}.feed_forward.down.bias", Place::Whole),
    rename("model.norm.weight", "final_norm.weight", Place::Whole),
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
            norm: NormKind::Rms,
            epsilon: 1e-5,
            position: Position::Rotary { base: 10_000.0, scaling: None },
            feed_forward: FeedForwardKind::SwiGlu,
            qkv_bias: false,
            output_bias: false,
            feed_forward_bias: false,
            tied: true,
            dropout: 0.0,
        }
    }
}

/// `rope_scaling`, under either of the two keys for its kind. Newer configs put the base there too
/// (`rope_parameters`).
fn rope(config: &ConfigReader<'_>, context: usize) -> Result<(f64, Option<RopeScaling>), ConfigProblem> {
    let base = config.positive_or("rope_theta", 10_000.0)?;
    let parameters = match config.object("rope_parameters")? {
        Some(parameters) => Some(parameters),
        None => config.object("rope_scaling")?,
    };
    let Some(scaling) = parameters else { return Ok((base, None)) };
    let base = scaling.positive_or("rope_theta", base)?;
    let kind = scaling.word_or("rope_type", scaling.word_or("type", "default")?)?;
    let scaling = match kind {
        "default" => None,
        "linear" => Some(RopeScaling::Linear { factor: scaling.positive_or("factor", 1.0)? }),
        "llama3" => Some(RopeScaling::Llama3 {
            factor: scaling.positive_or("factor", 8.0)?,
            low_frequency_factor: scaling.positive_or("low_freq_factor", 1.0)?,
            high_frequency_factor: scaling.positive_or("high_freq_factor", 4.0)?,
            original_context: scaling.positive_or("original_max_position_embeddings", context as f64)?,
        }),
        other => {
            return Err(ConfigProblem(format!(
                "rope scaling `{other}` is not supported; known: default, linear, llama3"
            )));
        }
    };
    Ok((base, scaling))
}

fn rope_scaling_json(scaling: Option<RopeScaling>) -> Value {
    match scaling {
        None => Value::Null,
        Some(RopeScaling::Linear { factor }) => json!({ "rope_type": "linear", "factor": factor }),
        Some(RopeScaling::Llama3 { factor, low_frequency_factor, high_frequency_factor, original_context }) => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_frequency_factor,
            "high_freq_factor": high_frequency_factor,
            "original_max_position_embeddings": original_context as u64,
        }),
    }
}

impl Family for Llama {
    fn name(&self) -> &'static str {
        "llama"
    }

    fn about(&self) -> &'static str {
        "Llama 1, 2, 3 and SmolLM (Touvron et al. 2023): rotary positions, RMSNorm, SwiGLU, grouped queries"
    }

    fn spec(&self, config: &ConfigReader<'_>) -> Result<DecoderSpec, ConfigProblem> {
        let (width, heads) = (config.size("hidden_size")?, config.size("num_attention_heads")?);
        let key_heads = config.size_or("num_key_value_heads", heads)?;
        if !width.is_multiple_of(heads) && config.size("head_dim").is_err() {
            return Err(ConfigProblem(format!("num_attention_heads {heads} does not divide hidden_size {width}")));
        }
        let context = config.size_or("max_position_embeddings", 2048)?;
        config.only("hidden_act", &json!("silu"))?;
        let (base, scaling) = rope(config, context)?;
        let mut spec = Self::sized(
            config.size("vocab_size")?,
            context,
            width,
            config.size("num_hidden_layers")?,
            heads,
            key_heads,
        );
        spec.head_width = config.size_or("head_dim", width / heads)?;
        check_heads(heads, key_heads, spec.head_width, true)?;
        spec.feed_forward_width = config.size("intermediate_size")?;
        spec.epsilon = config.positive_or("rms_norm_eps", 1e-6)? as f32;
        spec.position = Position::Rotary { base, scaling };
        spec.qkv_bias = config.flag_or("attention_bias", false)?;
        spec.output_bias = spec.qkv_bias;
        spec.feed_forward_bias = config.flag_or("mlp_bias", false)?;
        spec.tied = config.flag_or("tie_word_embeddings", false)?;
        Ok(spec)
    }

    fn config(&self, spec: &DecoderSpec) -> Result<Value, String> {
        let Position::Rotary { base, scaling } = spec.position else { return Err("learned positions".into()) };
        if spec.norm != NormKind::Rms
            || spec.feed_forward != FeedForwardKind::SwiGlu
            || spec.qkv_bias != spec.output_bias
        {
            return Err("LayerNorm, a plain feed-forward block or a bias on one side of the attention".into());
        }
        Ok(json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": spec.vocabulary,
            "hidden_size": spec.width,
            "intermediate_size": spec.feed_forward_width,
            "num_hidden_layers": spec.layers,
            "num_attention_heads": spec.heads,
            "num_key_value_heads": spec.key_heads,
            "head_dim": spec.head_width,
            "hidden_act": "silu",
            "max_position_embeddings": spec.context,
            "rms_norm_eps": spec.epsilon,
            "rope_theta": base,
            "rope_scaling": rope_scaling_json(scaling),
            "attention_bias": spec.qkv_bias,
            "mlp_bias": spec.feed_forward_bias,
            "tie_word_embeddings": spec.tied,
            "torch_dtype": "float32",
        }))
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
