//! Duplicates: exact ones, near ones, and repeated parts. Algorithms over hashes and bytes; the corpus stages that use them are
//! thin. What does not fit into memory is sorted on the disk ([`sorter`]), and nothing depends on threads or memory.
//!
//! - [`pieces`] of a text (itself, its paragraphs, its lines) with a hash each; [`bloom`] filter.
//! - [`shingles`], [`minhash`] signatures with buckets, [`simhash`] fingerprints, [`clusters`] of what is alike.
//! - [`suffix_array`] and repeated [`substrings`].

pub mod bloom;
pub mod clusters;
pub mod keep;
pub mod minhash;
pub mod pieces;
pub mod shingles;
pub mod simhash;
pub mod sorter;
pub mod substrings;
pub mod suffix_array;
