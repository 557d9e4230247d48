//! SmolLM 3 (Bakouch et al. 2025): Llama in which nothing turns in every fourth layer (Yang et al. 2025, "RNoPE", arXiv
//! 2501.18795).

use serde_json::{Map, Value, json};

use crate::family::{Family, Rename};
use crate::hf_config::{ConfigProblem, ConfigReader};
use crate::spec::{LayerPattern, Rotary};
use crate::{DecoderSpec, Position, layer_types, llama};

/// The family.
pub struct SmolLm3;

/// The layers in which nothing turns: a list with 0 for them, or every so many layers the last.
fn read_unturned(config: &ConfigReader<'_>, layers: usize) -> Result<Option<LayerPattern>, ConfigProblem> {
    let unturned: Vec<bool> = match config.list("no_rope_layers")? {
        None => {
            let interval = config.size_or("no_rope_layer_interval", 4)?;
            (1..=layers).map(|layer| layer.is_multiple_of(interval)).collect()
        }
        Some(list) => {
            let turned: Option<Vec<u64>> =
                list.iter().map(|layer| layer.as_u64().filter(|&turned| turned < 2)).collect();
            match turned {
                Some(turned) if turned.len() == layers => turned.iter().map(|&turned| turned == 0).collect(),
                _ => return Err(ConfigProblem(format!("`no_rope_layers` must be a list of {layers} zeros and ones"))),
            }
        }
    };
    Ok(LayerPattern::new(&unturned))
}

impl Family for SmolLm3 {
    fn name(&self) -> &'static str {
        "smollm3"
    }

    fn about(&self) -> &'static str {
        "SmolLM 3 (Bakouch et al. 2025): Llama in which nothing turns in every fourth layer"
    }

    fn spec(&self, config: &ConfigReader<'_>) -> Result<DecoderSpec, ConfigProblem> {
        let position = Position::Rotary(Rotary::plain(2_000_000.0));
        let mut spec =
            llama::read(config, DecoderSpec { position, tied: true, ..llama::relative("smollm3", 1 << 15) })?;
        llama::read_biases(config, &mut spec)?;
        let unturned = read_unturned(config, spec.layers)?;
        if config.flag_or("use_sliding_window", false)? {
            let covers = |layer| unturned.as_ref().is_some_and(|unturned| unturned.covers(layer));
            spec.window = layer_types::read(config, spec.layers, covers)?;
        }
        if let Position::Rotary(rotary) = &mut spec.position {
            rotary.unturned = unturned;
        }
        Ok(spec)
    }

    fn keys(&self, spec: &DecoderSpec) -> Map<String, Value> {
        let mut keys = llama::keys(spec, "SmolLM3ForCausalLM");
        keys.extend(llama::bias_keys(spec));
        keys.extend(layer_types::keys(spec));
        keys.insert("use_sliding_window".into(), json!(spec.window.is_some()));
        let turned: Vec<u8> = (0..spec.layers).map(|layer| spec.turns(layer).into()).collect();
        keys.insert("no_rope_layers".into(), json!(turned));
        // Where there is none, transformers takes one that a small vocabulary does not have.
        keys.insert("pad_token_id".into(), Value::Null);
        keys
    }

    fn names(&self) -> &'static [Rename] {
        llama::NAMES
    }

    fn optional_prefix(&self) -> &'static str {
        "model."
    }

    fn tiny(&self) -> DecoderSpec {
        let unturned = LayerPattern::new(&[false, true]);
        DecoderSpec {
            family: "smollm3",
            position: Position::Rotary(Rotary { unturned, ..Rotary::plain(10_000.0) }),
            ..llama::Llama::sized(50, 24, 16, 2, 4, 2)
        }
    }
}
