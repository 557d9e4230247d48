//! Any bytes as a GGUF file: never a panic, and every tensor of an accepted one can be read to its end.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use tsumugi_files::gguf::parse_header;
use tsumugi_files::{TensorView, to_f32};

fuzz_target!(|bytes: &[u8]| {
    let Ok(header) = parse_header(bytes, Path::new("fuzzed")) else { return };
    for entry in &header.tensors {
        let view = TensorView {
            name: &entry.name,
            element_type: entry.element_type,
            shape: &entry.shape,
            bytes: &bytes[entry.bytes.clone()],
        };
        assert_eq!(view.element_type.tensor_bytes(view.shape), Some(view.bytes.len() as u64));
        let _ = to_f32(&view);
    }
});
