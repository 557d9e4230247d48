//! The machine we run on, as a record and a report name it.

use std::fs;

use serde::{Deserialize, Serialize};

/// What a measurement was taken on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name as it calls itself.
    pub cpu: String,
    /// Threads that we may use: the affinity mask and a container's limit are respected.
    pub threads: usize,
    /// Total memory; 0 if unknown.
    pub memory_bytes: u64,
    /// `linux x86_64`.
    pub system: String,
}

impl Machine {
    /// This machine.
    pub fn here() -> Self {
        Self {
            cpu: cpu_name(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: kilobytes("/proc/meminfo", "MemTotal:").unwrap_or(0),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }
}

fn cpu_name() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.into(), |(_, name)| name.trim().into())
}

/// The most memory that this process ever held, in bytes; none where the system does not tell.
pub fn peak_memory_bytes() -> Option<u64> {
    kilobytes("/proc/self/status", "VmHWM:")
}

/// Memory that could be used without swapping, in bytes; none where the system does not tell.
pub fn available_memory_bytes() -> Option<u64> {
    kilobytes("/proc/meminfo", "MemAvailable:")
}

/// The value of a `Name:   123 kB` line, in bytes.
fn kilobytes(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_name_and_a_thread() {
        let machine = Machine::here();
        assert!(!machine.cpu.is_empty());
        assert!(machine.threads >= 1);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_tells_memory() {
        assert!(peak_memory_bytes() > Some(100_000));
        assert!(available_memory_bytes() > Some(0));
        assert_eq!(kilobytes("/proc/meminfo", "NoSuchLine:"), None);
    }
}
