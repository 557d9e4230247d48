//! Thousands of broken files with fixed seeds: refused or read, never a panic, never a byte outside of the file; and
//! what we accept, the format's own reader accepts with the same tensors.

use std::path::Path;

use safetensors::SafeTensors;
use tsumugi_base::testing::{mutations, temporary_folder};
use tsumugi_files::checkpoint_index::parse_index;
use tsumugi_files::mmap::MappedFile;
use tsumugi_files::safetensors::parse_header;
use tsumugi_files::{ElementType, TensorFile, write_safetensors};

use crate::support::{no_metadata, raw_file, view};

fn small_model() -> Vec<u8> {
    let folder = temporary_folder();
    let path = folder.path().join("model.safetensors");
    let (a, b) = ([1u8; 24], [2u8; 12]);
    let tensors = [
        view("embed", ElementType::F32, &[2, 3], &a),
        view("norm", ElementType::BF16, &[6], &b),
        view("none", ElementType::I64, &[0], &[]),
    ];
    write_safetensors(&path, &tensors, &no_metadata()).unwrap();
    std::fs::read(path).unwrap()
}

/// Reads every view of what was accepted, and asks the judge.
fn check(bytes: &[u8]) -> bool {
    let Ok(header) = parse_header(bytes, Path::new("mutated")) else { return false };
    let judge = SafeTensors::deserialize(bytes).expect("the format's own reader accepts what we accept");
    assert_eq!(judge.len(), header.tensors.len());
    for entry in &header.tensors {
        let found = judge.tensor(&entry.name).expect("the same names");
        assert_eq!((found.shape(), found.data()), (&entry.shape[..], &bytes[entry.bytes.clone()]));
        assert_eq!(found.dtype().to_string(), entry.element_type.name());
    }
    true
}

#[test]
fn broken_files_never_panic_and_accepted_ones_agree_with_the_judge() {
    let model = small_model();
    assert!(check(&model));
    let dense = raw_file(
        r#"{"a":{"dtype":"U8","shape":[2,2],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[3],"data_offsets":[4,7]}}"#,
        &[7; 7],
    );
    assert!(check(&dense));
    let mut accepted = 0;
    for (seed, original) in [(1, &model), (2, &dense)] {
        for mutation in mutations(original, seed, 20_000) {
            accepted += u32::from(check(&mutation.bytes));
        }
    }
    // Changed data bytes and letters of names are fine; if nothing is accepted the test says nothing.
    assert!((500..20_000).contains(&accepted), "{accepted} accepted");
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let model = small_model();
    for len in 0..model.len() {
        assert!(!check(&model[..len]), "cut to {len} bytes");
    }
}

#[test]
fn broken_files_on_disk_never_panic() {
    let folder = temporary_folder();
    let path = folder.path().join("model.safetensors");
    for mutation in mutations(&small_model(), 3, 500) {
        std::fs::write(&path, &mutation.bytes).unwrap();
        let mapped = MappedFile::open(&path).unwrap();
        if let Ok(tensors) = TensorFile::single(mapped) {
            assert!(tensors.iter().map(|tensor| tensor.bytes.len()).sum::<usize>() <= mutation.bytes.len());
        }
    }
}

#[test]
fn broken_indices_never_panic_and_never_leave_the_folder() {
    let index = br#"{"metadata":{"total_size":12},"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}}"#;
    let mut accepted = 0;
    for mutation in mutations(index, 4, 10_000) {
        let Ok(text) = std::str::from_utf8(&mutation.bytes) else { continue };
        if let Ok(index) = parse_index(text, Path::new("index")) {
            accepted += 1;
            assert!(index.weight_map.values().all(|shard| !shard.contains('/') && !shard.starts_with('.')));
        }
    }
    assert!(accepted > 300, "{accepted} accepted");
}
