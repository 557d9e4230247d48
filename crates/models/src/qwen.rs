//! Qwen 2 (Yang et al. 2024, arXiv 2407.10671): Llama with biases on queries, keys and values, and a window in the upper
//! layers where a config turns it on. Qwen 3 (Yang et al. 2025, arXiv 2505.09388): a norm of each head in place of biases.

use serde_json::{Map, Value, json};

use crate::family::{Family, Rename};
use crate::hf_config::{ConfigProblem, ConfigReader};
use crate::spec::Window;
use crate::{DecoderSpec, layer_types, llama};

/// Qwen 2 and 2.5.
pub struct Qwen2;

/// Qwen 3.
pub struct Qwen3;

/// The upper layers have a window, from `max_window_layers` on, where `use_sliding_window` turns it on.
fn read_window(config: &ConfigReader<'_>, spec: &mut DecoderSpec) -> Result<(), ConfigProblem> {
    if config.flag_or("use_sliding_window", false)? {
        let first = config.count_or("max_window_layers", 28)?;
        spec.window = layer_types::read(config, spec.layers, |layer| layer >= first)?;
    }
    Ok(())
}

/// The keys of both, and of those with experts.
pub(crate) fn keys(spec: &DecoderSpec, architecture: &str) -> Map<String, Value> {
    let mut keys = llama::keys(spec, architecture);
    let first = (0..spec.layers).find(|&layer| spec.window_of(layer).is_some()).unwrap_or(spec.layers);
    keys.extend(layer_types::keys(spec));
    keys.insert("use_sliding_window".into(), json!(spec.window.is_some()));
    keys.insert("max_window_layers".into(), json!(first));
    keys
}

fn tiny(family: &'static str) -> DecoderSpec {
    DecoderSpec { family, window: Window::new(5, &[false, true]), ..llama::Llama::sized(50, 24, 16, 2, 4, 2) }
}

impl Family for Qwen2 {
    fn name(&self) -> &'static str {
        "qwen2"
    }

    fn about(&self) -> &'static str {
        "Qwen 2 and 2.5 (Yang et al. 2024): Llama with biases on queries, keys and values"
    }

    fn spec(&self, config: &ConfigReader<'_>) -> Result<DecoderSpec, ConfigProblem> {
        let base = llama::relative("qwen2", 1 << 15);
        let mut spec = llama::read(config, DecoderSpec { qkv_bias: true, ..base })?;
        read_window(config, &mut spec)?;
        Ok(spec)
    }

    fn keys(&self, spec: &DecoderSpec) -> Map<String, Value> {
        keys(spec, "Qwen2ForCausalLM")
    }

    fn names(&self) -> &'static [Rename] {
        llama::NAMES
    }

    fn optional_prefix(&self) -> &'static str {
        "model."
    }

    fn tiny(&self) -> DecoderSpec {
        DecoderSpec { qkv_bias: true, ..tiny("qwen2") }
    }
}

impl Family for Qwen3 {
    fn name(&self) -> &'static str {
        "qwen3"
    }

    fn about(&self) -> &'static str {
        "Qwen 3 (Yang et al. 2025): Llama with a norm of each head's queries and keys"
    }

    fn spec(&self, config: &ConfigReader<'_>) -> Result<DecoderSpec, ConfigProblem> {
        let base = llama::relative("qwen3", 1 << 15);
        let mut spec = llama::read(config, DecoderSpec { head_norm: true, head_width: 128, ..base })?;
        llama::read_biases(config, &mut spec)?;
        read_window(config, &mut spec)?;
        Ok(spec)
    }

    fn keys(&self, spec: &DecoderSpec) -> Map<String, Value> {
        let mut keys = keys(spec, "Qwen3ForCausalLM");
        keys.extend(llama::bias_keys(spec));
        keys
    }

    fn names(&self) -> &'static [Rename] {
        llama::NAMES
    }

    fn optional_prefix(&self) -> &'static str {
        "model."
    }

    fn tiny(&self) -> DecoderSpec {
        DecoderSpec { head_norm: true, head_width: 6, ..tiny("qwen3") }
    }
}
