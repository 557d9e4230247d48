//! `tsumugi data classifier score`: how likely texts are what a classifier looks for.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tsumugi_data::clean::classifier::Classifier;

use super::texts;
use crate::commands::Command;
use crate::flags::Json;
use crate::output::{Answer, Failure, print_json, print_line};
use crate::progress::Progress;

/// Say how likely texts are what a classifier looks for
///
/// One line for each text, in order: its probability, from 0 to 1, and how it begins.
#[derive(Debug, Args)]
pub struct Score {
    /// What `tsumugi data classifier train` wrote
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Texts: *.jsonl with a field `text`, or a text per line
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Stop at the first text that cannot be read, instead of leaving it out
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    json: Json,
}

/// So much of a text is shown beside its probability.
const SHOWN_CHARACTERS: usize = 60;

impl Command for Score {
    const NAME: &'static str = "score";
    const EXAMPLES: &'static str = "tsumugi data classifier score quality.safetensors pages.jsonl --json";

    fn run(self) -> Result<Answer, Failure> {
        let classifier = Classifier::open(&self.model)?;
        let progress = Progress::new();
        let texts = texts(&self.file, self.strict, &mut 0, &progress)?;
        drop(progress);
        for (index, text) in texts.iter().enumerate() {
            let probability = classifier.score(text);
            if self.json.json {
                print_json(&json!({ "index": index, "probability": probability }))?;
            } else {
                let begin: String = text.chars().take(SHOWN_CHARACTERS).collect();
                print_line(&format!("{probability:.4}  {}", begin.replace(char::is_control, " ")))?;
            }
        }
        Ok(Answer::Done)
    }
}
