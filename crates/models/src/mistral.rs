//! Mistral (Jiang et al. 2023, arXiv 2310.06825): Llama with a window in every layer.

use serde_json::{Map, Value, json};

use crate::family::{Family, Rename};
use crate::hf_config::{ConfigProblem, ConfigReader};
use crate::spec::Window;
use crate::{DecoderSpec, llama};

/// The family.
pub struct Mistral;

impl Family for Mistral {
    fn name(&self) -> &'static str {
        "mistral"
    }

    fn about(&self) -> &'static str {
        "Mistral (Jiang et al. 2023): Llama with a window in every layer"
    }

    fn spec(&self, config: &ConfigReader<'_>) -> Result<DecoderSpec, ConfigProblem> {
        let positions = config.size_if_there("sliding_window")?;
        let window = positions.and_then(|positions| Window::new(positions, &[true]));
        llama::read(config, DecoderSpec { window, ..llama::relative("mistral", 1 << 17) })
    }

    fn keys(&self, spec: &DecoderSpec) -> Map<String, Value> {
        let mut keys = llama::keys(spec, "MistralForCausalLM");
        let positions = spec.window.as_ref().map(|window| window.positions);
        keys.insert("sliding_window".into(), json!(positions));
        keys
    }

    fn names(&self) -> &'static [Rename] {
        llama::NAMES
    }

    fn optional_prefix(&self) -> &'static str {
        "model."
    }

    fn tiny(&self) -> DecoderSpec {
        let sizes = llama::Llama::sized(50, 24, 16, 2, 4, 2);
        DecoderSpec { family: "mistral", window: Window::new(5, &[true]), tied: false, ..sizes }
    }
}
