//! Names the rules by a hash of all that decides what is found: what was found by other rules is not believed
//! (`src/cache.rs`).

use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    let mut files = Vec::new();
    for root in ["src", "../files/src", "../../Cargo.lock"] {
        println!("cargo::rerun-if-changed={root}");
        list(Path::new(root), &mut files);
    }
    files.sort();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for file in files {
        // FNV-1a (Fowler, Noll, Vo): this must differ, not resist.
        for byte in fs::read(file).unwrap_or_default() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
    println!("cargo::rustc-env=TSUMUGI_SCAN_RULES={hash:016x}");
}

fn list(path: &Path, files: &mut Vec<PathBuf>) {
    let Ok(inside) = fs::read_dir(path) else { return files.push(path.to_owned()) };
    for entry in inside.flatten() {
        list(&entry.path(), files);
    }
}
