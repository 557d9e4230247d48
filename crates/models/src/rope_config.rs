//! Rotary positions in `config.json`: `rope_theta` and `rope_scaling`, or, since transformers 5, `rope_parameters`.

use serde_json::{Map, Value, json};
use tsumugi_nn::{LongRope, RopeScaling, Yarn};

use crate::Position;
use crate::hf_config::{ConfigProblem, ConfigReader};
use crate::spec::Rotary;

/// The rotation of heads of `head_width`, with the family's own for where no key gives base or share.
pub fn read(
    config: &ConfigReader<'_>,
    head_width: usize,
    context: usize,
    usual: &Rotary,
) -> Result<Rotary, ConfigProblem> {
    let parameters = match config.object("rope_parameters")? {
        Some(parameters) => Some(parameters),
        None => config.object("rope_scaling")?,
    };
    // Where layers with a window turn by a base of their own, there is a set of keys for each kind of layer.
    let parameters = match parameters {
        Some(parameters) => Some(parameters.object("full_attention")?.unwrap_or(parameters)),
        None => None,
    };
    let in_either = |key: &str, default: f64| -> Result<f64, ConfigProblem> {
        let outer = config.positive_or(key, default)?;
        parameters.as_ref().map_or(Ok(outer), |parameters| parameters.positive_or(key, outer))
    };
    let base = in_either("rope_theta", usual.base)?;
    let share = in_either("partial_rotary_factor", usual.share)?;
    let rotary = Rotary { share, ..Rotary::plain(base) };
    let turned = rotary.turned(head_width);
    if share > 1.0 || turned == 0 || !turned.is_multiple_of(2) {
        return Err(ConfigProblem(format!(
            "{turned} of the {head_width} numbers of a head are to be rotated: it must be an even number of them"
        )));
    }
    let scaling = match &parameters {
        Some(parameters) => scaling(config, parameters, turned, context)?,
        None => None,
    };
    Ok(Rotary { scaling, ..rotary })
}

/// The kind of scaling is under either of two keys.
fn scaling(
    config: &ConfigReader<'_>,
    parameters: &ConfigReader<'_>,
    turned: usize,
    context: usize,
) -> Result<Option<RopeScaling>, ConfigProblem> {
    let context = context as f64;
    let original = || -> Result<f64, ConfigProblem> {
        let outer = config.positive_or("original_max_position_embeddings", context)?;
        parameters.positive_or("original_max_position_embeddings", outer)
    };
    let kind = parameters.word_or("rope_type", parameters.word_or("type", "default")?)?;
    Ok(match kind {
        "default" => None,
        "linear" => Some(RopeScaling::Linear { factor: parameters.positive_or("factor", 1.0)? }),
        "dynamic" => Some(RopeScaling::Dynamic { factor: parameters.positive_or("factor", 1.0)? }),
        "llama3" => Some(RopeScaling::Llama3 {
            factor: parameters.positive_or("factor", 8.0)?,
            low_frequency_factor: parameters.positive_or("low_freq_factor", 1.0)?,
            high_frequency_factor: parameters.positive_or("high_freq_factor", 4.0)?,
            original_context: original()?,
        }),
        "yarn" => Some(RopeScaling::Yarn(yarn(parameters, original()?, context)?)),
        // `su` is the name that it had before its paper.
        "longrope" | "su" => {
            let original_context = original()?;
            let factor = parameters.positive_or("factor", context / original_context)?;
            let recommended = LongRope::recommended_attention_factor(factor, original_context);
            Some(RopeScaling::LongRope(LongRope {
                short: parameters.positives("short_factor", turned / 2)?,
                long: parameters.positives("long_factor", turned / 2)?,
                original_context,
                attention_factor: parameters.positive_or("attention_factor", recommended)?,
            }))
        }
        other => {
            return Err(ConfigProblem(format!(
                "rope scaling `{other}` is not supported; known: default, linear, dynamic, llama3, yarn, longrope"
            )));
        }
    })
}

fn yarn(parameters: &ConfigReader<'_>, original_context: f64, context: f64) -> Result<Yarn, ConfigProblem> {
    let factor = parameters.positive_or("factor", context / original_context)?;
    let recommended = match (parameters.positive("mscale")?, parameters.positive("mscale_all_dim")?) {
        // DeepSeek's form: the logarithm has a weight of its own, above and below.
        (Some(above), Some(below)) if factor > 1.0 => {
            (0.1 * above * factor.ln() + 1.0) / (0.1 * below * factor.ln() + 1.0)
        }
        _ => Yarn::recommended_attention_factor(factor),
    };
    Ok(Yarn {
        factor,
        original_context,
        turns_kept: parameters.positive_or("beta_fast", 32.0)?,
        turns_divided: parameters.positive_or("beta_slow", 1.0)?,
        whole_indices: parameters.flag_or("truncate", true)?,
        attention_factor: parameters.positive_or("attention_factor", recommended)?,
    })
}

/// The keys of a position, in the form that every version of transformers reads.
pub fn keys(position: &Position) -> Map<String, Value> {
    let Position::Rotary(rotary) = position else { return Map::new() };
    let mut keys = Map::new();
    keys.insert("rope_theta".into(), json!(rotary.base));
    keys.insert("rope_scaling".into(), scaling_keys(rotary.scaling.as_ref()));
    if rotary.share != 1.0 {
        keys.insert("partial_rotary_factor".into(), json!(rotary.share));
    }
    keys
}

fn scaling_keys(scaling: Option<&RopeScaling>) -> Value {
    match scaling {
        None => Value::Null,
        Some(RopeScaling::Linear { factor }) => json!({ "rope_type": "linear", "factor": factor }),
        Some(RopeScaling::Dynamic { factor }) => json!({ "rope_type": "dynamic", "factor": factor }),
        Some(RopeScaling::Llama3 { factor, low_frequency_factor, high_frequency_factor, original_context }) => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_frequency_factor,
            "high_freq_factor": high_frequency_factor,
            "original_max_position_embeddings": *original_context as u64,
        }),
        Some(RopeScaling::Yarn(yarn)) => json!({
            "rope_type": "yarn",
            "factor": yarn.factor,
            "beta_fast": yarn.turns_kept,
            "beta_slow": yarn.turns_divided,
            "truncate": yarn.whole_indices,
            "attention_factor": yarn.attention_factor,
            "original_max_position_embeddings": yarn.original_context as u64,
        }),
        Some(RopeScaling::LongRope(rope)) => json!({
            "rope_type": "longrope",
            "short_factor": rope.short,
            "long_factor": rope.long,
            "attention_factor": rope.attention_factor,
            "original_max_position_embeddings": rope.original_context as u64,
        }),
    }
}
