//! `tsumugi ngram perplexity`: how well an n-gram model predicts texts.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tsumugi_base::progress::{Meter, Observer};
use tsumugi_base::units;
use tsumugi_classical::ngram::{NgramError, NgramModel, TextScore};

use crate::commands::Command;
use crate::flags::Json;
use crate::interrupt;
use crate::output::{Answer, Failure, print_json, print_line};
use crate::progress::Progress;

/// Measure how well an n-gram model predicts texts
///
/// Perplexity per word, the end of each line counted as a word; with words that are not in the vocabulary and without them.
#[derive(Debug, Args)]
pub struct Perplexity {
    /// A model file, or an ARPA file
    model: PathBuf,
    /// Text files, a sentence on each line
    #[arg(required = true, value_name = "TEXT")]
    texts: Vec<PathBuf>,
    #[command(flatten)]
    json: Json,
}

impl Command for Perplexity {
    const NAME: &'static str = "perplexity";
    const EXAMPLES: &'static str = "tsumugi ngram perplexity corpus.ngram held-out.txt --json";

    fn run(self) -> Result<Answer, Failure> {
        let model = NgramModel::open(&self.model)?;
        interrupt::listen("stopping")?;
        let progress = Progress::new();
        let score = self.score(&model, &progress);
        drop(progress);
        let score = score.map_err(|error| match error {
            NgramError::Stopped => Failure::Stopped { message: "there is no result".into() },
            other => other.into(),
        })?;
        if score.tokens == 0 {
            return Err(Failure::new("the texts are empty", "give a text with a sentence on each line"));
        }
        let (all, known) = (score.perplexity(), score.perplexity_of_known());
        if self.json.json {
            print_json(&json!({
                "perplexity": all, "perplexity_excluding_oov": known, "log10": score.log10, "tokens": score.tokens,
                "oov": score.unknown,
            }))?;
        } else {
            print_line(&format!(
                "perplexity {all:.4}, without unknown words {known:.4}, over {} tokens of which {} are unknown",
                units::count(score.tokens),
                units::count(score.unknown),
            ))?;
        }
        Ok(Answer::Done)
    }
}

impl Perplexity {
    fn score(&self, model: &NgramModel, observer: &dyn Observer) -> Result<TextScore, NgramError> {
        let total = self.texts.iter().filter_map(|path| std::fs::metadata(path).ok()).map(|about| about.len()).sum();
        let mut meter = Meter::new("score", 0, total, "bytes");
        let mut done = 0;
        let mut score = TextScore::default();
        for path in &self.texts {
            score.add(&model.score_file(path, |bytes| {
                done += bytes;
                if meter.is_due() {
                    observer.event(&meter.step(done, vec![]));
                }
                if observer.stop_requested() { Err(NgramError::Stopped) } else { Ok(()) }
            })?);
        }
        Ok(score)
    }
}
