//! `tsumugi plan`: what a training run will take, before it runs.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use tsumugi_base::units;
use tsumugi_data::read_text;
use tsumugi_report::{Align, Table};
use tsumugi_tensor::Cpu;
use tsumugi_tokenizer::special_tokens;
use tsumugi_train::planner::{RunPlan, plan};
use tsumugi_train::recipe::TokenizerKind;
use tsumugi_train::{Recipe, TrainError};

use super::Command;
use crate::flags::{Json, Threads};
use crate::output::{Answer, Failure, print, print_json};

/// Tell what a training run will take: parameters, operations, memory, time here
///
/// Takes the recipe and the flags of `train`; those that change no size change nothing here. Without `--data` a text of a gigabyte is assumed. Where the model fits into the memory and a
/// step is short, a few steps are timed; otherwise half of the machine's peak is assumed.
#[derive(Debug, Args)]
pub struct Plan {
    /// A recipe
    #[arg(value_name = "RECIPE.toml")]
    recipe: Option<PathBuf>,
    #[command(flatten)]
    flags: Recipe,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    json: Json,
}

/// Of a text that is not named.
const TEXT_BYTES: u64 = 1 << 30;
/// Tokens of a tokenizer of bytes, control tokens not counted.
const BYTES: usize = 256;

impl Command for Plan {
    const NAME: &'static str = "plan";
    const EXAMPLES: &'static str = "
        tsumugi plan --depth 12
        tsumugi plan recipes/shakespeare-char.toml --json";

    fn run(self) -> Result<Answer, Failure> {
        let mut recipe = self.flags;
        if let Some(file) = &self.recipe {
            recipe = recipe.or(Recipe::read(file)?);
        }
        let text = recipe.data.as_deref().map(read_text).transpose()?;
        let text_bytes = text.as_ref().map_or(TEXT_BYTES, |text| text.len() as u64);
        let data = recipe.data.clone().or(Some("a text of a gigabyte".into()));
        let resolved = Recipe { data, ..recipe }.resolve(text_bytes - text_bytes / 10)?;
        let cpu = resolved.compute.on(&Cpu::detect(self.threads.get()).map_err(TrainError::from)?);
        let vocabulary = resolved.vocabulary.unwrap_or_else(|| match (resolved.tokenizer, &text) {
            (TokenizerKind::Characters, Some(text)) => text.chars().collect::<BTreeSet<_>>().len() + 1,
            _ => BYTES + special_tokens::ALL.len(),
        });
        let planned = plan(&resolved, vocabulary, text_bytes, &cpu)?;
        if self.json.json {
            print_json(&planned)?;
        } else {
            print(&as_text(&planned))?;
        }
        Ok(Answer::Done)
    }
}

/// `1.2e9` in the words that people use.
fn large(number: f64) -> String {
    match number {
        n if n < 1e6 => units::count(n as u64),
        n if n < 1e9 => format!("{:.1} million", n / 1e6),
        n if n < 1e12 => format!("{:.1} billion", n / 1e9),
        n => format!("{n:.2e}"),
    }
}

fn as_text(plan: &RunPlan) -> String {
    let memory = &plan.memory;
    let parts = [
        ("weights", memory.weights),
        ("gradients", memory.gradients),
        ("moments", memory.moments),
        ("activations", memory.activations),
        ("evaluation", memory.evaluation),
        ("text", memory.text),
        ("packed operands", memory.scratch),
        ("program", memory.program),
    ]
    .map(|(name, bytes)| format!("{name} {}", units::bytes(bytes)));
    let available =
        plan.available_memory_bytes.map_or(String::new(), |bytes| format!(" of {} available", units::bytes(bytes)));
    let fits = plan.available_memory_bytes.is_none_or(|available| plan.memory_bytes <= available);
    let problem = if fits { "" } else { ": does not fit" };
    let recompute = plan
        .recompute_memory_bytes
        .map_or(String::new(), |bytes| format!("; with --recompute {}", units::bytes(bytes)));
    let speed = if plan.is_timed { "timed" } else { "assumed from the peak" };
    let ratio = plan.tokens / plan.compute_optimal_tokens;
    Table::new(["", ""])
        .align(1, Align::Left)
        .row(["parameters".to_owned(), units::count(plan.parameters)])
        .row([
            "steps".to_owned(),
            format!("{} of {} tokens", units::count(plan.steps), units::count(plan.tokens_per_step)),
        ])
        .row(["tokens".to_owned(), large(plan.tokens)])
        .row([
            "operations".to_owned(),
            format!("{:.2e}, {} per token: 6 N and attention", plan.flops, large(plan.flops_per_token)),
        ])
        .row(["memory".to_owned(), format!("{}{available}{problem}{recompute}", units::bytes(plan.memory_bytes))])
        .row([String::new(), parts[..4].join(", ")])
        .row([String::new(), parts[4..].join(", ")])
        .row([
            "speed here".to_owned(),
            format!("{} in {} ({speed})", units::rate(plan.tokens_per_second, "tokens"), plan.compute),
        ])
        .row(["time here".to_owned(), units::duration(plan.seconds)])
        .row([
            "compute-optimal".to_owned(),
            format!(
                "{} tokens (20 per parameter); this run has {ratio:.2} times that",
                large(plan.compute_optimal_tokens)
            ),
        ])
        .to_text()
}
