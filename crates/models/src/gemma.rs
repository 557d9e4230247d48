//! Gemma 2 (Gemma Team 2024, arXiv 2408.00118): norms before and after each part of a block, whose weights stand for one more;
//! GeGLU; windows in every other layer; soft caps on scores and logits. Gemma 3 (Gemma Team 2025, arXiv 2503.19786): norms of
//! heads in place of the caps; five of six layers have a window and a rotation of their own.

use serde_json::{Map, Value, json};
use tsumugi_nn::FeedForwardKind;
use tsumugi_tensor::{Activation, NormKind};

use crate::family::{Family, Place, Rename, rename};
use crate::hf_config::{ConfigProblem, ConfigReader};
use crate::spec::{Rotary, Window};
use crate::{DecoderSpec, Position, layer_types, llama};

/// Gemma 2.
pub struct Gemma2;

/// The text model of Gemma 3.
pub struct Gemma3;

/// Base of the rotation of Gemma 3's layers with a window.
const WINDOW_BASE: f64 = 10_000.0;

const NAMES: &[Rename] = &[
    rename("model.embed_tokens.weight", "embedding.weight", Place::Whole),
    rename("model.layers.{}.input_layernorm.weight", "layers.{}.attention_norm.weight", Place::Whole),
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
    rename("model.layers.{}.post_attention_layernorm.weight", "layers.{}.attention_post_norm.weight", Place::Whole),
    rename("model.layers.{}.pre_feedforward_layernorm.weight", "layers.{}.feed_forward_norm.weight", Place::Whole),
    rename("model.layers.{}.mlp.gate_proj.weight", "layers.{}.feed_forward.gate_up.weight", Place::Gate),
    rename("model.layers.{}.mlp.up_proj.weight", "layers.{}.feed_forward.gate_up.weight", Place::Up),
    rename("model.layers.{}.mlp.down_proj.weight", "layers.{}.feed_forward.down.weight", Place::Whole),
    rename(
        "model.layers.{}.post_feedforward_layernorm.weight",
        "layers.{}.feed_forward_post_norm.weight",
        Place::Whole,
    ),
    rename("model.norm.weight", "final_norm.weight", Place::Whole),
    rename("lm_head.weight", "head.weight", Place::Whole),
];

/// What both have.
fn base(family: &'static str, context: usize) -> DecoderSpec {
    DecoderSpec {
        norm: NormKind::RmsPlusOne,
        post_norm: true,
        feed_forward: FeedForwardKind::Gated(Activation::GeluTanh),
        head_width: 256,
        tied: true,
        ..llama::relative(family, context)
    }
}

/// The keys that both have, over a base; `rule` says which layers have a window where there is no list of them.
fn read(
    config: &ConfigReader<'_>,
    base: DecoderSpec,
    rule: impl Fn(usize) -> bool,
) -> Result<DecoderSpec, ConfigProblem> {
    config.only("use_bidirectional_attention", &json!(false))?;
    let mut spec = llama::read(config, base)?;
    spec.feed_forward = FeedForwardKind::Gated(config.activation_or("hidden_activation", Activation::GeluTanh)?);
    spec.qkv_bias = config.flag_or("attention_bias", false)?;
    spec.output_bias = spec.qkv_bias;
    spec.window = layer_types::read(config, spec.layers, rule)?;
    spec.score_scale = Some(config.positive_or("query_pre_attn_scalar", 256.0)?.sqrt().recip() as f32);
    spec.embedding_scale = (spec.width as f32).sqrt();
    Ok(spec)
}

fn keys(spec: &DecoderSpec, architecture: &str) -> Map<String, Value> {
    let mut keys = llama::keys(spec, architecture);
    keys.extend(layer_types::keys(spec));
    let scale = spec.score_scale.unwrap_or(1.0 / (spec.head_width as f32).sqrt());
    let FeedForwardKind::Gated(activation) = spec.feed_forward else { return keys };
    let word = match activation {
        Activation::GeluTanh => "gelu_pytorch_tanh", // the word that Gemma's own configs have
        other => crate::hf_config::activation_word(other),
    };
    keys.remove("hidden_act");
    keys.insert("hidden_activation".into(), json!(word));
    keys.insert("attention_bias".into(), json!(spec.qkv_bias));
    keys.insert("query_pre_attn_scalar".into(), json!((1.0 / f64::from(scale).powi(2)).round() as u64));
    keys.insert("attn_logit_softcapping".into(), json!(spec.score_cap));
    keys.insert("final_logit_softcapping".into(), json!(spec.logit_cap));
    keys
}

