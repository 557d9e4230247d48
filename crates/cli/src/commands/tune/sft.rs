//! `tsumugi tune sft`: supervised fine-tuning.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use tsumugi_base::units;
use tsumugi_tensor::Cpu;
use tsumugi_train::TrainError;
use tsumugi_tune::methods::sft::{SftRecipe, Tuned, run};

use crate::commands::Command;
use crate::flags::{Json, Threads, Trust};
use crate::output::{Answer, Failure, print_json, print_line};
use crate::progress::Progress;
use crate::{interrupt, model};

/// Learn the answers of example conversations (supervised fine-tuning)
///
/// The loss is on what the assistant says; `tsumugi data preview` shows it. A recipe (TOML) has the long flags as its
/// keys; a flag goes before the recipe. The same command again resumes a stopped run to the same losses. DIR is then a
/// finished chat model, with `run.json` and `log.jsonl`.
#[derive(Debug, Args)]
pub struct Sft {
    /// The model to begin with, or a recipe that names it
    #[arg(value_name = "MODEL | RECIPE.toml")]
    from: Option<PathBuf>,
    #[command(flatten)]
    flags: SftRecipe,
    /// Of every random number [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The folder of the run, in the end the model's
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    json: Json,
}

impl Command for Sft {
    const NAME: &'static str = "sft";
    const EXAMPLES: &'static str = "
        tsumugi tune sft runs/mine --data conversations.jsonl --out runs/mine-chat
        tsumugi tune sft runs/mine --data data/tinyshakespeare/input.txt --epochs 2 --out runs/mine-chat";

    fn run(self) -> Result<Answer, Failure> {
        let recipe = self.recipe()?;
        let Some(path) = &recipe.model else {
            return Err(Failure::new(
                "no model is given to begin with",
                "`tsumugi tune sft MODEL --data FILE --out DIR`",
            ));
        };
        let model = model::admit(&path.to_string_lossy(), &self.trust)?;
        let cpu = Cpu::detect(self.threads.get()).map_err(TrainError::from)?;
        interrupt::listen("saving a checkpoint")?;
        let progress = Progress::new();
        let command = std::env::args().skip(1).collect();
        let tuned = run(&recipe, &model, &self.out, &cpu, command, &progress, &mut |_, _, _, _| {})?;
        drop(progress);
        show(&tuned, &self.out, self.json.json)?;
        match tuned.finished {
            true => Ok(Answer::Done),
            false => Err(Failure::Stopped {
                message: format!(
                    "after step {} of {}; the same command goes on",
                    units::count(tuned.steps),
                    units::count(tuned.resolved.train.steps)
                ),
            }),
        }
    }
}

impl Sft {
    /// The flags, with the recipe for what they leave out.
    fn recipe(&self) -> Result<SftRecipe, Failure> {
        let mut recipe = SftRecipe { seed: self.seed, ..self.flags.clone() };
        match &self.from {
            Some(file) if file.extension().is_some_and(|extension| extension == "toml") => {
                Ok(recipe.or(SftRecipe::read(file)?))
            }
            Some(model) => match recipe.model.replace(model.clone()) {
                Some(other) => Err(Failure::new(
                    format!("two models are given to begin with: {} and {}", model.display(), other.display()),
                    "leave `--model` out",
                )),
                None => Ok(recipe),
            },
            None => Ok(recipe),
        }
    }
}

fn show(tuned: &Tuned, out: &Path, json: bool) -> Result<(), Failure> {
    let evaluated = tuned.evaluated;
    if json {
        return print_json(&json!({
            "out": out,
            "finished": tuned.finished,
            "steps": tuned.steps,
            "conversations": tuned.packing.conversations,
            "parts": tuned.packing.parts,
            "truncated": tuned.packing.truncated,
            "dropped": tuned.packing.dropped,
            "held_out_loss": evaluated.map(|evaluated| evaluated.loss),
            "held_out_bits_per_byte": evaluated.map(|evaluated| evaluated.bits_per_byte),
            "tokens_per_second": tuned.tokens_per_second,
        }));
    }
    if tuned.was_finished {
        return print_line(&format!("{} is finished: nothing to do", out.display()));
    }
    if let Some(evaluated) = evaluated.filter(|_| tuned.finished) {
        print_line(&format!(
            "{}: held-out loss of the answers {:.4} nats per token, {:.4} bits per byte, {}",
            out.display(),
            evaluated.loss,
            evaluated.bits_per_byte,
            units::rate(tuned.tokens_per_second, "tokens"),
        ))?;
    }
    Ok(())
}
