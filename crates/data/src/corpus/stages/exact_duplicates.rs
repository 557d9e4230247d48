//! Documents, paragraphs or lines with the same text, byte for byte: one of them stays.

use serde::Deserialize;

use super::pieces::{Pieces, read_sketch};
use crate::Document;
use crate::corpus::{Context, CorpusError, CorpusStage, DecisionWriter, SketchReader, Verdict};
use crate::dedup::keep::Keep;
use crate::dedup::pieces::Unit;
use crate::dedup::sorter::Sorter;

/// Sorts hashes, on the disk where they do not fit into the memory.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Settings")]
pub(super) struct ExactDuplicates {
    pieces: Pieces,
    keep: Keep,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Settings {
    /// What is compared: `document`, `paragraph`, `line`.
    unit: Unit,
    /// Which copy stays: `first`, `longest`, `best:SIGNAL`.
    keep: Option<String>,
    /// The least piece that is a duplicate, in bytes.
    bytes_min: usize,
}

impl TryFrom<Settings> for ExactDuplicates {
    type Error = String;

    fn try_from(settings: Settings) -> Result<Self, String> {
        let keep = settings.keep.as_deref().map_or(Ok(Keep::First), str::parse)?;
        if keep == Keep::All {
            return Err("`keep` is `all`, but of copies that are equal one must go".into());
        }
        Ok(Self { pieces: Pieces { unit: settings.unit, bytes_min: settings.bytes_min }, keep })
    }
}

impl CorpusStage for ExactDuplicates {
    fn sketch(&self, document: &Document, sketch: &mut Vec<u8>) {
        self.pieces.sketch(document, &self.keep, sketch);
    }

    fn decide(
        &self,
        sketches: &SketchReader,
        decisions: &mut DecisionWriter,
        context: &Context<'_>,
    ) -> Result<(), CorpusError> {
        let half = context.memory_bytes / 2;
        // Equal pieces side by side, the one that stays in front. Pieces are numbered through all documents.
        let mut pieces: Sorter<4> = Sorter::new(&context.scratch, half, context.threads);
        let mut number = 0;
        sketches.all(&mut |sketch| {
            let (worth, hashes) = read_sketch(sketch);
            for hash in hashes {
                let hash = u128::from_be_bytes(hash);
                pieces.push([(hash >> 64) as u64, hash as u64, u64::MAX - worth, number])?;
                number += 1;
            }
            Ok(())
        })?;
        let mut gone: Sorter<1> = Sorter::new(&context.scratch, half, context.threads);
        let mut last = None;
        pieces.finish(|[high, low, _, number]| {
            if last.replace((high, low)) == Some((high, low)) {
                gone.push([number])?;
            }
            Ok::<_, CorpusError>(())
        })?;
        push_decisions(sketches, decisions, gone)
    }

    fn apply(&self, decision: &[u8], document: &mut Document) -> Verdict {
        self.pieces.apply(decision, document)
    }
}

/// Brings the pieces that go back to their documents.
fn push_decisions(sketches: &SketchReader, decisions: &mut DecisionWriter, gone: Sorter<1>) -> Result<(), CorpusError> {
    let mut gone = gone.sorted()?;
    let (mut next, mut first, mut decision) = (gone.next().transpose()?, 0, Vec::new());
    sketches.all(&mut |sketch| {
        let behind = first + read_sketch(sketch).1.count() as u64;
        decision.clear();
        while let Some([number]) = next.filter(|[number]| *number < behind) {
            decision.extend_from_slice(&((number - first) as u32).to_le_bytes());
            next = gone.next().transpose()?;
        }
        first = behind;
        decisions.push(&decision)
    })
}