/// Caps; a null turns one off, and where a key is absent the family's own holds.
fn read_caps(config: &ConfigReader<'_>, spec: &mut DecoderSpec, caps: [Option<f64>; 2]) -> Result<(), ConfigProblem> {
    let cap = |key: &str, default: Option<f64>| -> Result<Option<f32>, ConfigProblem> {
        let cap = if config.has(key) { config.positive(key)? } else { default };
        Ok(cap.map(|cap| cap as f32))
    };
    spec.score_cap = cap("attn_logit_softcapping", caps[0])?;
    spec.logit_cap = cap("final_logit_softcapping", caps[1])?;
    Ok(())
}

fn tiny(family: &'static str) -> DecoderSpec {
    let base = base(family, 24);
    DecoderSpec {
        vocabulary: 50,
        width: 16,
        layers: 3,
        heads: 4,
        key_heads: 2,
        head_width: 6,
        feed_forward_width: 40,
        epsilon: 1e-6,
        score_scale: Some(8f32.sqrt().recip()),
        embedding_scale: 4.0,
        ..base
    }
}

impl Family for Gemma2 {
    fn name(&self) -> &'static str {
        "gemma2"
    }

    fn about(&self) -> &'static str {
        "Gemma 2 (Gemma Team 2024): norms before and after, GeGLU, every other layer with a window, soft caps"
    }

    fn spec(&self, config: &ConfigReader<'_>) -> Result<DecoderSpec, ConfigProblem> {
        let mut spec = read(config, base("gemma2", 8192), |layer| layer % 2 == 0)?;
        read_caps(config, &mut spec, [Some(50.0), Some(30.0)])?;
        Ok(spec)
    }

    fn keys(&self, spec: &DecoderSpec) -> Map<String, Value> {
        keys(spec, "Gemma2ForCausalLM")
    }

    fn names(&self) -> &'static [Rename] {
        NAMES
    }

    fn optional_prefix(&self) -> &'static str {
        "model."
    }

    fn tiny(&self) -> DecoderSpec {
        DecoderSpec {
            window: Window::new(5, &[true, false]),
            score_cap: Some(2.0),
            logit_cap: Some(3.0),
            ..tiny("gemma2")
        }
    }
}

impl Family for Gemma3 {
    fn name(&self) -> &'static str {
        "gemma3_text"
    }

    fn about(&self) -> &'static str {
        "Gemma 3, text (Gemma Team 2025): Gemma 2 with norms of heads, every sixth layer without a window"
    }

    fn spec(&self, config: &ConfigReader<'_>) -> Result<DecoderSpec, ConfigProblem> {
        let rotary = Rotary::plain(1_000_000.0);
        let base = DecoderSpec { head_norm: true, position: Position::Rotary(rotary), ..base("gemma3_text", 1 << 17) };
        let every = config.size_or("sliding_window_pattern", 6)?;
        let mut spec = read(config, base, |layer| !(layer + 1).is_multiple_of(every))?;
        if let Position::Rotary(rotary) = &mut spec.position {
            rotary.window_base = Some(read_window_base(config)?);
        }
        read_caps(config, &mut spec, [None, None])?;
        Ok(spec)
    }

    fn keys(&self, spec: &DecoderSpec) -> Map<String, Value> {
        let mut keys = keys(spec, "Gemma3ForCausalLM");
        if let Position::Rotary(rotary) = &spec.position {
            keys.insert("rope_local_base_freq".into(), json!(rotary.window_base));
        }
        keys
    }

    fn names(&self) -> &'static [Rename] {
        NAMES
    }

    fn optional_prefix(&self) -> &'static str {
        "model."
    }

    fn tiny(&self) -> DecoderSpec {
        let rotary = Rotary { window_base: Some(100.0), ..Rotary::plain(1_000_000.0) };
        DecoderSpec {
            window: Window::new(5, &[true, true, false]),
            position: Position::Rotary(rotary),
            head_norm: true,
            ..tiny("gemma3_text")
        }
    }
}

/// `rope_local_base_freq`, or since transformers 5 a set of keys for layers with a window.
fn read_window_base(config: &ConfigReader<'_>) -> Result<f64, ConfigProblem> {
    let base = config.positive_or("rope_local_base_freq", WINDOW_BASE)?;
    let parameters = match config.object("rope_parameters")? {
        Some(parameters) => parameters.object("sliding_attention")?,
        None => None,
    };
    let Some(parameters) = parameters else { return Ok(base) };
    parameters.only("rope_type", &json!("default"))?;
    parameters.positive_or("rope_theta", base)
}
