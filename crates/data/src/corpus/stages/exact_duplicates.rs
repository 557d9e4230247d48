//! Documents with the same text, byte for byte: the first of them in the order of the input stays.

use std::collections::HashSet;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::Document;
use crate::corpus::{Context, CorpusError, CorpusStage, DecisionWriter, SketchReader, Verdict};

const DROP: &[u8] = &[1];

/// Bytes of a hash that are kept: two of 2^40 different texts share one with probability 2^-49.
const HASH_BYTES: usize = 16;

/// Has no settings. Takes some 30 bytes of memory for each document.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExactDuplicates {}

impl CorpusStage for ExactDuplicates {
    fn sketch(&self, document: &Document, sketch: &mut Vec<u8>) {
        sketch.extend_from_slice(&Sha256::digest(document.text().as_bytes())[..HASH_BYTES]);
    }

    fn decide(
        &self,
        sketches: &SketchReader,
        decisions: &mut DecisionWriter,
        _context: &Context<'_>,
    ) -> Result<(), CorpusError> {
        let mut seen = HashSet::new();
        sketches.all(&mut |hash| {
            let is_new = seen.insert(<[u8; HASH_BYTES]>::try_from(hash).expect("a sketch of ours"));
            decisions.push(if is_new { &[] } else { DROP })
        })
    }

    fn apply(&self, decision: &[u8], _document: &mut Document) -> Verdict {
        if decision == DROP { Verdict::drop("exact_duplicate") } else { Verdict::Keep }
    }
}
