//! A corpus recipe: `[[source]]`, `[[stage]]`, `[mix]`, `[pack]` of a TOML file.

use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tsumugi_base::io::read_to_string_limited;
use tsumugi_base::limits::RECIPE_BYTES_MAX;

use tsumugi_files::Gate;

use super::stages::{self, StageKind};
use super::{CorpusError, Stage};
use crate::source::Source;

/// Everything that decides what comes out. Paths are relative to the current folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recipe {
    /// Of every random number.
    #[serde(default)]
    pub seed: u64,
    /// About how much text is worked on as one piece, and lies in one file.
    #[serde(default = "default_shard_bytes")]
    pub shard_bytes: u64,
    /// The largest document; a larger one is refused and counted.
    #[serde(default = "default_document_bytes_max")]
    pub document_bytes_max: u64,
    /// Where documents come from, in this order.
    #[serde(rename = "source")]
    pub sources: Vec<Source>,
    /// What is done with them, in this order: `kind` and the settings of that kind.
    #[serde(rename = "stage", default)]
    pub stages: Vec<toml::Table>,
    /// How the sources are mixed.
    #[serde(default)]
    pub mix: Option<Mix>,
    /// How the documents become tokens.
    #[serde(default)]
    pub pack: Option<Pack>,
}

fn default_shard_bytes() -> u64 {
    64 << 20
}

fn default_document_bytes_max() -> u64 {
    16 << 20
}

/// How much of each source, in which order: `[mix]`.
///
/// A source's share of the text is proportional to `weight · bytes^(1/temperature)`; the whole is as large as it can be
/// while no document comes more than `repeats-max` times, or `bytes` if that is less.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Mix {
    /// 1 mixes by size and weight; larger ones favour small sources.
    #[serde(default = "default_one")]
    pub temperature: f64,
    /// How often a document may come.
    #[serde(default = "default_one")]
    pub repeats_max: f64,
    /// The most text, in bytes.
    #[serde(default)]
    pub bytes: Option<u64>,
}

fn default_one() -> f64 {
    1.0
}

/// With which tokenizer: `[pack]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pack {
    /// A model folder or a vocabulary file.
    pub tokenizer: String,
}

/// Stages between two barriers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pass {
    /// The corpus stage whose decisions are applied first.
    pub applies: Option<usize>,
    /// The document stages that follow.
    pub stages: Range<usize>,
    /// The corpus stage that documents are sketched for last.
    pub sketches: Option<usize>,
}

impl Recipe {
    /// Reads a recipe. A key that nobody reads is an error.
    pub fn read(file: &Path) -> Result<Self, CorpusError> {
        let text = read_to_string_limited(file, RECIPE_BYTES_MAX)?;
        let wrong = |problem: String| CorpusError::RecipeFile { file: file.to_owned(), problem };
        let recipe: Self = toml::from_str(&text).map_err(|error| wrong(error.to_string().trim_end().to_owned()))?;
        recipe.check().map_err(wrong)?;
        Ok(recipe)
    }

    fn check(&self) -> Result<(), String> {
        if self.sources.is_empty() {
            return Err("it has no `[[source]]`".into());
        }
        for (index, source) in self.sources.iter().enumerate() {
            if self.sources[..index].iter().any(|before| before.name == source.name) {
                return Err(format!("two sources are named `{}`", source.name));
            }
            if source.paths.is_empty() {
                return Err(format!("source `{}`: `paths` is empty", source.name));
            }
            if !(source.weight.is_finite() && source.weight >= 0.0) {
                return Err(format!("source `{}`: `weight` is {}, but must be at least 0", source.name, source.weight));
            }
        }
        let sizes = [("shard-bytes", self.shard_bytes), ("document-bytes-max", self.document_bytes_max)];
        if let Some((name, size)) = sizes.into_iter().find(|&(_, size)| !(1024..=1 << 32).contains(&size)) {
            return Err(format!("`{name}` is {size}, but must be from 1,024 to 4,294,967,296"));
        }
        if let Some(mix) = &self.mix {
            let numbers = [("mix.temperature", mix.temperature), ("mix.repeats-max", mix.repeats_max)];
            if let Some((name, value)) = numbers.into_iter().find(|(_, value)| !(*value > 0.0 && *value <= 1e6)) {
                return Err(format!("`{name}` is {value}, but must be above 0 and at most a million"));
            }
        }
        if self.mix.is_none()
            && let Some(source) = self.sources.iter().find(|source| source.weight != 1.0)
        {
            return Err(format!("source `{}` has a `weight`, but there is no `[mix]` that reads it", source.name));
        }
        Ok(())
    }

    /// The stages, ready to work. `gate` decides about the vocabularies that they name.
    pub(super) fn build_stages(&self, gate: &dyn Gate) -> Result<Vec<BuiltStage>, CorpusError> {
        let build = |(index, settings): (usize, &toml::Table)| {
            let number = index + 1;
            let wrong = |kind: &str, problem| CorpusError::Stage { number, kind: kind.to_owned(), problem };
            let mut settings = settings.clone();
            let kind = match settings.remove("kind") {
                Some(toml::Value::String(kind)) => kind,
                _ => return Err(wrong("", "it has no `kind`".into())),
            };
            let Some(found) = stages::ALL.iter().find(|found| found.name == kind) else {
                let known = stages::ALL.iter().map(|known| known.name).collect();
                return Err(CorpusError::UnknownStage { number, kind, known });
            };
            let stage = finite(&settings).and_then(|()| found.build(settings, gate));
            let stage = stage.map_err(|problem| wrong(&kind, problem))?;
            Ok(BuiltStage { kind: found, stage })
        };
        self.stages.iter().enumerate().map(build).collect()
    }
}

/// TOML has `nan` and `inf`. As a bound they would be compared with everything and decide nothing.
fn finite(settings: &toml::Table) -> Result<(), String> {
    settings.iter().try_for_each(|(key, value)| match value {
        toml::Value::Float(number) if !number.is_finite() => Err(format!("`{key}` is {number}, but must be finite")),
        toml::Value::Table(inner) => finite(inner),
        toml::Value::Array(values) => values.iter().filter_map(toml::Value::as_table).try_for_each(finite),
        _ => Ok(()),
    })
}

/// A stage and what it is called.
pub(super) struct BuiltStage {
    pub kind: &'static StageKind,
    pub stage: Stage,
}

/// Cuts the stages at the barriers.
pub(super) fn passes(stages: &[BuiltStage]) -> Vec<Pass> {
    let (mut passes, mut applies, mut start) = (Vec::new(), None, 0);
    for (index, built) in stages.iter().enumerate() {
        if matches!(built.stage, Stage::Corpus(_)) {
            passes.push(Pass { applies, stages: start..index, sketches: Some(index) });
            (applies, start) = (Some(index), index + 1);
        }
    }
    passes.push(Pass { applies, stages: start..stages.len(), sketches: None });
    passes
}
