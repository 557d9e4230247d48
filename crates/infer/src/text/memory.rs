//! How long a context the memory allows. A config may promise more positions than a machine can hold keys and values
//! for: Llama 3.2 1B names 131,072, of 64 KiB each in float32.

use tsumugi_tensor::KEY_BLOCK;

/// Of the memory that is available once the weights are loaded. The rest is for packing them, for activations, and for
/// whatever else the machine does.
pub const CACHE_SHARE: f64 = 0.5;

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
