//! Documents, paragraphs or lines with the same text, byte for byte: one of them stays.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::json;

use super::other_runs::OtherRuns;
use super::pieces::{Pieces, read_sketch};
use crate::Document;
use crate::corpus::frames::FrameWriter;
use crate::corpus::{Context, CorpusError, CorpusStage, DecisionWriter, SketchReader, Verdict};
use crate::dedup::keep::Keep;
use crate::dedup::pieces::{HASH_BYTES, Unit};
use crate::dedup::sorter::Sorter;

/// Sorts hashes, on the disk where they do not fit into the memory.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Settings")]
pub(super) struct ExactDuplicates {
    pieces: Pieces,
    keep: Keep,
    others: OtherRuns,
}

/// The number of a piece of another run.
const OTHER: u64 = u64::MAX;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Settings {
    /// What is compared: `document`, `paragraph`, `line`.
    unit: Unit,
    /// Which copy stays: `first`, `longest`, `best:SIGNAL`.
    keep: Option<String>,
    /// The least piece that is a duplicate, in bytes.
    bytes_min: usize,
    /// Files of keys: what other runs kept goes.
    against: Vec<PathBuf>,
    /// Whether the keys of what stays are left for other runs.
    save_keys: bool,
}

impl TryFrom<Settings> for ExactDuplicates {
    type Error = String;

    fn try_from(settings: Settings) -> Result<Self, String> {
        let keep = settings.keep.as_deref().map_or(Ok(Keep::First), str::parse)?;
        if keep == Keep::All {
            return Err("`keep` is `all`, but of copies that are equal one must go".into());
        }
        let made_by = json!({ "unit": settings.unit });
        let others = OtherRuns::open(settings.against, settings.save_keys, "exact-duplicates", made_by)?;
        Ok(Self { pieces: Pieces { unit: settings.unit, bytes_min: settings.bytes_min }, keep, others })
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
        let mut push = |hash: [u8; HASH_BYTES], worth: u64, number: u64| {
            let hash = u128::from_be_bytes(hash);
            pieces.push([(hash >> 64) as u64, hash as u64, u64::MAX - worth, number])
        };
        self.others.all(&mut |sketch| Ok(read_sketch(sketch).1.try_for_each(|hash| push(hash, u64::MAX, OTHER))?))?;
        let mut number = 0;
        sketches.all(&mut |sketch| {
            let (worth, hashes) = read_sketch(sketch);
            for hash in hashes {
                push(hash, worth, number)?;
                number += 1;
            }
            Ok(())
        })?;
        let mut gone: Sorter<1> = Sorter::new(&context.scratch, half, context.threads);
        let mut last = None;
        pieces.finish(|[high, low, _, number]| {
            if last.replace((high, low)) == Some((high, low)) && number != OTHER {
                gone.push([number])?;
            }
            Ok::<_, CorpusError>(())
        })?;
        let mut saver = self.others.saver(context)?;
        push_decisions(sketches, decisions, gone, saver.as_mut())?;
        saver.map_or(Ok(()), FrameWriter::commit)
    }

    fn apply(&self, decision: &[u8], document: &mut Document) -> Verdict {
        self.pieces.apply(decision, document)
    }

    fn inputs(&self) -> Vec<PathBuf> {
        self.others.files()
    }
}

/// Brings the pieces that go back to their documents, and those that stay to `saver`.
fn push_decisions(
    sketches: &SketchReader,
    decisions: &mut DecisionWriter,
    gone: Sorter<1>,
    mut saver: Option<&mut FrameWriter>,
) -> Result<(), CorpusError> {
    let mut gone = gone.sorted()?;
    let (mut next, mut number) = (gone.next().transpose()?, 0);
    let (mut decision, mut stays) = (Vec::new(), Vec::new());
    sketches.all(&mut |sketch| {
        decision.clear();
        stays.clear();
        stays.extend_from_slice(&0u64.to_le_bytes());
        for (place, hash) in read_sketch(sketch).1.enumerate() {
            if next == Some([number]) {
                decision.extend_from_slice(&(place as u32).to_le_bytes());
                next = gone.next().transpose()?;
            } else {
                stays.extend_from_slice(&hash);
            }
            number += 1;
        }
        if let Some(saver) = saver.as_mut().filter(|_| stays.len() > size_of::<u64>()) {
            saver.push(&stays)?;
        }
        decisions.push(&decision)
    })
}
