//! Documents whose fingerprints differ in few bits: [`crate::dedup::simhash`].

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::json;

use super::clusters;
use super::other_runs::OtherRuns;
use crate::Document;
use crate::corpus::{Context, CorpusError, CorpusStage, DecisionWriter, SketchReader, Verdict};
use crate::dedup::keep::Keep;
use crate::dedup::shingles::{Cutting, shingles};
use crate::dedup::simhash::{DISTANCE_MAX, fingerprint, masks, pairs_within};
use crate::dedup::sorter::Sorter;

/// A sketch is what the document is worth and its fingerprint, if it has one.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Settings")]
pub(super) struct SimHashDuplicates {
    settings: Settings,
    keep: Keep,
    others: OtherRuns,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Settings {
    /// Words of a shingle.
    ngram: usize,
    /// In how many of 64 bits fingerprints may differ.
    distance_max: u32,
    /// Which copy stays: `first`, `longest`, `best:SIGNAL`, `all`.
    keep: Option<String>,
    /// Files of keys: what is close to what other runs kept goes.
    against: Vec<PathBuf>,
    /// Whether the keys of what stays are left for other runs.
    save_keys: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { ngram: 3, distance_max: 3, keep: None, against: Vec::new(), save_keys: false }
    }
}

impl TryFrom<Settings> for SimHashDuplicates {
    type Error = String;

    fn try_from(settings: Settings) -> Result<Self, String> {
        let Settings { ngram, distance_max, .. } = settings;
        if !(1..=256).contains(&ngram) {
            return Err(format!("`ngram` is {ngram}, but must be from 1 to 256"));
        }
        if distance_max > DISTANCE_MAX {
            return Err(format!("`distance-max` is {distance_max}, but must be at most {DISTANCE_MAX}"));
        }
        let keep = settings.keep.as_deref().map_or(Ok(Keep::First), str::parse)?;
        let Settings { against, save_keys, .. } = settings.clone();
        let others = OtherRuns::open(against, save_keys, "simhash-duplicates", json!({ "ngram": ngram }))?;
        Ok(Self { settings, keep, others })
    }
}

impl CorpusStage for SimHashDuplicates {
    fn sketch(&self, document: &Document, sketch: &mut Vec<u8>) {
        sketch.extend_from_slice(&self.keep.worth(document).to_le_bytes());
        if let Some(print) = fingerprint(&shingles(document.text(), self.settings.ngram, Cutting::Simplified)) {
            sketch.extend_from_slice(&print.to_le_bytes());
        }
    }

    fn decide(
        &self,
        sketches: &SketchReader,
        decisions: &mut DecisionWriter,
        context: &Context<'_>,
    ) -> Result<(), CorpusError> {
        let others = self.others.documents()?;
        let mut clusters = clusters::begin(others, sketches, context)?;
        let distance = self.settings.distance_max;
        for mask in masks(distance, others + sketches.documents()) {
            let mut table: Sorter<3> = Sorter::new(&context.scratch, context.memory_bytes / 2, context.threads);
            let mut document = 0;
            let mut take = |sketch: &[u8]| {
                if let Some(print) = sketch[size_of::<u64>()..].first_chunk() {
                    let print = u64::from_le_bytes(*print);
                    table.push([print & mask, print, document])?;
                }
                document += 1;
                Ok(())
            };
            self.others.all(&mut take)?;
            sketches.all(&mut take)?;
            table.finish_groups::<1, CorpusError>(|group| {
                let group: Vec<(u64, u32)> =
                    group.iter().map(|&[_, print, document]| (print, document as u32)).collect();
                pairs_within(&group, distance, |one, other| clusters.join(one, other));
                Ok(())
            })?;
        }
        clusters::decide(clusters, &self.keep, &self.others, sketches, decisions, context)
    }

    fn apply(&self, decision: &[u8], document: &mut Document) -> Verdict {
        clusters::apply(decision, document, "simhash", "simhash_duplicate")
    }

    fn inputs(&self) -> Vec<PathBuf> {
        self.others.files()
    }
}
