//! Operations: each file has the formula as a plain reference, and the operation with forward and backward.
//!
//! Shape letters: `r` rows (all positions of all sequences of a batch), `m` model width, `n` outputs of a
//! linear layer, `v` vocabulary, `h` query heads, `g` key/value heads, `d` head width.

pub mod attention;
pub mod cross_entropy;
pub mod dropout;
pub mod elementwise;
pub mod embedding;
pub mod experts;
pub mod feed_forward;
pub mod gate_rows;
pub mod linear;
pub mod logits_cross_entropy;
pub mod matmul;
pub mod normalize;
pub mod normalize_heads;
pub mod rearrange;
pub mod reduce;
pub mod rotary;
pub mod select_rows;
pub mod softmax;
