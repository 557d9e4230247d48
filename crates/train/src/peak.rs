//! The machine's peak, measured in half a second at most and remembered per processor.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tsumugi_base::io::{create_folder, write_atomic};
use tsumugi_base::machine::Machine;
use tsumugi_tensor::{Compute, Cpu};

/// After ten minutes another probe may raise the value: the first may have met a busy machine.
const PROBE_AGAIN_SECONDS: u64 = 600;
/// After 30 days the value is forgotten: cooling, firmware and virtual machines change.
const FORGET_SECONDS: u64 = 30 * 24 * 3600;

/// What was probed, and the largest value that a probe found.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Remembered {
    cpu: String,
    isa: String,
    /// The type of the products; float32 in files of versions that knew no other.
    #[serde(default = "float32")]
    compute: String,
    threads: usize,
    flops_per_second: f64,
    /// When this value was found, in seconds since 1970; 0 in files of versions that did not write it.
    #[serde(default)]
    found_seconds: u64,
    /// When the last probe was.
    #[serde(default)]
    probed_seconds: u64,
}

impl Remembered {
    fn is_of(&self, other: &Self) -> bool {
        (&self.cpu, &self.isa, &self.compute, self.threads) == (&other.cpu, &other.isa, &other.compute, other.threads)
    }

    /// A moment in the future is the mistake of a clock, and as old as can be.
    fn is_younger(moment: u64, now: u64, seconds: u64) -> bool {
        now.checked_sub(moment).is_some_and(|age| age < seconds)
    }
}

fn float32() -> String {
    Compute::F32.name().into()
}

fn file() -> Option<PathBuf> {
    // Set for what cargo runs (.cargo/config.toml): a test on a busy machine is no probe for the user's own runs.
    let cache =
        std::env::var_os("TSUMUGI_CACHE_HOME").or_else(|| std::env::var_os("XDG_CACHE_HOME")).map(PathBuf::from);
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    cache.map(|cache| cache.join("tsumugi").join("peak.json"))
}

/// Operations per second of all threads in the type that `cpu` computes products in. A cache that cannot be read or written costs the probe only.
pub fn peak_flops_per_second(cpu: &Cpu) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let asked = Remembered {
        cpu: Machine::here().cpu,
        isa: cpu.isa().name().into(),
        compute: cpu.compute().name().into(),
        threads: cpu.pool().threads(),
        flops_per_second: 0.0,
        found_seconds: now,
        probed_seconds: now,
    };
    remembered_or_probed(file().as_deref(), asked, || tsumugi_tensor::kernels::peak::probe(cpu))
}

/// The remembered value, if it is young enough; or a probe's, and the larger of both if the remembered one still counts.
fn remembered_or_probed(file: Option<&Path>, asked: Remembered, probe: impl FnOnce() -> f64) -> f64 {
    let now = asked.probed_seconds;
    let counts = |row: &Remembered| row.is_of(&asked) && Remembered::is_younger(row.found_seconds, now, FORGET_SECONDS);
    let known = read(file).into_iter().find(counts);
    if let Some(row) = &known
        && Remembered::is_younger(row.probed_seconds, now, PROBE_AGAIN_SECONDS)
    {
        return row.flops_per_second;
    }
    let mut row = Remembered { flops_per_second: probe(), ..asked.clone() };
    // Read again: another process may have probed meanwhile.
    let rows = read(file);
    for other in rows.iter().filter(|row| counts(row)) {
        if other.flops_per_second > row.flops_per_second {
            row = Remembered { probed_seconds: now, ..other.clone() };
        }
    }
    let value = row.flops_per_second;
    let mut rows: Vec<Remembered> = rows.into_iter().filter(|row| !row.is_of(&asked)).collect();
    rows.push(row);
    if let (Some(file), Ok(text)) = (file, serde_json::to_vec_pretty(&rows)) {
        let written = file.parent().map(create_folder).transpose().and_then(|_| write_atomic(file, &text));
        drop(written); // only the next start's half second is lost
    }
    value
}

fn read(file: Option<&Path>) -> Vec<Remembered> {
    let bytes = file.and_then(|file| std::fs::read(file).ok());
    bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600;

    /// The answer on day `day` (and whether it probed) when a probe finds `found`.
    fn on(file: &Path, day: u64, threads: usize, found: f64) -> (f64, bool) {
        let now = (1000 + day) * DAY;
        let asked = Remembered {
            cpu: "a processor".into(),
            isa: "avx2".into(),
            compute: float32(),
            threads,
            flops_per_second: 0.0,
            found_seconds: now,
            probed_seconds: now,
        };
        let mut probed = false;
        let value = remembered_or_probed(Some(file), asked, || {
            probed = true;
            found
        });
        (value, probed)
    }

    #[test]
    fn a_value_is_remembered_raised_by_later_probes_and_forgotten_after_thirty_days() {
        let folder = tsumugi_base::testing::temporary_folder();
        let file = folder.path().join("cache/peak.json");
        assert_eq!(on(&file, 0, 2, 5.0), (5.0, true));
        assert_eq!(on(&file, 0, 2, 9.0), (5.0, false), "young");
        assert_eq!(on(&file, 0, 3, 7.0), (7.0, true), "another number of threads");
        assert_eq!(on(&file, 1, 2, 8.0), (8.0, true), "a later probe found more");
        assert_eq!(on(&file, 2, 2, 3.0), (8.0, true), "a later probe was disturbed");
        assert_eq!(on(&file, 2, 2, 3.0), (8.0, false));
        assert_eq!(on(&file, 30, 2, 4.0), (8.0, true), "29 days old");
        assert_eq!(on(&file, 31, 2, 4.0), (4.0, true), "30 days old");
        assert_eq!(on(&file, 20, 2, 6.0), (6.0, true), "found in the future");
    }

    #[test]
    fn a_file_without_dates_or_of_nonsense_is_probed_again() {
        let folder = tsumugi_base::testing::temporary_folder();
        let file = folder.path().join("peak.json");
        let old = r#"[{"cpu": "a processor", "isa": "avx2", "threads": 2, "flops_per_second": 99.0}]"#;
        for text in [old, "{", ""] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(on(&file, 0, 2, 5.0), (5.0, true));
            assert_eq!(on(&file, 0, 2, 6.0), (5.0, false));
        }
    }
}
