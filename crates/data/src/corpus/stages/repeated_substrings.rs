//! Long parts of texts that stood before in the corpus: [`crate::dedup::substrings`].

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;

use super::pieces::numbers;
use crate::Document;
use crate::corpus::{Context, CorpusError, CorpusStage, DecisionWriter, SketchReader, Verdict};
use crate::dedup::pieces::without;
use crate::dedup::sorter::Sorter;
use crate::dedup::substrings::{LENGTH_MIN, Mark, Partition, Repeated};

/// A sketch is the text; a decision is the parts of it that are repeated, first byte and the one behind the last.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Settings")]
pub(super) struct RepeatedSubstrings(Settings);

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Settings {
    /// The least length of a part, in bytes; 200 are some 50 tokens of English.
    bytes_min: usize,
    /// What is done with a document that has such parts.
    action: Action,
    /// With `action = "drop"`: the share of its bytes that must be repeated.
    share_min: Option<f64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Action {
    /// The parts are cut out.
    #[default]
    Cut,
    /// The document is dropped.
    Drop,
}

impl Default for Settings {
    fn default() -> Self {
        Self { bytes_min: 200, action: Action::Cut, share_min: None }
    }
}

impl TryFrom<Settings> for RepeatedSubstrings {
    type Error = String;

    fn try_from(settings: Settings) -> Result<Self, String> {
        let least = settings.bytes_min;
        if !(LENGTH_MIN..=1 << 20).contains(&least) {
            return Err(format!("`bytes-min` is {least}, but must be from {LENGTH_MIN} to 1,048,576"));
        }
        match settings.share_min {
            Some(_) if settings.action == Action::Cut => Err("`share-min` is for `action = \"drop\"`".into()),
            Some(share) if !(0.0..=1.0).contains(&share) => {
                Err(format!("`share-min` is {share}, but must be from 0 to 1"))
            }
            _ => Ok(Self(settings)),
        }
    }
}

impl CorpusStage for RepeatedSubstrings {
    fn sketch(&self, document: &Document, sketch: &mut Vec<u8>) {
        sketch.extend_from_slice(document.text().as_bytes());
    }

    fn decide(
        &self,
        sketches: &SketchReader,
        decisions: &mut DecisionWriter,
        context: &Context<'_>,
    ) -> Result<(), CorpusError> {
        let length = self.0.bytes_min;
        let mut text_bytes = 0;
        sketches.all(&mut |text| {
            text_bytes += text.len() as u64;
            Ok(())
        })?;
        let part_bytes = context.memory_bytes / 2 / context.threads.max(1) as u64;
        let mut partition = Partition::create(&context.scratch, length, text_bytes, part_bytes)?;
        // Marks of all parts in the order of the corpus, with one of no windows before those of each document.
        let mut marks: Sorter<3> = Sorter::new(&context.scratch, context.memory_bytes / 4, context.threads);
        sketches.all(&mut |text| Ok(marks.push([partition.push(text)?, 0, 0])?))?;
        let parts = partition.finish()?;
        let all = Mutex::new(marks);
        context.each(&(0..parts.count()).collect::<Vec<_>>(), &|part| {
            let found = parts.marks(part, part_bytes)?;
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(found.iter().try_for_each(|mark| all.push([mark.start, mark.count, u64::from(mark.is_first)]))?)
        })?;
        let marks = all.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (mut begin, mut repeated) = (None, Repeated::default());
        marks.finish(|[start, count, is_first]| {
            if count > 0 {
                repeated.push(Mark { start, count, is_first: is_first == 1 }, length);
                return Ok(());
            }
            begin.replace(start).map_or(Ok(()), |begin| push_decision(decisions, begin, &repeated.take()))
        })?;
        begin.map_or(Ok(()), |begin| push_decision(decisions, begin, &repeated.take()))
    }

    fn apply(&self, decision: &[u8], document: &mut Document) -> Verdict {
        const RULE: &str = "repeated_substrings";
        if decision.is_empty() {
            return Verdict::Keep;
        }
        let bounds: Vec<u32> = numbers(decision).collect();
        let parts: Vec<Range<usize>> = bounds.chunks_exact(2).map(|pair| pair[0] as usize..pair[1] as usize).collect();
        let bytes: usize = parts.iter().map(Range::len).sum();
        match self.0.action {
            Action::Cut => {
                let text = without(document.text(), &parts);
                if text.trim().is_empty() {
                    return Verdict::drop(RULE);
                }
                document.set_text(text);
            }
            Action::Drop if bytes as f64 >= self.0.share_min.unwrap_or(0.5) * document.text().len() as f64 => {
                return Verdict::drop(RULE);
            }
            Action::Drop => {}
        }
        document.set_signal("repeated_bytes", bytes as f64);
        Verdict::Keep
    }
}

fn push_decision(decisions: &mut DecisionWriter, begin: u64, repeated: &[Range<u64>]) -> Result<(), CorpusError> {
    let bounds = repeated.iter().flat_map(|range| [range.start, range.end]);
    let decision: Vec<u8> = bounds.flat_map(|bound| ((bound - begin) as u32).to_le_bytes()).collect();
    decisions.push(&decision)
}
