//! Any text as an index of a sharded checkpoint: never a panic, never a file outside of the folder.
#![no_main]

use std::path::{Component, Path};

use libfuzzer_sys::fuzz_target;
use tsumugi_files::checkpoint_index::parse_index;

fuzz_target!(|text: &str| {
    let Ok(index) = parse_index(text, Path::new("fuzzed")) else { return };
    for shard in index.weight_map.values() {
        let parts: Vec<Component<'_>> = Path::new(shard).components().collect();
        assert!(matches!(parts[..], [Component::Normal(_)]), "{shard:?}");
    }
});
