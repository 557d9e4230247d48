//! Any bytes as a checkpoint of PyTorch: never a panic, and every tensor has the bytes of its shape.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use tsumugi_files::torch::tensors;

fuzz_target!(|bytes: &[u8]| {
    for tensor in tensors(bytes, Path::new("fuzzed")).unwrap_or_default() {
        // Copies may take as much as the limit: one is enough.
        if tensor.entry.stored_bytes() < 1 << 20 {
            assert_eq!(tensor.entry.stored_bytes(), tensor.bytes(bytes).len() as u64);
        }
    }
});
