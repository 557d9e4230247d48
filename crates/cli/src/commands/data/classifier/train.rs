//! `tsumugi data classifier train`: good texts and bad ones to a file that tells them apart.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tsumugi_base::units;
use tsumugi_data::clean::classifier::{self, TrainingSettings};
use tsumugi_data::corpus::CorpusError;

use super::texts;
use crate::commands::Command;
use crate::flags::{Json, Threads};
use crate::output::{Answer, Failure, print_json, print_line};
use crate::progress::Progress;

/// Learn to tell texts apart: good from bad, clean from toxic
///
/// A text is the field `text` of each line of a *.jsonl file, or a line of any other file; what is no text is counted and
/// named. A tenth of the texts is held out to calibrate the probabilities, another to measure precision and recall. The
/// same texts and seed give the same file.
#[derive(Debug, Args)]
pub struct Train {
    /// Files of texts that should score high
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    positive: Vec<PathBuf>,
    /// Files of texts that should score low
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    negative: Vec<PathBuf>,
    /// The file to write (safetensors)
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Draws what is held out, and the order of training
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Stop at the first text that cannot be read, instead of counting it
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    json: Json,
}

impl Command for Train {
    const NAME: &'static str = "train";
    const EXAMPLES: &'static str =
        "tsumugi data classifier train --positive good.jsonl --negative bad.jsonl --out quality.safetensors";

    fn run(self) -> Result<Answer, Failure> {
        let progress = Progress::new();
        let mut faults = 0;
        let mut read = |paths: &[PathBuf]| -> Result<Vec<String>, CorpusError> {
            let files = paths.iter().map(|path| texts(path, self.strict, &mut faults, &progress));
            Ok(files.collect::<Result<Vec<_>, _>>()?.concat())
        };
        let (positive, negative) = (read(&self.positive)?, read(&self.negative)?);
        let threads = self.threads.count();
        let settings = TrainingSettings { seed: self.seed, threads, ..TrainingSettings::default() };
        let trained = classifier::train(&positive, &negative, &settings, &progress)?;
        trained.classifier.save(&self.out)?;
        drop(progress);
        let held_out = &trained.evaluation;
        if self.json.json {
            print_json(
                &json!({ "out": self.out, "trained_texts": trained.trained_texts, "held_out": held_out, "faults": faults }),
            )?;
        } else {
            let left_out =
                if faults > 0 { format!("; {} could not be read", units::count(faults)) } else { String::new() };
            print_line(&format!(
                "{}: trained on {}; of {} held out: precision {:.3}, recall {:.3}, AUC {:.4}, calibration error {:.3}{left_out}",
                self.out.display(),
                units::count(trained.trained_texts as u64),
                units::count((held_out.positive + held_out.negative) as u64),
                held_out.precision,
                held_out.recall,
                held_out.auc,
                held_out.calibration_error,
            ))?;
        }
        Ok(Answer::Done)
    }
}
