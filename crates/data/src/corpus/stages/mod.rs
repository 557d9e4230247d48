//! The kinds of stages. To add one: write `<name>.rs` with a struct of its settings (`Deserialize` with
//! `deny_unknown_fields` and kebab case; `#[serde(try_from = "…")]` where settings must be checked or files opened) that
//! implements [`DocumentStage`] or [`CorpusStage`], then its two lines here.

mod bloom_duplicates;
mod classifier;
mod clusters;
mod decontaminate;
mod exact_duplicates;
mod filters;
mod language;
mod length;
mod mask;
mod near_duplicates;
mod other_runs;
mod perplexity;
mod pieces;
mod repair;
mod repeated_substrings;
mod simhash_duplicates;
mod threshold;
mod topic;

use serde::de::DeserializeOwned;
use tsumugi_files::Gate;

use super::{CorpusStage, DocumentStage, Stage};

/// A kind of stage, as a recipe names it.
#[derive(Debug)]
pub struct StageKind {
    /// `kind` in the recipe.
    pub name: &'static str,
    /// One line.
    pub about: &'static str,
    build: fn(toml::Table, &dyn Gate) -> Result<Stage, String>,
}

/// Every kind, in alphabetical order.
pub const ALL: &[StageKind] = &[
    corpus::<bloom_duplicates::BloomDuplicates>(
        "bloom-duplicates",
        "Keeps the first of equal texts, paragraphs or lines, in little memory",
    ),
    document::<classifier::Classify>("classifier", "Drops documents by what a trained classifier says"),
    StageKind {
        name: "decontaminate",
        about: "Finds n-grams of benchmarks: reports, drops or cuts them out",
        build: |settings, gate| Ok(Stage::Corpus(Box::new(decontaminate::Decontaminate::new(read(settings)?, gate)?))),
    },
    corpus::<exact_duplicates::ExactDuplicates>("exact-duplicates", "Keeps one of equal texts, paragraphs or lines"),
    document::<filters::Filters>("filters", "Drops documents by the rules of Gopher, C4 and FineWeb"),
    document::<language::Language>("language", "Drops documents in other languages"),
    document::<length::Length>("length", "Drops documents that are too short or too long"),
    document::<mask::Mask>("mask", "Masks personal data and secrets"),
    corpus::<near_duplicates::NearDuplicates>(
        "near-duplicates",
        "Keeps one of documents that are nearly the same (MinHash)",
    ),
    document::<perplexity::Perplexity>("perplexity", "Drops documents by how well an n-gram model predicts them"),
    document::<repair::RepairText>("repair", "Undoes wrong decoding, takes out control and invisible characters"),
    corpus::<repeated_substrings::RepeatedSubstrings>("repeated-substrings", "Cuts out long parts that stood before"),
    corpus::<simhash_duplicates::SimHashDuplicates>(
        "simhash-duplicates",
        "Keeps one of documents with close fingerprints (SimHash)",
    ),
    document::<threshold::Threshold>("threshold", "Drops documents by a signal that was measured before"),
    document::<topic::LeaveOutTopic>("topic", "Leaves out documents of a topic, and keeps what was found with them"),
];

impl StageKind {
    /// The stage with these settings, or what is wrong with them. `gate` decides about the vocabularies that they name.
    pub(super) fn build(&self, settings: toml::Table, gate: &dyn Gate) -> Result<Stage, String> {
        (self.build)(settings, gate)
    }
}

const fn document<S: DocumentStage + DeserializeOwned + 'static>(name: &'static str, about: &'static str) -> StageKind {
    StageKind { name, about, build: |settings, _| Ok(Stage::Document(Box::new(read::<S>(settings)?))) }
}

const fn corpus<S: CorpusStage + DeserializeOwned + 'static>(name: &'static str, about: &'static str) -> StageKind {
    StageKind { name, about, build: |settings, _| Ok(Stage::Corpus(Box::new(read::<S>(settings)?))) }
}

fn read<S: DeserializeOwned>(settings: toml::Table) -> Result<S, String> {
    settings.try_into().map_err(|error| error.message().to_owned())
}
