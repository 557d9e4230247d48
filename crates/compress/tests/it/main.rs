//! Models in other formats and in fewer bits.

mod formats;
mod mixes;
