//! Any bytes under any kind of name, through every format: never a panic, and never more findings than are kept. The
//! first byte chooses the name, the rest is the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tsumugi_scan::{Limits, scan_bytes};

const NAMES: &[&str] = &[
    "a", "a.pkl", "a.pt", "a.joblib", "a.npy", "a.npz", "a.h5", "a.keras", "a.onnx", "a.pb", "a.tflite", "a.gguf",
    "a.safetensors", "a.json", "a.yaml", "a.jinja", "a.bin", "a.model", "a.ubj", "a.cbm", "a.t7", "a.rds", "a.pmml",
    "a.nemo", "a.7z", "a.gz", "a.lz4", "a.txt", "modules.json",
];

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, content)) = bytes.split_first() else { return };
    let limits = Limits {
        depth: 4,
        member_bytes: 1 << 20,
        unpacked_bytes: 8 << 20,
        opcodes: 100_000,
        findings: 100,
        ..Limits::default()
    };
    let report = scan_bytes(content, NAMES[usize::from(choice) % NAMES.len()], &limits);
    assert!(report.findings.len() <= 100);
    assert_eq!(report.bytes, content.len() as u64);
});
