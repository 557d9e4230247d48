//! Any bytes as a safetensors file: never a panic, and what we accept, the format's own reader accepts too.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use safetensors::SafeTensors;
use tsumugi_files::safetensors::parse_header;
use tsumugi_files::{TensorView, to_f32};

fuzz_target!(|bytes: &[u8]| {
    let Ok(header) = parse_header(bytes, Path::new("fuzzed")) else { return };
    let judge = SafeTensors::deserialize(bytes).expect("the format's own reader accepts what we accept");
    assert_eq!(judge.len(), header.tensors.len());
    for entry in &header.tensors {
        let view = TensorView {
            name: &entry.name,
            element_type: entry.element_type,
            shape: &entry.shape,
            bytes: &bytes[entry.bytes.clone()],
        };
        assert_eq!(judge.tensor(view.name).expect("the same names").data(), view.bytes);
        let _ = to_f32(&view);
    }
});
