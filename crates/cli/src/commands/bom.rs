//! `tsumugi bom`: what a model is made of, for those who keep lists of that.

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use serde_json::json;
use tsumugi_base::io::write_atomic;
use tsumugi_base::run_record::utc_timestamp;
use tsumugi_files::{ModelFiles, NoScan};
use tsumugi_scan::bom::{BomError, bom};
use tsumugi_scan::provenance::HashError;

use super::Command;
use super::sign::hashed;
use crate::flags::{Json, Threads};
use crate::output::{Answer, Failure, print_json, print_line};
use crate::progress::Progress;
use crate::{interrupt, model};

/// A description is of whatever is there, a file that no loader takes too.
const GATE: NoScan = NoScan { reason: "a bill of materials reads headers and hashes; nothing is loaded" };

/// Write a model's bill of materials: CycloneDX 1.6 JSON with what its files say
///
/// Architecture, parameters by type, tokenizer, quantization, licence and origin from the model card, the hash of every file; of a run of ours the recipe and the hashes of the data, from
/// `run.json`. The same files give the same bytes.
#[derive(Debug, Args)]
pub struct Bom {
    /// A model folder or GGUF file
    model: String,
    /// Where to write it; standard output otherwise
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// A time that stands in it, in seconds since 1970; none otherwise
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH", value_parser = clap::value_parser!(u64).range(..=253_402_300_799))]
    timestamp: Option<u64>,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    json: Json,
}

impl Command for Bom {
    const NAME: &'static str = "bom";
    const EXAMPLES: &'static str = "
        tsumugi bom runs/quickstart/chat --out bom.json
        tsumugi bom smollm2-135m";

    fn run(self) -> Result<Answer, Failure> {
        let model = ModelFiles::admit(&model::path_of(&self.model)?, &GATE)?;
        let timestamp = self.timestamp.map(|seconds| utc_timestamp(UNIX_EPOCH + Duration::from_secs(seconds)));
        interrupt::listen("stopping")?;
        let progress = Progress::new();
        let bill = bom(&model, timestamp.as_deref(), self.threads.count(), &progress).map_err(|error| match error {
            BomError::Hash(HashError::Stopped) => hashed(HashError::Stopped),
            other => other.into(),
        })?;
        drop(progress);
        let text = serde_json::to_string_pretty(&bill).map_err(|error| Failure::without_hint(&error))?;
        match (self.out, self.json.json) {
            (Some(path), json) => {
                write_atomic(&path, format!("{text}\n").as_bytes())?;
                let (out, serial) = (path.display().to_string(), &bill["serialNumber"]);
                match json {
                    true => print_json(&json!({"out": out, "serial_number": serial}))?,
                    false => print_line(&format!("{out}: {}", serial.as_str().unwrap_or_default()))?,
                }
            }
            (None, true) => print_json(&bill)?,
            (None, false) => print_line(&text)?,
        }
        Ok(Answer::Done)
    }
}
