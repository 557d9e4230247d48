//! Qwen 2 MoE (Yang et al. 2024, arXiv 2407.10671; Qwen 1.5 MoE): Qwen 2 with many small experts and one that serves every
//! token. Qwen 3 MoE (Yang et al. 2025, arXiv 2505.09388): Qwen 3 with 128 experts, eight for each token, and no shared one.

use serde_json::{Map, Value, json};
use tsumugi_tensor::Routing;

use crate::family::{Family, Place, Rename, join, rename};
use crate::hf_config::{self, ConfigProblem, ConfigReader};
use crate::mixtral::read_routing;
use crate::spec::{Experts, Window};
use crate::{DecoderSpec, layer_types, llama, qwen};

/// Qwen 1.5 MoE and 2 MoE.
pub struct Qwen2Moe;

/// Qwen 3 MoE.
pub struct Qwen3Moe;

const EXPERTS: &[Rename] = &[
    rename("model.layers.{}.mlp.gate.weight", "layers.{}.experts.router.weight", Place::Whole),
    rename("model.layers.{}.mlp.experts.{e}.gate_proj.weight", "layers.{}.experts.gate_up.weight", Place::Gate),
    rename("model.layers.{}.mlp.experts.{e}.up_proj.weight", "layers.{}.experts.gate_up.weight", Place::Up),
    rename("model.layers.{}.mlp.experts.{e}.down_proj.weight", "layers.{}.experts.down.weight", Place::Whole),
    rename("model.layers.{}.mlp.shared_expert.gate_proj.weight", "layers.{}.shared_expert.gate_up.weight", Place::Gate),
    rename("model.layers.{}.mlp.shared_expert.up_proj.weight", "layers.{}.shared_expert.gate_up.weight", Place::Up),
    rename("model.layers.{}.mlp.shared_expert.down_proj.weight", "layers.{}.shared_expert.down.weight", Place::Whole),
    rename("model.layers.{}.mlp.shared_expert_gate.weight", "layers.{}.shared_expert.gate.weight", Place::Whole),
];

static NAMES: [Rename; llama::NAMES.len() + EXPERTS.len()] = join(llama::NAMES, EXPERTS);

/// Of every layer; models with dense layers between are not known.
fn read_experts(
    config: &ConfigReader<'_>,
    count: usize,
    chosen: usize,
    shared_width: Option<usize>,
) -> Result<Experts, ConfigProblem> {
    config.only("decoder_sparse_step", &json!(1))?;
    config.only("mlp_only_layers", &json!([]))?;
    // transformers 5 writes the second name for Qwen 3.
    let count = config.size_or("num_experts", config.size_or("num_local_experts", count)?)?;
    let routing = read_routing(config, count, chosen, config.flag_or("norm_topk_prob", false)?)?;
    Ok(Experts { count, routing, shared_width })
}

fn expert_keys(spec: &DecoderSpec) -> Map<String, Value> {
    let mut keys = hf_config::keys(json!({
        "moe_intermediate_size": spec.feed_forward_width,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    }));
    if let Some(experts) = &spec.experts {
        keys.extend(hf_config::keys(json!({
            "num_experts": experts.count,
            "num_experts_per_tok": experts.routing.chosen,
            "norm_topk_prob": experts.routing.normalized,
        })));
        keys.extend(experts.shared_width.map(|width| ("shared_expert_intermediate_size".into(), json!(width))));
    }
    keys
}

fn tiny(family: &'static str, experts: Experts) -> DecoderSpec {
    let sizes = llama::Llama::sized(50, 24, 16, 2, 4, 2);
    DecoderSpec { family, feed_forward_width: 6, experts: Some(experts), tied: false, ..sizes }
}

impl Family for Qwen2Moe {
    fn name(&self) -> &'static str {
        "qwen2_moe"
    }

    fn about(&self) -> &'static str {
        "Qwen 1.5 and 2 MoE (Yang et al. 2024): Qwen 2 with small experts, and one for every token"
    }

    fn spec(&self, config: &ConfigReader<'_>) -> Result<DecoderSpec, ConfigProblem> {
        let shared_width = config.size_or("shared_expert_intermediate_size", 5632)?;
        let base = DecoderSpec {
            experts: Some(read_experts(config, 60, 4, Some(shared_width))?),
            qkv_bias: config.flag_or("qkv_bias", true)?,
            ..llama::relative("qwen2_moe", 1 << 15)
        };
        let mut spec = llama::read(config, base)?;
        spec.feed_forward_width = config.size_or("moe_intermediate_size", 1408)?;
        if config.flag_or("use_sliding_window", false)? {
            let end = config.count_or("max_window_layers", 28)?;
            spec.window = layer_types::read(config, spec.layers, |layer| layer % 2 == 0 && layer < end)?;
        }
        Ok(spec)
    }

    fn keys(&self, spec: &DecoderSpec) -> Map<String, Value> {
        let mut keys = qwen::keys(spec, "Qwen2MoeForCausalLM");
        keys.extend(expert_keys(spec));
        keys.insert("qkv_bias".into(), json!(spec.qkv_bias));
        keys
    }

    fn names(&self) -> &'static [Rename] {
        &NAMES
    }

    fn optional_prefix(&self) -> &'static str {
        "model."
    }

    fn tiny(&self) -> DecoderSpec {
        let routing = Routing { chosen: 3, normalized: false };
        let experts = Experts { count: 7, routing, shared_width: Some(20) };
        DecoderSpec { qkv_bias: true, window: Window::new(5, &[true, false]), ..tiny("qwen2_moe", experts) }
    }
}

impl Family for Qwen3Moe {
    fn name(&self) -> &'static str {
        "qwen3_moe"
    }

    fn about(&self) -> &'static str {
        "Qwen 3 MoE (Yang et al. 2025): Qwen 3 with experts, eight of 128 for each token"
    }

    fn spec(&self, config: &ConfigReader<'_>) -> Result<DecoderSpec, ConfigProblem> {
        let window = match config.flag_or("use_sliding_window", false)? {
            true => Window::new(config.size_or("sliding_window", 4096)?, &[true]),
            false => None,
        };
        let experts = Some(read_experts(config, 128, 8, None)?);
        let base = DecoderSpec { head_norm: true, experts, window, ..llama::relative("qwen3_moe", 1 << 15) };
        let mut spec = llama::read(config, base)?;
        spec.feed_forward_width = config.size_or("moe_intermediate_size", 768)?;
        llama::read_biases(config, &mut spec)?;
        spec.feed_forward_bias = false; // `mlp_bias` is no word of this family
        Ok(spec)
    }

    fn keys(&self, spec: &DecoderSpec) -> Map<String, Value> {
        let mut keys = llama::keys(spec, "Qwen3MoeForCausalLM");
        keys.extend(expert_keys(spec));
        keys.insert("attention_bias".into(), json!(spec.qkv_bias));
        keys.insert("use_sliding_window".into(), json!(spec.window.is_some()));
        keys.insert("sliding_window".into(), json!(spec.window.as_ref().map(|window| window.positions)));
        keys
    }

    fn names(&self) -> &'static [Rename] {
        &NAMES
    }

    fn optional_prefix(&self) -> &'static str {
        "model."
    }

    fn tiny(&self) -> DecoderSpec {
        let routing = Routing { chosen: 2, normalized: true };
        let experts = Experts { count: 6, routing, shared_width: None };
        DecoderSpec { head_norm: true, head_width: 6, ..tiny("qwen3_moe", experts) }
    }
}
