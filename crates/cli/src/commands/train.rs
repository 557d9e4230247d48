//! `tsumugi train`: pre-training from text.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use tsumugi_base::units;
use tsumugi_report::Table;
use tsumugi_tensor::Cpu;
use tsumugi_tokenizer::TokenizerError;
use tsumugi_train::pretrain::{self, Pretrained};
use tsumugi_train::report::profile_rows;
use tsumugi_train::{Recipe, TrainError};

use super::Command;
use crate::flags::{Json, Threads};
use crate::interrupt;
use crate::output::{Answer, Failure, print, print_json, print_line};
use crate::progress::Progress;

/// Train a model on text, from nothing
///
/// `--depth` and `--data` are enough: everything else follows. A recipe (TOML) has the long flags as its keys; a flag goes
/// before the recipe. The same command again resumes a stopped run to the same losses. DIR is then the finished model
/// folder, with `run.json` and `log.jsonl`.
#[derive(Debug, Args)]
pub struct Train {
    /// A recipe
    #[arg(value_name = "RECIPE.toml")]
    recipe: Option<PathBuf>,
    #[command(flatten)]
    flags: Recipe,
    /// Of every random number [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The folder of the run, in the end the model's [default: runs/, then the names of recipe or text and depth]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Time each operation: printed at the end, and drawn in report.html
    #[arg(long)]
    profile: bool,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    json: Json,
}

impl Command for Train {
    const NAME: &'static str = "train";
    const EXAMPLES: &'static str = "
        tsumugi train --depth 6 --data input.txt --out runs/mine
        tsumugi train recipes/shakespeare-char.toml --steps 500 --out runs/characters";

    fn run(self) -> Result<Answer, Failure> {
        let out = self.out();
        let mut recipe = Recipe { seed: self.seed, ..self.flags };
        if let Some(file) = &self.recipe {
            recipe = recipe.or(Recipe::read(file)?);
        }
        let cpu = Cpu::detect(self.threads.get()).map_err(TrainError::from)?;
        interrupt::listen("saving a checkpoint")?;
        let progress = Progress::new();
        let command = std::env::args().skip(1).collect();
        let trained = pretrain::run(&recipe, &out, &cpu, command, self.profile, &progress, &mut |_, _, _| {});
        drop(progress);
        let trained = trained.map_err(|error| match error {
            TrainError::Tokenizer(TokenizerError::Stopped { .. }) => {
                Failure::Stopped { message: "in the tokenizer; the same command begins it again".into() }
            }
            other => other.into(),
        })?;
        show(&trained, &out, self.json.json)?;
        match trained.finished {
            true => Ok(Answer::Done),
            false => Err(Failure::Stopped {
                message: format!(
                    "after step {} of {}; the same command goes on",
                    units::count(trained.steps),
                    units::count(trained.resolved.train.steps)
                ),
            }),
        }
    }
}

impl Train {
    /// The same command must find its folder again, so the name follows from the command.
    fn out(&self) -> PathBuf {
        let stem =
            |path: &Path| path.file_stem().map_or_else(|| "model".into(), |stem| stem.to_string_lossy().into_owned());
        let name = || match (&self.recipe, &self.flags.data, self.flags.depth) {
            (Some(recipe), ..) => stem(recipe),
            (None, Some(data), Some(depth)) => format!("{}-depth-{depth}", stem(data)),
            (None, Some(data), None) => stem(data),
            (None, None, _) => "model".into(),
        };
        self.out.clone().unwrap_or_else(|| Path::new("runs").join(name()))
    }
}

fn show(trained: &Pretrained, out: &Path, json: bool) -> Result<(), Failure> {
    let evaluated = trained.evaluated;
    if json {
        return print_json(&json!({
            "out": out,
            "finished": trained.finished,
            "steps": trained.steps,
            "held_out_loss": evaluated.map(|evaluated| evaluated.loss),
            "held_out_bits_per_byte": evaluated.map(|evaluated| evaluated.bits_per_byte),
            "parameters": trained.parameters,
            "tokens_per_second": trained.tokens_per_second,
            "profile": profile_json(trained),
        }));
    }
    if trained.was_finished {
        return print_line(&format!("{} is finished: nothing to do", out.display()));
    }
    if let Some(evaluated) = evaluated.filter(|_| trained.finished) {
        print_line(&format!(
            "{}: {} parameters, held-out loss {:.4} nats per token, {:.4} bits per byte, {}",
            out.display(),
            units::count(trained.parameters.unwrap_or(0) as u64),
            evaluated.loss,
            evaluated.bits_per_byte,
            units::rate(trained.tokens_per_second, "tokens"),
        ))?;
    }
    let rows = profile_rows(&trained.profile);
    if rows.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(["operation", "time", "share", "calls"]);
    for (name, seconds, share, calls) in rows {
        table.push([name, units::duration(seconds), format!("{:.1} %", 100.0 * share), units::count(calls)]);
    }
    print(&format!("\n{}", table.to_text()))
}

/// None unless it was asked for.
fn profile_json(trained: &Pretrained) -> Option<serde_json::Value> {
    let rows = profile_rows(&trained.profile);
    let row =
        |(name, seconds, share, calls)| json!({"operation": name, "seconds": seconds, "share": share, "calls": calls});
    (!rows.is_empty()).then(|| rows.into_iter().map(row).collect())
}
