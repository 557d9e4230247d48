//! Which layers have a window, in `config.json`: `sliding_window`, and `layer_types` or an older rule of the family.

use serde_json::{Map, Value, json};

use crate::DecoderSpec;
use crate::hf_config::{self, ConfigProblem, ConfigReader};
use crate::spec::Window;

const WINDOWED: &str = "sliding_attention";
const FULL: &str = "full_attention";

/// The window of `layers` layers; `rule` says which have it where the config has no list.
pub fn read(
    config: &ConfigReader<'_>,
    layers: usize,
    rule: impl Fn(usize) -> bool,
) -> Result<Option<Window>, ConfigProblem> {
    let Some(positions) = config.size_if_there("sliding_window")? else { return Ok(None) };
    let windowed: Vec<bool> = match config.list("layer_types")? {
        None => (0..layers).map(rule).collect(),
        Some(list) if list.len() != layers => {
            return Err(ConfigProblem(format!("`layer_types` has {} entries for {layers} layers", list.len())));
        }
        Some(list) => list.iter().map(is_windowed).collect::<Result<_, _>>()?,
    };
    Ok(Window::new(positions, &windowed))
}

fn is_windowed(layer_type: &Value) -> Result<bool, ConfigProblem> {
    match layer_type.as_str() {
        Some(WINDOWED) => Ok(true),
        Some(FULL) => Ok(false),
        _ => {
            Err(ConfigProblem(format!("`layer_types` has {layer_type}, but only {WINDOWED} and {FULL} are supported")))
        }
    }
}

/// The keys of [`read`].
pub fn keys(spec: &DecoderSpec) -> Map<String, Value> {
    let word = |layer| if spec.window_of(layer).is_some() { WINDOWED } else { FULL };
    hf_config::keys(json!({
        "sliding_window": spec.window.as_ref().map(|window| window.positions),
        "layer_types": (0..spec.layers).map(word).collect::<Vec<_>>(),
    }))
}
