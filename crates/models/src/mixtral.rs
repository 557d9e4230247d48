//! Mixtral (Jiang et al. 2024, arXiv 2401.04088): Mistral with eight experts in place of each feed-forward block, two for
//! each token.

use serde_json::{Map, Value, json};
use tsumugi_tensor::Routing;

use crate::family::{Family, Place, Rename, join, rename};
use crate::hf_config::{ConfigProblem, ConfigReader};
use crate::spec::{Experts, Rotary, Window};
use crate::{DecoderSpec, Position, llama};

/// The family.
pub struct Mixtral;

const EXPERTS: &[Rename] = &[
    rename("model.layers.{}.block_sparse_moe.gate.weight", "layers.{}.experts.router.weight", Place::Whole),
    rename("model.layers.{}.block_sparse_moe.experts.{e}.w1.weight", "layers.{}.experts.gate_up.weight", Place::Gate),
    rename("model.layers.{}.block_sparse_moe.experts.{e}.w3.weight", "layers.{}.experts.gate_up.weight", Place::Up),
    rename("model.layers.{}.block_sparse_moe.experts.{e}.w2.weight", "layers.{}.experts.down.weight", Place::Whole),
];

static NAMES: [Rename; llama::NAMES.len() + EXPERTS.len()] = join(llama::NAMES, EXPERTS);

/// How tokens choose, of so many experts.
pub(crate) fn read_routing(
    config: &ConfigReader<'_>,
    count: usize,
    chosen: usize,
    normalized: bool,
) -> Result<Routing, ConfigProblem> {
    let chosen = config.size_or("num_experts_per_tok", chosen)?;
    if chosen > count {
        return Err(ConfigProblem(format!("`num_experts_per_tok` is {chosen}, but there are {count} experts")));
    }
    Ok(Routing { chosen, normalized })
}

impl Family for Mixtral {
    fn name(&self) -> &'static str {
        "mixtral"
    }

    fn about(&self) -> &'static str {
        "Mixtral (Jiang et al. 2024): Mistral with experts, two of eight for each token"
    }

    fn spec(&self, config: &ConfigReader<'_>) -> Result<DecoderSpec, ConfigProblem> {
        let count = config.size_or("num_local_experts", 8)?;
        let experts = Experts { count, routing: read_routing(config, count, 2, true)?, shared_width: None };
        let positions = config.size_if_there("sliding_window")?;
        let base = DecoderSpec {
            experts: Some(experts),
            window: positions.and_then(|positions| Window::new(positions, &[true])),
            position: Position::Rotary(Rotary::plain(1_000_000.0)),
            ..llama::relative("mixtral", 1 << 17)
        };
        llama::read(config, base)
    }

    fn keys(&self, spec: &DecoderSpec) -> Map<String, Value> {
        let mut keys = llama::keys(spec, "MixtralForCausalLM");
        keys.insert("sliding_window".into(), json!(spec.window.as_ref().map(|window| window.positions)));
        if let Some(experts) = &spec.experts {
            keys.insert("num_local_experts".into(), json!(experts.count));
            keys.insert("num_experts_per_tok".into(), json!(experts.routing.chosen));
        }
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
        DecoderSpec {
            family: "mixtral",
            feed_forward_width: 12,
            experts: Some(Experts { count: 5, routing, shared_width: None }),
            window: Window::new(5, &[true]),
            tied: false,
            ..llama::Llama::sized(50, 24, 16, 2, 4, 2)
        }
    }
}
