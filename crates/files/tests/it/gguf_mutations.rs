//! Thousands of broken GGUF files with fixed seeds: refused or read, never a panic, never a byte outside of the file;
//! and what is read is written and read again as the same.

use std::path::Path;

use tsumugi_base::testing::{asset, mutations};
use tsumugi_files::gguf::{GgufError, Header, Value, parse_header, parse_outline};
use tsumugi_files::{TensorView, to_f32};

use crate::gguf_format::{REFERENCE, written};

/// Reads every view of what was accepted, to its last byte.
fn check(bytes: &[u8]) -> Option<Header> {
    let header = parse_header(bytes, Path::new("mutated"));
    let told = |header: &Result<Header, GgufError>| match header {
        Ok(header) => format!("{:?} {}", header.tensors, without_arrays(header)),
        Err(error) => error.to_string(),
    };
    if !told(&header).contains("UTF-8") {
        assert_eq!(told(&parse_outline(bytes, Path::new("mutated"))), told(&header), "the outline says the same");
    }
    let header = header.ok()?;
    for entry in &header.tensors {
        let bytes = &bytes[entry.bytes.clone()];
        assert_eq!(entry.element_type.tensor_bytes(&entry.shape), Some(bytes.len() as u64));
        let view = TensorView { name: &entry.name, element_type: entry.element_type, shape: &entry.shape, bytes };
        let _ = to_f32(&view);
    }
    Some(header)
}

/// The metadata as text, but for what its arrays hold.
fn without_arrays(header: &Header) -> String {
    let one = |(key, value): (&str, &Value)| match value {
        Value::Array(_) => format!("{key}: an array"),
        other => format!("{key}: {other:?}"),
    };
    header.metadata.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Metadata with NaN is not equal to itself; its text is.
fn text(header: &Header) -> String {
    let tensors = header.tensors.iter().map(|entry| (&entry.name, entry.element_type, &entry.shape));
    format!("{:?} {:?}", header.metadata, tensors.collect::<Vec<_>>())
}

#[test]
fn broken_files_never_panic_and_accepted_ones_come_back() {
    assert!(check(REFERENCE).is_some());
    let mut accepted = 0;
    for mutation in mutations(REFERENCE, 5, 20_000) {
        let Some(header) = check(&mutation.bytes) else { continue };
        accepted += 1;
        if accepted % 16 != 0 || header.tensors.iter().any(|entry| entry.name.len() > 63) {
            continue;
        }
        let views: Vec<TensorView<'_>> = header
            .tensors
            .iter()
            .map(|entry| TensorView {
                name: &entry.name,
                element_type: entry.element_type,
                shape: &entry.shape,
                bytes: &mutation.bytes[entry.bytes.clone()],
            })
            .collect();
        let again = check(&written(&header.metadata, &views)).unwrap();
        assert_eq!(text(&again), text(&header), "mutation {}", mutation.number);
    }
    // Changed values and letters of names are fine; if nothing is accepted the test says nothing.
    assert!((1_000..15_000).contains(&accepted), "{accepted} accepted");
}

#[test]
fn a_file_cut_anywhere_before_its_padding_is_refused() {
    let last = parse_header(REFERENCE, Path::new("m")).unwrap().tensors.iter().map(|entry| entry.bytes.end).max();
    for len in 0..last.unwrap() {
        assert!(check(&REFERENCE[..len]).is_none(), "cut to {len} bytes");
    }
}

#[test]
fn broken_headers_of_published_vocabularies_never_panic() {
    let Some(path) = asset("gguf-vocab/ggml-vocab-llama-spm.gguf") else { return };
    // Mutations fall at the start and in the texts; the whole file for each would take most of the test's time.
    let bytes = std::fs::read(path).unwrap();
    let accepted = mutations(&bytes, 6, 400).filter(|mutation| check(&mutation.bytes).is_some()).count();
    assert!((1..400).contains(&accepted), "{accepted} accepted");
}
