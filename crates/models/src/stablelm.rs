//! StableLM (Bellagente et al. 2024, arXiv 2402.17834): Llama with LayerNorm and a rotation of a quarter of each head; the
//! larger ones feed attention and feed-forward block into the stream side by side.

use serde_json::{Map, Value, json};
use tsumugi_tensor::NormKind;

use crate::family::{Family, Rename};
use crate::hf_config::{ConfigProblem, ConfigReader};
use crate::spec::Rotary;
use crate::{DecoderSpec, Position, llama};

/// The family.
pub struct StableLm;

/// The part of a head that turns, where a config does not say it.
const SHARE: f64 = 0.25;

impl Family for StableLm {
    fn name(&self) -> &'static str {
        "stablelm"
    }

    fn about(&self) -> &'static str {
        "StableLM (Bellagente et al. 2024): Llama with LayerNorm and a rotation of a part of each head"
    }

    fn spec(&self, config: &ConfigReader<'_>) -> Result<DecoderSpec, ConfigProblem> {
        config.only("qk_layernorm", &json!(false))?;
        let base = DecoderSpec {
            norm: NormKind::Layer,
            position: Position::Rotary(Rotary { share: SHARE, ..Rotary::plain(10_000.0) }),
            qkv_bias: config.flag_or("use_qkv_bias", false)?,
            parallel: config.flag_or("use_parallel_residual", false)?,
            ..llama::relative("stablelm", 4096)
        };
        let mut spec = llama::read(config, base)?;
        spec.epsilon = config.positive_or("layer_norm_eps", 1e-5)? as f32;
        Ok(spec)
    }

    fn keys(&self, spec: &DecoderSpec) -> Map<String, Value> {
        let mut keys = llama::keys(spec, "StableLmForCausalLM");
        keys.remove("rms_norm_eps");
        keys.insert("layer_norm_eps".into(), json!(spec.epsilon));
        keys.insert("use_qkv_bias".into(), json!(spec.qkv_bias));
        keys.insert("use_parallel_residual".into(), json!(spec.parallel));
        let share = if let Position::Rotary(rotary) = &spec.position { rotary.share } else { 1.0 };
        keys.insert("partial_rotary_factor".into(), json!(share));
        keys
    }

    fn names(&self) -> &'static [Rename] {
        llama::NAMES
    }

    fn optional_prefix(&self) -> &'static str {
        "model."
    }

    fn tiny(&self) -> DecoderSpec {
        DecoderSpec {
            family: "stablelm",
            norm: NormKind::Layer,
            position: Position::Rotary(Rotary { share: 0.5, ..Rotary::plain(10_000.0) }),
            qkv_bias: true,
            tied: false,
            ..llama::Llama::sized(50, 24, 16, 2, 4, 2)
        }
    }
}
