//! Documents, paragraphs or lines with the same text by a Bloom filter: the first stays. Memory is known before; now and then a
//! piece goes that stood nowhere before.

use serde::Deserialize;

use super::pieces::{Pieces, read_sketch};
use crate::Document;
use crate::corpus::{Context, CorpusError, CorpusStage, DecisionWriter, SketchReader, Verdict};
use crate::dedup::bloom::Bloom;
use crate::dedup::keep::Keep;
use crate::dedup::pieces::Unit;

/// The filter is as large as the number of pieces and the rate ask for.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Settings")]
pub(super) struct BloomDuplicates {
    pieces: Pieces,
    rate: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Settings {
    /// What is compared: `document`, `paragraph`, `line`.
    unit: Unit,
    /// The least piece that is a duplicate, in bytes.
    bytes_min: usize,
    /// The share of other pieces that may go as duplicates, at most.
    false_positive_rate: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { unit: Unit::Document, bytes_min: 0, false_positive_rate: 1e-6 }
    }
}

impl TryFrom<Settings> for BloomDuplicates {
    type Error = String;

    fn try_from(settings: Settings) -> Result<Self, String> {
        let rate = settings.false_positive_rate;
        if !(1e-15..1.0).contains(&rate) {
            return Err(format!("`false-positive-rate` is {rate}, but must be from 1e-15 to below 1"));
        }
        Ok(Self { pieces: Pieces { unit: settings.unit, bytes_min: settings.bytes_min }, rate })
    }
}

impl CorpusStage for BloomDuplicates {
    fn sketch(&self, document: &Document, sketch: &mut Vec<u8>) {
        self.pieces.sketch(document, &Keep::First, sketch);
    }

    fn decide(
        &self,
        sketches: &SketchReader,
        decisions: &mut DecisionWriter,
        context: &Context<'_>,
    ) -> Result<(), CorpusError> {
        let mut count = 0;
        sketches.all(&mut |sketch| {
            count += read_sketch(sketch).1.count() as u64;
            Ok(())
        })?;
        context.needs("a Bloom filter of that rate", Bloom::bytes(count, self.rate))?;
        let mut filter = Bloom::new(count, self.rate);
        let mut decision = Vec::new();
        sketches.all(&mut |sketch| {
            decision.clear();
            for (number, hash) in read_sketch(sketch).1.enumerate() {
                if filter.insert(hash) {
                    decision.extend_from_slice(&(number as u32).to_le_bytes());
                }
            }
            decisions.push(&decision)
        })
    }

    fn apply(&self, decision: &[u8], document: &mut Document) -> Verdict {
        self.pieces.apply(decision, document)
    }
}
