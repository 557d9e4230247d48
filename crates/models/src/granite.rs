//! Granite 3 (IBM 2024): Llama with factors on the embedding, the scores, what feeds into the stream, and the logits
//! (the "maximal update" scalings of Yang et al. 2022, arXiv 2203.03466).

use serde_json::{Map, Value, json};

use crate::family::{Family, Rename};
use crate::hf_config::{ConfigProblem, ConfigReader};
use crate::{DecoderSpec, llama};

/// The family.
pub struct Granite;

impl Family for Granite {
    fn name(&self) -> &'static str {
        "granite"
    }

    fn about(&self) -> &'static str {
        "Granite 3 (IBM 2024): Llama with factors on embedding, scores, residual branches and logits"
    }

    fn spec(&self, config: &ConfigReader<'_>) -> Result<DecoderSpec, ConfigProblem> {
        let factor = |key: &str| config.positive_or(key, 1.0).map(|factor| factor as f32);
        let mut spec = llama::read(
            config,
            DecoderSpec {
                embedding_scale: factor("embedding_multiplier")?,
                score_scale: Some(factor("attention_multiplier")?),
                residual_scale: factor("residual_multiplier")?,
                logit_divisor: factor("logits_scaling")?,
                ..llama::relative("granite", 2048)
            },
        )?;
        llama::read_biases(config, &mut spec)?;
        Ok(spec)
    }

    fn keys(&self, spec: &DecoderSpec) -> Map<String, Value> {
        let mut keys = llama::keys(spec, "GraniteForCausalLM");
        keys.extend(llama::bias_keys(spec));
        keys.insert("embedding_multiplier".into(), json!(spec.embedding_scale));
        keys.insert("attention_multiplier".into(), json!(spec.score_scale));
        keys.insert("residual_multiplier".into(), json!(spec.residual_scale));
        keys.insert("logits_scaling".into(), json!(spec.logit_divisor));
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
            family: "granite",
            embedding_scale: 12.0,
            score_scale: Some(0.25),
            residual_scale: 0.22,
            logit_divisor: 4.0,
            ..llama::Llama::sized(50, 24, 16, 2, 4, 2)
        }
    }
}
