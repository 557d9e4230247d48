//! `tsumugi ngram train`: an n-gram model from text.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use tsumugi_base::units;
use tsumugi_classical::ngram::{self, Discounts, Estimate, NgramError, TrainOptions};

use crate::commands::Command;
use crate::flags::{Json, Threads, byte_count, positive};
use crate::interrupt;
use crate::output::{Answer, Failure, print_json, print_line, tell};
use crate::progress::Progress;

/// Estimate an n-gram model from text
///
/// Interpolated modified Kneser-Ney smoothing, with the numbers of KenLM's `lmplz`. A sentence is a line, words are apart
/// by spaces. Texts of any size are counted in bounded memory: what does not fit goes to files without a name in the folder
/// of `--out`.
#[derive(Debug, Args)]
pub struct Train {
    /// Text files, a sentence on each line
    #[arg(required = true, value_name = "TEXT")]
    texts: Vec<PathBuf>,
    /// What to write: `*.arpa` is text that other programs read, any other name our model file. May be given again
    #[arg(long, value_name = "FILE", required = true)]
    out: Vec<PathBuf>,
    /// Words of the longest n-gram
    #[arg(long, value_name = "N", value_parser = positive, default_value_t = 5)]
    order: usize,
    /// Leave out n-grams that stand in the text at most N times: a number for each order from 1, the last one for all that
    /// follow (0 0 1: trigrams and longer ones that stand there once)
    #[arg(long, value_name = "N", num_args = 1..)]
    prune: Vec<u64>,
    /// Take these discounts for counts of 1, 2 and more where the text is too small for the formula [default: 0.5 1 1.5]
    #[arg(long, value_name = "D", num_args = 0..=3, value_parser = discount)]
    discount_fallback: Option<Vec<f32>>,
    /// Take `<s>`, `</s>` and `<unk>` in the text as spaces; otherwise they are errors
    #[arg(long)]
    skip_symbols: bool,
    /// About the most that is held in memory at once
    #[arg(long, value_name = "SIZE", default_value = "2G", value_parser = byte_count)]
    memory: u64,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    json: Json,
}

impl Command for Train {
    const NAME: &'static str = "train";
    const EXAMPLES: &'static str = "
        tsumugi ngram train corpus.txt --order 5 --out corpus.ngram
        tsumugi ngram train a.txt b.txt --order 3 --prune 0 0 1 --out small.arpa --memory 512M";

    fn run(self) -> Result<Answer, Failure> {
        interrupt::listen("stopping")?;
        let options = self.options()?;
        let progress = Progress::new();
        let done = ngram::train(&self.texts, &options, &progress).and_then(|estimate| {
            for path in &self.out {
                let is_arpa = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("arpa"));
                match is_arpa {
                    true => estimate.write_arpa(path, &progress)?,
                    false => estimate.write_model(path, &progress)?,
                }
            }
            Ok(estimate)
        });
        drop(progress);
        let estimate = done.map_err(|error| match error {
            NgramError::Stopped => Failure::Stopped { message: "what was not finished was not written".into() },
            other => other.into(),
        })?;
        self.show(&estimate)?;
        Ok(Answer::Done)
    }
}

impl Train {
    fn options(&self) -> Result<TrainOptions, Failure> {
        let folder = |path: &Path| match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let discount_fallback = self.discount_fallback.as_deref().map(fallback).transpose()?;
        Ok(TrainOptions {
            order: self.order,
            prune: self.prune.clone(),
            discount_fallback,
            skip_symbols: self.skip_symbols,
            memory_bytes: self.memory,
            threads: self.threads.count(),
            scratch_folder: folder(&self.out[0]),
        })
    }

    fn show(&self, estimate: &Estimate) -> Result<(), Failure> {
        if self.json.json {
            return print_json(&json!({
                "out": self.out, "tokens": estimate.tokens, "sentences": estimate.sentences, "orders": estimate.orders,
            }));
        }
        tell("order       in the text      in the model  discounts of 1, 2, more");
        for (order, n) in (1..).zip(&estimate.orders) {
            let Discounts([one, two, more]) = n.discounts;
            let (counted, kept) = (units::count(n.counted), units::count(n.kept));
            tell(&format!("{order:>5} {counted:>17} {kept:>17}  {one:.4} {two:.4} {more:.4}"));
        }
        self.out.iter().try_for_each(|path| print_line(&path.display().to_string()))
    }
}

fn discount(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(discount) if (0.0..=3.0).contains(&discount) => Ok(discount),
        _ => Err("it must be a number from 0 to 3".into()),
    }
}

/// The discounts that were given; the last one holds for those that were not.
fn fallback(given: &[f32]) -> Result<Discounts, Failure> {
    let Some(&last) = given.last() else { return Ok(Discounts::FALLBACK) };
    let mut discounts = [last; 3];
    discounts[..given.len()].copy_from_slice(given);
    match discounts.iter().zip([1.0, 2.0, 3.0]).find(|(discount, count)| **discount > *count) {
        Some((discount, count)) => Err(Failure::new(
            format!("the discount {discount} is more than the count {count} that it is taken from"),
            "leave the numbers out to get 0.5 1 1.5",
        )),
        None => Ok(Discounts(discounts)),
    }
}
