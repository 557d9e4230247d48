//! Any bytes as a zip archive: never a panic, and no entry reaches outside of the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tsumugi_files::zip::walk;

fuzz_target!(|bytes: &[u8]| {
    for entry in walk(bytes).entries {
        assert!(entry.packed.end <= bytes.len() && entry.header < bytes.len());
    }
});
