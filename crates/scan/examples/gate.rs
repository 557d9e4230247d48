//! What the gate adds to the time in which the files of a model are opened:
//! `cargo run --release -p tsumugi-scan --example gate -- MODEL…`. Each is opened 21 times with the gate and without, in turn.
#![allow(clippy::print_stdout, reason = "it is what an example is for")]

use std::path::Path;
use std::time::Instant;

use tsumugi_files::{FilesError, Gate, ModelFiles, NoScan};
use tsumugi_scan::{Policy, ScanGate};

const ROUNDS: usize = 21;

fn main() -> Result<(), FilesError> {
    let without = NoScan { reason: "to compare" };
    let policy = Policy::default();
    let with = ScanGate { way_out: "another model", policy: &policy };
    for model in std::env::args().skip(1) {
        let open = |gate: &dyn Gate| {
            let begun = Instant::now();
            ModelFiles::admit(Path::new(&model), gate)?;
            Ok::<f64, FilesError>(begun.elapsed().as_secs_f64() * 1000.0)
        };
        open(&with)?; // the pages of the files are in memory from here on
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            times[0].push(open(&without)?);
            times[1].push(open(&with)?);
        }
        let [without, with] = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[ROUNDS / 2]
        });
        println!("{model}: {without:.2} ms without the gate, {with:.2} ms with it (medians)");
    }
    Ok(())
}
