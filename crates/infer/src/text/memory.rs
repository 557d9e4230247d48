//! How long a context the memory allows. A config may promise more positions than a machine can hold keys and values
//! for: Llama 3.2 1B names 131,072, of 64 KiB each in float32.

use tsumugi_base::machine::available_memory_bytes;
use tsumugi_files::{Admitted, FilesError, ModelFiles};
use tsumugi_models::Precision;
use tsumugi_tensor::KEY_BLOCK;

/// Of the memory that is available once the weights are loaded. The rest is for packing them, for activations, and for
/// whatever else the machine does.
pub const CACHE_SHARE: f64 = 0.5;

/// The share of the available memory up to which weights are packed: the rest is for the cache of keys and values.
const PACKED_SHARE: f64 = 0.7;

/// Where the weights of a served model lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Placement {
    /// Packed if the memory allows, else mapped.
    #[default]
    Auto,
    /// Copied, in the layout that products read fastest.
    Packed,
    /// In the mapped file: nothing is copied, and answers are slower.
    Mapped,
}

/// Why weights were left in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge {
    /// Bytes of the weights.
    pub weights: u64,
    /// Bytes of memory that were available.
    pub available: u64,
}

impl Placement {
    /// What a model is loaded with: weights that are computed with as they are stored stay in the file or are packed. With the
    /// reason, if they stay there and nobody asked for it.
    pub fn resolve(
        self,
        model: &Admitted<ModelFiles>,
        precision: Precision,
    ) -> Result<(Precision, Option<TooLarge>), FilesError> {
        if precision != Precision::Stored {
            return Ok((precision, None));
        }
        let (mapped, why) = self.is_mapped(model, available_memory_bytes())?;
        Ok((if mapped { Precision::Mapped } else { precision }, why))
    }

    /// Whether the weights of a model stay in the file, and why if nobody asked for it.
    fn is_mapped(
        self,
        model: &Admitted<ModelFiles>,
        available: Option<u64>,
    ) -> Result<(bool, Option<TooLarge>), FilesError> {
        if self != Self::Auto {
            return Ok((self == Self::Mapped, None));
        }
        let weights = model.tensors()?.entries().map(|entry| entry.stored_bytes()).sum();
        let too_large = too_large(weights, available);
        Ok((too_large.is_some(), too_large))
    }
}

fn too_large(weights: u64, available: Option<u64>) -> Option<TooLarge> {
    let available = available.filter(|&bytes| weights as f64 > PACKED_SHARE * bytes as f64)?;
    Some(TooLarge { weights, available })
}

/// Positions: of one sequence, and of the cache over all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Positions {
    pub context: usize,
    pub cache: usize,
}

/// What of `context` positions (the model's) fits into `bytes` for the cache. `asked` was asked for by the user, who may
/// know better than we what memory there is; the cache is filled as it is used.
pub(super) fn fit(context: usize, asked: Option<usize>, position_bytes: usize, bytes: Option<u64>) -> Positions {
    let fitting =
        bytes.map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX) / position_bytes.max(1));
    let fitting = (fitting - fitting % KEY_BLOCK).max(KEY_BLOCK);
    let context = asked.unwrap_or(context.min(fitting));
    Positions { context, cache: (2 * context).min(fitting).max(context) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_packed_while_memory_is_left_for_a_cache() {
        assert_eq!(too_large(7 << 30, Some(10 << 30)), None);
        let large = TooLarge { weights: 8 << 30, available: 10 << 30 };
        assert_eq!(too_large(8 << 30, Some(10 << 30)), Some(large));
        assert_eq!(too_large(8 << 30, None), None, "the system does not tell");
    }

    #[test]
    fn the_context_is_cut_to_what_fits_and_only_then() {
        let positions = |context, cache| Positions { context, cache };
        assert_eq!(fit(256, None, 1000, Some(1 << 30)), positions(256, 512));
        assert_eq!(fit(256, None, 1000, None), positions(256, 512), "the system does not tell");
        assert_eq!(fit(256, None, 1000, Some(300_000)), positions(256, 256));
        assert_eq!(fit(131_072, None, 131_072, Some(4 << 30)), positions(32_768, 32_768));
        assert_eq!(fit(131_072, Some(65_536), 131_072, Some(4 << 30)), positions(65_536, 65_536), "as asked");
        assert_eq!(fit(131_072, Some(1024), 131_072, Some(4 << 30)), positions(1024, 2048));
        assert_eq!(fit(4096, None, 1000, Some(10)), positions(KEY_BLOCK, KEY_BLOCK), "a page is the least");
    }
}
