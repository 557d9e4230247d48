//! The small checkpoints of llama2.c ("version 0"): a header of seven numbers, then every weight in float32 in a fixed
//! order (karpathy/llama2.c, `export.py`, `legacy_export`; `run.c`, `memory_map_weights`).
//!
//! The records have the names and shapes of a Llama in the Hugging Face format. One thing differs in the bytes: llama2.c
//! rotates neighbouring pairs of a head's elements, Hugging Face the first half with the second, so that the rows of the
//! query and key weights are read in another order.

use std::ops::Range;

use tsumugi_base::limits::MODEL_TENSORS_MAX;

use crate::element_type::ElementType;
use crate::stored_tensor::{PlacedTensor, TensorEntry};
use crate::strided::place;

const NUMBERS: usize = 7;
const HEADER_BYTES: usize = NUMBERS * size_of::<i32>();
const FLOAT_BYTES: usize = size_of::<f32>();

/// The head of a file, which fits its length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Width of the residual stream.
    pub dim: usize,
    /// Width of the feed-forward layer.
    pub hidden_dim: usize,
    /// Number of layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Number of tokens.
    pub vocabulary: usize,
    /// Longest context.
    pub context: usize,
    /// Whether the embedding is the output head, too.
    pub tied: bool,
}

impl Header {
    /// The header of a whole file. The format has no magic number: a file is one if its seven numbers are possible and
    /// give its length exactly.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let (numbers, _) = bytes.get(..HEADER_BYTES)?.as_chunks();
        let numbers: Vec<i32> = numbers.iter().map(|&number| i32::from_le_bytes(number)).collect();
        let &[dim, hidden_dim, layers, heads, kv_heads, vocabulary, context] = &numbers[..] else { return None };
        let count = |number: i32| usize::try_from(number).ok().filter(|&number| number > 0);
        let header = Self {
            dim: count(dim)?,
            hidden_dim: count(hidden_dim)?,
            layers: count(layers)?,
            heads: count(heads)?,
            kv_heads: count(kv_heads)?,
            vocabulary: vocabulary.unsigned_abs() as usize,
            context: count(context)?,
            tied: vocabulary > 0, // run.c: "negative vocab size is hacky way of signaling unshared weights"
        };
        let is_possible = header.vocabulary > 0
            && header.layers <= MODEL_TENSORS_MAX / 16
            && header.dim.is_multiple_of(2 * header.heads)
            && header.heads.is_multiple_of(header.kv_heads);
        (is_possible && header.end() == Some(bytes.len() as u128)).then_some(header)
    }

    /// Width of a head.
    pub fn head_width(&self) -> usize {
        self.dim / self.heads
    }

    fn kv_dim(&self) -> usize {
        self.kv_heads * self.head_width()
    }

    /// Names (`{}` is the layer), shapes, and how many there are of each, in the file's order. No name: the tables of
    /// sines and cosines, which are computed again.
    fn order(&self) -> [(&'static str, [usize; 2], usize); 14] {
        let (dim, hidden, layers, kv) = (self.dim, self.hidden_dim, self.layers, self.kv_dim());
        let table = self.head_width() / 2;
        [
            ("model.embed_tokens.weight", [self.vocabulary, dim], 1),
            ("model.layers.{}.input_layernorm.weight", [0, dim], layers),
            ("model.layers.{}.self_attn.q_proj.weight", [dim, dim], layers),
            ("model.layers.{}.self_attn.k_proj.weight", [kv, dim], layers),
            ("model.layers.{}.self_attn.v_proj.weight", [kv, dim], layers),
            ("model.layers.{}.self_attn.o_proj.weight", [dim, dim], layers),
            ("model.layers.{}.post_attention_layernorm.weight", [0, dim], layers),
            ("model.layers.{}.mlp.gate_proj.weight", [hidden, dim], layers),
            ("model.layers.{}.mlp.down_proj.weight", [dim, hidden], layers),
            ("model.layers.{}.mlp.up_proj.weight", [hidden, dim], layers),
            ("model.norm.weight", [0, dim], 1),
            ("", [self.context, table], 1),
            ("", [self.context, table], 1),
            ("lm_head.weight", [self.vocabulary, dim], usize::from(!self.tied)),
        ]
    }

    fn end(&self) -> Option<u128> {
        self.order().iter().try_fold(HEADER_BYTES as u128, |end, (_, shape, count)| {
            let elements = (shape[0].max(1) as u128).checked_mul(shape[1] as u128)?.checked_mul(*count as u128)?;
            end.checked_add(elements.checked_mul(FLOAT_BYTES as u128)?)
        })
    }

    /// Every tensor of the file.
    pub(crate) fn tensors(&self) -> Vec<PlacedTensor> {
        let mut tensors = Vec::new();
        let mut at = HEADER_BYTES; // every sum is at most the file's length
        for (name, [rows, columns], count) in self.order() {
            let bytes = rows.max(1) * columns * FLOAT_BYTES;
            for layer in 0..count {
                if !name.is_empty() {
                    let name = name.replace("{}", &layer.to_string());
                    tensors.push(self.tensor(name, rows, columns, at..at + bytes));
                }
                at += bytes;
            }
        }
        tensors
    }

    /// `rows` 0: a vector.
    fn tensor(&self, name: String, rows: usize, columns: usize, bytes: Range<usize>) -> PlacedTensor {
        let is_rotated = name.contains("q_proj") || name.contains("k_proj");
        let shape = if rows == 0 { vec![columns] } else { vec![rows, columns] };
        let half = self.head_width() / 2;
        // Head, half, pair, column: row 2 * pair + half of a head there is row half * (width / 2) + pair here.
        let view = [rows / self.head_width(), 2, half, columns];
        let strides = [self.head_width() * columns, columns, 2 * columns, 1];
        let strided = if is_rotated {
            place(&bytes, ElementType::F32, 0, &view, &strides).and_then(|place| place.strided)
        } else {
            None
        };
        PlacedTensor { entry: TensorEntry { name, element_type: ElementType::F32, shape, bytes }, strided }
    }
}

#[cfg(test)]
mod tests {
    use tsumugi_base::testing::mutations;

    use super::*;

    /// A file of zeros behind these seven numbers.
    fn file(numbers: [i32; NUMBERS]) -> Vec<u8> {
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let [dim, hidden_dim, layers, heads, kv_heads, vocabulary, context] = numbers.map(|number| number as usize);
        let header = Header { dim, hidden_dim, layers, heads, kv_heads, vocabulary, context, tied: true };
        bytes.resize(header.end().unwrap() as usize, 0);
        bytes
    }

    #[test]
    fn broken_headers_are_none_or_name_places_in_the_file() {
        let whole = file([8, 5, 2, 2, 1, 3, 4]);
        assert_eq!(Header::of(&whole).unwrap().tensors().len(), 3 * 3 + 2 * 3 + 5);
        let mut accepted = 0;
        for mutation in mutations(&whole, 31, 20_000) {
            let Some(header) = Header::of(&mutation.bytes) else { continue };
            accepted += 1;
            assert!(header.tensors().iter().all(|tensor| tensor.entry.bytes.end <= mutation.bytes.len()));
        }
        assert!((20..19_000).contains(&accepted), "{accepted}");
    }
}
