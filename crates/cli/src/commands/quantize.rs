//! `tsumugi quantize`: a model in fewer bits.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde::Serialize;
use tsumugi_base::units;
use tsumugi_compress::{CompressError, Written, mix, write_gguf_model};
use tsumugi_tensor::threads::Pool;

use super::Command;
use crate::flags::{Json, Threads, Trust};
use crate::output::{Answer, Failure, print_json, print_line, tell};
use crate::progress::Progress;
use crate::{interrupt, model};

/// Write a model as a GGUF file with fewer bits per weight
///
/// Types are those of llama.cpp: the number is the bits of most weights, and K, S, M and L say how many tensors get more.
/// Where the rows of a tensor are no whole number of blocks, it gets a type of smaller blocks, and that is said. The error is that of the
/// weights, √(Σ (x − y)² / Σ x²); what it costs in predictions, `tsumugi perplexity --against` says.
#[derive(Debug, Args)]
pub struct Quantize {
    /// A model folder or GGUF file
    model: String,
    /// The GGUF file to write
    out: PathBuf,
    /// What most weights become
    #[arg(long = "type", value_name = "TYPE", default_value = "Q4_K_M", ignore_case = true, value_parser = types())]
    element_type: String,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    json: Json,
}

/// The mixes, most bits first.
fn types() -> PossibleValuesParser {
    mix::ALL.iter().map(|mix| mix.name).collect::<Vec<_>>().into()
}

impl Command for Quantize {
    const NAME: &'static str = "quantize";
    const EXAMPLES: &'static str = "
        tsumugi quantize SmolLM2-135M smollm2.Q4_K_M.gguf
        tsumugi quantize smollm2.f16.gguf smollm2.Q8_0.gguf --type Q8_0";

    fn run(self) -> Result<Answer, Failure> {
        let model = model::admit(&self.model, &self.trust)?;
        let mix = mix::find(&self.element_type).unwrap_or(&mix::ALL[0]); // clap knows no other
        let pool = Pool::of_cores(self.threads.get());
        interrupt::listen("stopping")?;
        let progress = Progress::new();
        let written = write_gguf_model(&model, &self.out, mix, &pool, &progress);
        drop(progress);
        report(written, &self.out.display().to_string(), self.json)
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    out: &'a str,
    bits_per_weight: f64,
    #[serde(flatten)]
    written: &'a Written,
}

/// Says what was written.
pub fn report(written: Result<Written, CompressError>, out: &str, json: Json) -> Result<Answer, Failure> {
    let written = written.map_err(|error| match error {
        CompressError::Stopped { .. } => Failure::Stopped { message: error.to_string() },
        other => other.into(),
    })?;
    for note in &written.notes {
        tell(&format!("note: {note}"));
    }
    let bits_per_weight = written.bits_per_weight();
    if json.json {
        print_json(&Report { out, bits_per_weight, written: &written })?;
        return Ok(Answer::Done);
    }
    print_line(&format!("{:>7} {:>7} {:>15} {:>10} {:>10}", "type", "tensors", "weights", "bytes", "error"))?;
    for counts in &written.types {
        print_line(&format!(
            "{:>7} {:>7} {:>15} {:>10} {:>10.6}",
            counts.element_type,
            counts.tensors,
            units::count(counts.weights),
            units::bytes(counts.bytes),
            counts.relative_error,
        ))?;
    }
    print_line(&format!(
        "{out}: {bits_per_weight:.2} bits per weight, {}, error {:.6}",
        units::bytes(written.bytes),
        written.relative_error,
    ))?;
    Ok(Answer::Done)
}
