//! What stages share that find clusters of documents: [`crate::dedup::clusters`].
//!
//! A sketch begins with what the document is worth. A decision is empty for a document that is alone.

use super::other_runs::OtherRuns;
use crate::Document;
use crate::corpus::frames::FrameWriter;
use crate::corpus::{Context, CorpusError, DecisionWriter, SketchReader, Verdict};
use crate::dedup::clusters::{BYTES_PER_DOCUMENT, Clusters, DOCUMENTS_MAX};
use crate::dedup::keep::Keep;

/// No documents joined yet, `others` of other runs before ours; an error if there are too many.
pub(super) fn begin(others: u64, sketches: &SketchReader, context: &Context<'_>) -> Result<Clusters, CorpusError> {
    let documents = others + sketches.documents();
    let needed = if documents > DOCUMENTS_MAX { u64::MAX } else { documents * BYTES_PER_DOCUMENT };
    context.needs("a table of all documents", needed)?;
    Ok(Clusters::new(documents))
}

/// Decides about each of our documents by its cluster. Of a cluster that has one of another run none stays.
pub(super) fn decide(
    mut clusters: Clusters,
    keep: &Keep,
    others: &OtherRuns,
    sketches: &SketchReader,
    decisions: &mut DecisionWriter,
    context: &Context<'_>,
) -> Result<(), CorpusError> {
    let (mut survivors, mut document) = (clusters.survivors(), 0);
    others.all(&mut |_| {
        survivors.push(&mut clusters, u64::MAX);
        document += 1;
        Ok(())
    })?;
    sketches.all(&mut |sketch| {
        let worth = sketch.first_chunk().expect("a sketch of ours");
        survivors.push(&mut clusters, u64::from_le_bytes(*worth));
        Ok(())
    })?;
    let mut saver = others.saver(context)?;
    sketches.all(&mut |sketch| {
        let first = clusters.first(document);
        let size = survivors.sizes[first as usize];
        let stays = *keep == Keep::All || survivors.best[first as usize] == document;
        document += 1;
        if let Some(saver) = saver.as_mut().filter(|_| stays) {
            saver.push(sketch)?;
        }
        if size == 1 {
            return decisions.push(&[]);
        }
        let mut decision = [u8::from(stays), 0, 0, 0, 0, 0, 0, 0, 0];
        decision[1..5].copy_from_slice(&first.to_le_bytes());
        decision[5..].copy_from_slice(&size.to_le_bytes());
        decisions.push(&decision)
    })?;
    saver.map_or(Ok(()), FrameWriter::commit)
}

/// Keeps the cluster with the document, as `NAME_cluster` (the number of its first document) and `NAME_cluster_size`.
pub(super) fn apply(decision: &[u8], document: &mut Document, name: &str, rule: &'static str) -> Verdict {
    let Some((&stays, numbers)) = decision.split_first() else { return Verdict::Keep };
    let mut numbers = super::pieces::numbers(numbers);
    for what in ["cluster", "cluster_size"] {
        let number = numbers.next().expect("a decision of ours");
        document.metadata.insert(format!("{name}_{what}"), number.into());
    }
    if stays == 1 { Verdict::Keep } else { Verdict::drop(rule) }
}
