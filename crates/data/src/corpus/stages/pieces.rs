//! What stages share that drop pieces of texts: [`crate::dedup::pieces`].
//!
//! A sketch is what the document is worth, then the hash of each piece; a decision is the numbers of the pieces that go.

use crate::Document;
use crate::corpus::Verdict;
use crate::dedup::keep::Keep;
use crate::dedup::pieces::{HASH_BYTES, Unit, hash, without};

/// Which pieces are compared.
#[derive(Debug)]
pub(super) struct Pieces {
    pub unit: Unit,
    /// The least piece that is a duplicate, in bytes.
    pub bytes_min: usize,
}

impl Pieces {
    pub fn sketch(&self, document: &Document, keep: &Keep, sketch: &mut Vec<u8>) {
        sketch.extend_from_slice(&keep.worth(document).to_le_bytes());
        for (piece, _) in self.compared(document.text()) {
            sketch.extend_from_slice(&hash(piece.as_bytes()));
        }
    }

    /// What is compared of a text, and what goes with it.
    fn compared<'t>(&self, text: &'t str) -> impl Iterator<Item = (&'t str, std::ops::Range<usize>)> {
        let pieces = self.unit.pieces(text).into_iter().map(|range| (self.unit.content(&text[range.clone()]), range));
        pieces.filter(|(piece, _)| piece.len() >= self.bytes_min)
    }

    /// Takes the pieces out; a document of which nothing is left goes itself. Signal: how many were taken out.
    pub fn apply(&self, decision: &[u8], document: &mut Document) -> Verdict {
        if decision.is_empty() {
            return Verdict::Keep;
        }
        let (rule, signal) = match self.unit {
            Unit::Document => return Verdict::drop("exact_duplicate"),
            Unit::Paragraph => ("duplicate_paragraphs", "duplicate_paragraphs"),
            Unit::Line => ("duplicate_lines", "duplicate_lines"),
        };
        let ranges: Vec<_> = self.compared(document.text()).map(|(_, range)| range).collect();
        let gone: Vec<_> = numbers(decision).map(|number| ranges[number as usize].clone()).collect();
        let text = without(document.text(), &gone);
        if text.trim().is_empty() {
            return Verdict::drop(rule);
        }
        document.set_text(text);
        document.set_signal(signal, gone.len() as f64);
        Verdict::Keep
    }
}

/// What the document is worth, and the hashes of its pieces.
pub(super) fn read_sketch(sketch: &[u8]) -> (u64, impl Iterator<Item = [u8; HASH_BYTES]> + '_) {
    let (worth, hashes) = sketch.split_first_chunk().expect("a sketch of ours");
    let hashes = hashes.chunks_exact(HASH_BYTES).map(|hash| hash.try_into().expect("a whole hash"));
    (u64::from_le_bytes(*worth), hashes)
}

/// Numbers of four bytes.
pub(super) fn numbers(bytes: &[u8]) -> impl Iterator<Item = u32> + '_ {
    bytes.chunks_exact(4).map(|number| u32::from_le_bytes(number.try_into().expect("four bytes")))
}
