//! The kinds of stages. To add one: write `<name>.rs` with a struct of its settings (`Deserialize` with
//! `deny_unknown_fields` and kebab case; `#[serde(try_from = "…")]` where settings must be checked or files opened) that
//! implements [`DocumentStage`] or [`CorpusStage`], then its two lines here.

mod classifier;
mod exact_duplicates;
mod filters;
mod language;
mod length;
mod mask;
mod perplexity;
mod repair;
mod threshold;
mod topic;

use serde::de::DeserializeOwned;

use super::{CorpusStage, DocumentStage, Stage};

/// A kind of stage, as a recipe names it.
#[derive(Debug)]
pub struct StageKind {
    /// `kind` in the recipe.
    pub name: &'static str,
    /// One line.
    pub about: &'static str,
    build: fn(toml::Table) -> Result<Stage, String>,
}

/// Every kind, in alphabetical order.
pub const ALL: &[StageKind] = &[
    document::<classifier::Classify>("classifier", "Drops documents by what a trained classifier says"),
    corpus::<exact_duplicates::ExactDuplicates>("exact-duplicates", "Keeps the first of documents with the same text"),
    document::<filters::Filters>("filters", "Drops documents by the rules of Gopher, C4 and FineWeb"),
    document::<language::Language>("language", "Drops documents in other languages"),
    document::<length::Length>("length", "Drops documents that are too short or too long"),
    document::<mask::Mask>("mask", "Masks personal data and secrets"),
    document::<perplexity::Perplexity>("perplexity", "Drops documents by how well an n-gram model predicts them"),
    document::<repair::RepairText>("repair", "Undoes wrong decoding, takes out control and invisible characters"),
    document::<threshold::Threshold>("threshold", "Drops documents by a signal that was measured before"),
    document::<topic::LeaveOutTopic>("topic", "Leaves out documents of a topic, and keeps what was found with them"),
];

impl StageKind {
    /// The stage with these settings, or what is wrong with them.
    pub(super) fn build(&self, settings: toml::Table) -> Result<Stage, String> {
        (self.build)(settings)
    }
}

const fn document<S: DocumentStage + DeserializeOwned + 'static>(name: &'static str, about: &'static str) -> StageKind {
    StageKind { name, about, build: |settings| Ok(Stage::Document(Box::new(read::<S>(settings)?))) }
}

const fn corpus<S: CorpusStage + DeserializeOwned + 'static>(name: &'static str, about: &'static str) -> StageKind {
    StageKind { name, about, build: |settings| Ok(Stage::Corpus(Box::new(read::<S>(settings)?))) }
}

fn read<S: DeserializeOwned>(settings: toml::Table) -> Result<S, String> {
    settings.try_into().map_err(|error| error.message().to_owned())
}
