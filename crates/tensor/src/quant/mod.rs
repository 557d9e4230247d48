//! Weights in the kinds that checkpoints store them in, packed for the matrix product **in their own width**: 4 bits stay
//! 4 bits, because a decoding step takes as long as reading them does.
//!
//! To add a kind: a row in `kind.rs`, its bits in `block.rs`, and a line in the lists of `kernels/quantized`.

pub(crate) mod block;
mod kind;
mod matrix;

pub use kind::{STEP, TILE_ROWS, TileLayout, WeightKind};
pub use matrix::{MappedRows, Piece, QuantizedMatrix, StoredRows};
pub(crate) use matrix::{code_of, scale_and_offset};
