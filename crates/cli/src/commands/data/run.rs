//! `tsumugi data run`: a corpus from a recipe.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use tsumugi_base::units;
use tsumugi_data::corpus::{self, CorpusError, Options, Outcome, Recipe};
use tsumugi_report::{Align, Table};

use crate::commands::Command;
use crate::flags::{Json, Threads, Trust, byte_count};
use crate::interrupt;
use crate::model;
use crate::output::{Answer, Failure, print, print_json, print_line};
use crate::progress::Progress;
use crate::ranks;

/// Make a corpus from a recipe: read sources, clean, filter, mix, pack
///
/// The same command again goes on where it was stopped or killed, to the same bytes. What is dropped lies in
/// DIR/dropped with its rule, what cannot be read is named in DIR/faults.jsonl; DIR/report.html shows both,
/// DIR/manifest.json has every file's hash.
#[derive(Debug, Args)]
pub struct Run {
    /// Sources and stages (TOML)
    #[arg(value_name = "RECIPE.toml")]
    recipe: PathBuf,
    /// The folder to write [default: runs/, then the recipe's name]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Of the order of the mix [default: the recipe's, or 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Stop at the first input that cannot be read, instead of counting it
    #[arg(long)]
    strict: bool,
    /// Memory to work in, such as 2GiB; the result does not depend on it [default: half of what is available]
    #[arg(long, value_name = "BYTES", value_parser = byte_count)]
    memory: Option<u64>,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    json: Json,
}

impl Command for Run {
    const NAME: &'static str = "run";
    const EXAMPLES: &'static str = "tsumugi data run recipes/corpus-demo.toml --out runs/corpus";

    fn run(self) -> Result<Answer, Failure> {
        let ranks = ranks::join()?;
        let is_first = ranks.rank() == 0;
        let mut recipe = Recipe::read(&self.recipe)?;
        recipe.seed = self.seed.unwrap_or(recipe.seed);
        let tokenizer = recipe.pack.as_ref().map(|pack| model::tokenizer(&pack.tokenizer, &self.trust)).transpose()?;
        let name = self.recipe.file_stem().unwrap_or_default();
        let out = self.out.clone().unwrap_or_else(|| Path::new("runs").join(name));
        interrupt::listen(if is_first { "stopping" } else { "" })?;
        let progress = Progress::of_rank(ranks.rank());
        let options = Options {
            threads: self.threads.get(),
            memory_bytes: self.memory,
            strict: self.strict,
            command: std::env::args().skip(1).collect(),
            gate: &self.trust,
            tokenizer: tokenizer.as_ref().map(|(tokenizer, _)| tokenizer),
            ranks,
            observer: &progress,
        };
        let outcome = corpus::run(&recipe, &out, &options);
        drop(progress);
        let outcome = outcome.map_err(|error| match error {
            CorpusError::Stopped => Failure::Stopped { message: "the same command goes on".into() },
            other => other.into(),
        })?;
        if is_first {
            show(&outcome, &out, self.json.json)?;
        }
        Ok(Answer::Done)
    }
}

fn show(outcome: &Outcome, out: &Path, json: bool) -> Result<(), Failure> {
    let summary = &outcome.summary;
    if json {
        return print_json(&json!({ "out": out, "was_finished": outcome.was_finished, "summary": summary }));
    }
    if outcome.was_finished {
        return print_line(&format!("{} is finished: nothing to do", out.display()));
    }
    let mut table = Table::new(["stage", "rule", "documents", "words"]).align(0, Align::Left);
    for (index, (kind, record)) in summary.stages.iter().enumerate() {
        for (rule, dropped) in &record.rules {
            let (documents, words) = (units::count(dropped.dropped.documents), units::count(dropped.dropped.words));
            table.push([format!("{}. {kind}", index + 1), rule.clone(), documents, words]);
        }
    }
    if !table.is_empty() {
        print(&format!("dropped:\n\n{}\n", table.to_text()))?;
    }
    let mixed = match summary.mixed.is_empty() {
        true => String::new(),
        false => format!(", {} in the mix", units::count(summary.shipped(true).0.documents)),
    };
    let tokens = summary.tokens.map_or_else(String::new, |tokens| format!(", {} tokens", units::count(tokens)));
    print_line(&format!(
        "{}: {} of {} documents, {} of {}{mixed}{tokens}; {} could not be read",
        out.display(),
        units::count(summary.kept.documents),
        units::count(summary.received.documents),
        units::bytes(summary.kept.bytes),
        units::bytes(summary.received.bytes),
        units::count(summary.faults),
    ))
}
