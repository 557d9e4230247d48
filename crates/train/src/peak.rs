//! The machine's float32 peak, measured in a fraction of a second and remembered per processor.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tsumugi_base::io::{create_folder, write_atomic};
use tsumugi_base::machine::Machine;
use tsumugi_tensor::Cpu;

#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    cpu: String,
    isa: String,
    threads: usize,
    flops_per_second: f64,
}

fn file() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    cache.map(|cache| cache.join("tsumugi").join("peak.json"))
}

/// Float32 operations per second of all threads. A cache that cannot be read or written costs the probe only.
pub fn peak_flops_per_second(cpu: &Cpu) -> f64 {
    let (name, isa, threads) = (Machine::here().cpu, cpu.isa().name(), cpu.pool().threads());
    let known: Vec<Remembered> = file()
        .and_then(|file| std::fs::read(file).ok())
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let same = |row: &&Remembered| row.cpu == name && row.isa == isa && row.threads == threads;
    if let Some(row) = known.iter().find(same) {
        return row.flops_per_second;
    }
    let flops_per_second = tsumugi_tensor::kernels::peak::probe(cpu);
    let mut rows: Vec<Remembered> = known.into_iter().filter(|row| !same(&row)).collect();
    rows.push(Remembered { cpu: name, isa: isa.into(), threads, flops_per_second });
    if let (Some(file), Ok(text)) = (file(), serde_json::to_vec_pretty(&rows)) {
        let written = file.parent().map(create_folder).transpose().and_then(|_| write_atomic(&file, &text));
        drop(written); // only the next start's half second is lost
    }
    flops_per_second
}
