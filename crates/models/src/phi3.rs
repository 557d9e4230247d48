//! Phi-3 and Phi-4 mini (Abdin et al. 2024, arXiv 2404.14219): Llama whose projections are fused, with LongRoPE, and in the
//! smallest a rotation of a part of each head.

use serde_json::{Map, Value, json};
use tsumugi_nn::RopeScaling;

use crate::family::{Family, Place, Rename, rename};
use crate::hf_config::{ConfigProblem, ConfigReader};
use crate::spec::{Rotary, Window};
use crate::{DecoderSpec, Position, llama};

/// The family.
pub struct Phi3;

const NAMES: &[Rename] = &[
    rename("model.embed_tokens.weight", "embedding.weight", Place::Whole),
    rename("model.layers.{}.input_layernorm.weight", "layers.{}.attention_norm.weight", Place::Whole),
    rename("model.layers.{}.self_attn.qkv_proj.weight", "layers.{}.attention.qkv.weight", Place::Whole),
    rename("model.layers.{}.self_attn.o_proj.weight", "layers.{}.attention.output.weight", Place::Whole),
    rename("model.layers.{}.post_attention_layernorm.weight", "layers.{}.feed_forward_norm.weight", Place::Whole),
    rename("model.layers.{}.mlp.gate_up_proj.weight", "layers.{}.feed_forward.gate_up.weight", Place::Whole),
    rename("model.layers.{}.mlp.down_proj.weight", "layers.{}.feed_forward.down.weight", Place::Whole),
    rename("model.norm.weight", "final_norm.weight", Place::Whole),
    rename("lm_head.weight", "head.weight", Place::Whole),
];

impl Family for Phi3 {
    fn name(&self) -> &'static str {
        "phi3"
    }

    fn about(&self) -> &'static str {
        "Phi-3 and Phi-4 mini (Abdin et al. 2024): Llama with fused projections, LongRoPE, rotation of a part of each head"
    }

    fn spec(&self, config: &ConfigReader<'_>) -> Result<DecoderSpec, ConfigProblem> {
        let positions = config.size_if_there("sliding_window")?;
        let window = positions.and_then(|positions| Window::new(positions, &[true]));
        llama::read(config, DecoderSpec { window, ..llama::relative("phi3", 4096) })
    }

    fn keys(&self, spec: &DecoderSpec) -> Map<String, Value> {
        let mut keys = llama::keys(spec, "Phi3ForCausalLM");
        keys.insert("sliding_window".into(), json!(spec.window.as_ref().map(|window| window.positions)));
        // Where there is none, transformers takes one that a small vocabulary does not have.
        keys.insert("pad_token_id".into(), Value::Null);
        // The original context stands outside of the scaling here, too.
        if let Position::Rotary(Rotary { scaling: Some(RopeScaling::LongRope(rope)), .. }) = &spec.position {
            keys.insert("original_max_position_embeddings".into(), json!(rope.original_context as u64));
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
        let rotary = Rotary { share: 0.5, ..Rotary::plain(10_000.0) };
        DecoderSpec {
            family: "phi3",
            position: Position::Rotary(rotary),
            window: Window::new(7, &[true]),
            tied: false,
            ..llama::Llama::sized(50, 24, 16, 2, 4, 2)
        }
    }
}
