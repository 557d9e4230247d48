//! Seeded mutations of every sample: whatever the bytes are, the scan ends within its limits.

use std::thread;

use tsumugi_base::testing::mutations;
use tsumugi_scan::{Limits, Reach, scan_bytes};

use crate::samples::{Zip, call_4, gzip, npy, tar, zlib};
use crate::{catalogue, structures};

/// Over all samples.
const MUTATIONS: usize = 100_000;
const THREADS: usize = 2;

/// Small, so that reaching one is a part of the test; what a scan holds and how long it works follows from them.
const LIMITS: Limits = Limits {
    depth: 4,
    member_bytes: 64 << 10,
    unpacked_bytes: 256 << 10,
    opcodes: 10_000,
    findings: 50,
    reach: Reach::Everything,
};

fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let evil = call_4("os", "system");
    let mut samples: Vec<_> = catalogue::samples().collect();
    samples.extend(
        ["external-data.h5", "pickle.h5", "shape.h5", "messages.h5"].map(|name| (name, structures::fixture(name))),
    );
    samples.extend([
        ("a.pt", Zip::new("data.pkl", &gzip(&evil)).bytes()),
        ("a.tar", tar("a.pkl", b'0', "", &Zip::new("a.npy", &npy("<f8", &[0; 8])).bytes())),
        ("a.joblib", zlib(&evil)),
        ("a.json", br#"{"class_name": "Lambda", "module": "os", "x": "{{ ''.__class__ }}"}"#.to_vec()),
        ("a.safetensors", b"\x10\0\0\0\0\0\0\0{\"__metadata__\":{}}".to_vec()),
        ("a.ubj", b"{L\0\0\0\0\0\0\0\x07learner[$d#L\0\0\0\0\0\0\0\x02........}".to_vec()),
        ("a.txt", b"tree\nversion=v4\n\nTree=0\nnum_leaves=3\nleaf_value=1 2 3\n".to_vec()),
        ("a.tflite", structures::flatbuffer(&[0, 4], &[4u32, 1, 16, 0, 4, 4].map(u32::to_le_bytes).concat())),
    ]);
    samples
}

#[test]
fn mutated_samples_never_end_the_scan() {
    let samples = samples();
    let of_each = MUTATIONS.div_ceil(samples.len()) as u64;
    let work = |thread: usize| {
        for (seed, (name, sample)) in samples.iter().enumerate().skip(thread).step_by(THREADS) {
            for mutation in mutations(sample, seed as u64, of_each) {
                let report = scan_bytes(&mutation.bytes, name, &LIMITS);
                assert!(report.findings.len() <= LIMITS.findings, "{name}, mutation {}", mutation.number);
            }
        }
    };
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let work = &work;
            scope.spawn(move || work(thread));
        }
    });
}
