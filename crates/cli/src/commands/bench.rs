//! `tsumugi bench`: what this machine can do, and how near we come.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use serde_json::json;
use tsumugi_base::io::AtomicFile;
use tsumugi_base::machine::Machine;
use tsumugi_base::{FileError, units};
use tsumugi_infer::engine::BATCH_MAX;
use tsumugi_models::{Decoder, Precision};
use tsumugi_pipeline::roofline::{self, Asked, Roofline, roofline};
use tsumugi_report::Table;
use tsumugi_tensor::{Activations, Cpu, Isa};
use tsumugi_train::bench::{self, CASES, Case, Limits, Measured, STEPS_MAX, limits, train_step};
use tsumugi_train::recipe::ComputeChoice;
use tsumugi_train::{OptimizerKind, StepOptions, TrainError};

use super::Command;
use crate::flags::{Json, Threads, Trust, positive};
use crate::model;
use crate::output::{Answer, Failure, print, print_json, tell};

/// Measure this machine, or how near its limit a model comes
///
/// For MODEL: a training step (of float32 weights), reading a prompt, and answering with the weights as they are stored, each beside what the processor's operations per second and the
/// memory's bandwidth allow (the roofline). Training is on random tokens and weights, and MODEL is not changed.
/// `TSUMUGI_ISA=avx512|avx2|portable` forces an instruction set. Close everything else: other programs share the cores.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["model", "machine", "train"]))]
pub struct Bench {
    /// A model folder or GGUF file, or the name of a configuration that `--train` knows
    model: Option<String>,
    /// The processor, the instruction sets, and its limits: operations per second in each type, memory bandwidth
    #[arg(long)]
    machine: bool,
    /// Time training steps of this configuration, on random tokens
    #[arg(long, value_name = "NAME", value_parser = case_names())]
    train: Option<String>,
    /// Repetitions that count [default: 20 steps with --train, 5 with MODEL]
    #[arg(long, value_name = "N", value_parser = steps, conflicts_with = "machine")]
    steps: Option<usize>,
    /// Time each operation too
    #[arg(long, conflicts_with_all = ["machine", "model"])]
    profile: bool,
    /// What updates the parameters [default: adamw]
    #[arg(long, conflicts_with_all = ["machine", "model"])]
    optimizer: Option<OptimizerKind>,
    /// Sequences that are trained on, and answered, at a time [default: the configuration's, or 1]
    #[arg(long, value_name = "N", value_parser = batch, conflicts_with_all = ["machine", "train"])]
    batch: Option<usize>,
    /// Tokens of a training sequence [default: the model's context, at most 1,024]
    #[arg(long, value_name = "N", value_parser = positive, conflicts_with_all = ["machine", "train"])]
    context: Option<usize>,
    /// Tokens of a prompt, and the depth at which answers begin [default: 512, or what the model's context allows]
    #[arg(long, value_name = "N", value_parser = positive, conflicts_with_all = ["machine", "train"])]
    prompt: Option<usize>,
    /// Answer with weights that stay in the mapped file (`--weights mapped` of `generate`)
    #[arg(long, conflicts_with_all = ["machine", "train"])]
    mapped: bool,
    /// Write the roofline as a page too
    #[arg(long, value_name = "FILE.html", conflicts_with_all = ["machine", "train"])]
    out: Option<PathBuf>,
    /// Type of training's matrix products [default: auto]
    #[arg(long, conflicts_with = "machine")]
    compute: Option<ComputeChoice>,
    /// Activation checkpointing, as `train --recompute`; what is computed again does not count for the share of the peak
    #[arg(long, conflicts_with_all = ["machine", "model"])]
    recompute: bool,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    json: Json,
}

/// Enough for a median that another process's burst does not move.
const STEPS: usize = 20;

fn batch(text: &str) -> Result<usize, String> {
    at_most(text, BATCH_MAX)
}

fn steps(text: &str) -> Result<usize, String> {
    at_most(text, STEPS_MAX)
}

fn at_most(text: &str, most: usize) -> Result<usize, String> {
    let number = positive(text)?;
    if number <= most { Ok(number) } else { Err(format!("it must be at most {most}")) }
}

fn case(name: &str) -> Option<&'static Case> {
    CASES.iter().find(|case| case.name == name)
}

fn case_names() -> clap::builder::PossibleValuesParser {
    CASES.iter().map(|case| case.name).collect::<Vec<_>>().into()
}

impl Command for Bench {
    const NAME: &'static str = "bench";
    const EXAMPLES: &'static str = "
        tsumugi bench --machine
        tsumugi bench runs/quickstart/base --batch 8 --out roofline.html
        tsumugi bench --train shakespeare-char --steps 50 --json";

    fn run(self) -> Result<Answer, Failure> {
        let cpu = Cpu::detect(self.threads.get()).map_err(TrainError::from)?;
        let training = self.compute.unwrap_or_default().on(&cpu);
        match (&self.model, self.train.as_deref().and_then(case)) {
            (Some(model), _) => self.roofline(model, &training)?,
            (None, Some(case)) => self.train(case, &training)?,
            (None, None) => self.machine(&cpu)?,
        }
        Ok(Answer::Done)
    }
}

impl Bench {
    fn machine(&self, cpu: &Cpu) -> Result<(), Failure> {
        let machine = Machine::here();
        let available: Vec<&str> = Isa::available().iter().map(|isa| isa.name()).collect();
        let (isa, compute) = (cpu.isa().name(), cpu.fastest_compute().name());
        let mut limits = vec![limits(cpu)];
        if cpu.pool().threads() > 1 {
            limits.insert(0, bench::limits(&Cpu::detect(Some(1)).map_err(TrainError::from)?));
        }
        if self.json.json {
            return print_json(&json!({
                "cpu": machine.cpu, "system": machine.system, "memory_bytes": machine.memory_bytes,
                "isa": isa, "isa_available": available, "compute": compute, "limits": limits,
            }));
        }
        print(&format!(
            "processor  {}\nsystem     {}\nmemory     {}\nkernels    {isa} (available: {}), training in {compute}\n\n{}",
            machine.cpu,
            machine.system,
            units::bytes(machine.memory_bytes),
            available.join(", "),
            limits_table(&limits),
        ))
    }

    fn roofline(&self, model: &str, cpu: &Cpu) -> Result<(), Failure> {
        // Begun now: what cannot be written is told before minutes of measuring.
        let page = self.out.as_deref().map(AtomicFile::create).transpose()?;
        let known = case(model).filter(|_| !Path::new(model).exists());
        let precision = if self.mapped { Precision::Mapped } else { Precision::Stored };
        let decoder = match known {
            Some(_) if self.mapped => {
                return Err(Failure::new("--mapped needs a model with files", "give a model folder or a GGUF file"));
            }
            Some(case) => roofline::random_model((case.spec)(), cpu)?,
            None => Decoder::load_to_serve(&model::admit(model, &self.trust)?, cpu, precision)?,
        };
        let asked = Asked {
            batch: self.batch.or(known.map(|case| case.batch)),
            context: self.context,
            prompt: self.prompt,
            repetitions: self.steps,
        };
        let measured = roofline(model.to_owned(), decoder, asked, cpu)?;
        if let (Some(mut page), Some(file)) = (page, &self.out) {
            let html = roofline::page(&measured);
            page.write_all(html.as_bytes()).map_err(|source| FileError::write(file, source))?;
            page.commit()?;
            tell(&format!("the page is {}", file.display()));
        }
        if self.json.json { print_json(&measured) } else { print(&roofline_text(&measured)) }
    }

    fn train(&self, case: &Case, cpu: &Cpu) -> Result<(), Failure> {
        let options = StepOptions {
            activations: Activations::recomputed_if(self.recompute),
            optimizer: self.optimizer.unwrap_or_default(),
        };
        let measured = train_step(case, options, self.steps.unwrap_or(STEPS), self.profile, cpu)?;
        if self.json.json { print_json(&measured) } else { print(&as_text(&measured)) }
    }
}

/// A row for each number of threads.
fn limits_table(limits: &[Limits]) -> String {
    let billions = |value: f64| format!("{:.0}", value / 1e9);
    let mut table = Table::new(["threads", "float32 GFLOP/s", "bfloat16 GFLOP/s", "int8 GOP/s", "memory GB/s"]);
    for row in limits {
        table.push([
            row.threads.to_string(),
            billions(row.f32_flops_per_second),
            billions(row.bf16_flops_per_second),
            row.int8_operations_per_second.map_or("-".into(), billions),
            billions(row.memory_bytes_per_second),
        ]);
    }
    table.to_text()
}

fn roofline_text(measured: &Roofline) -> String {
    let (workload, limits) = (&measured.workload, &measured.limits);
    let mut text = format!(
        "{}: {} parameters; {} at a time, trained on {} tokens, prompts of {}; {}\n\n{}\n{}",
        measured.model,
        units::count(measured.parameters as u64),
        workload.batch,
        workload.context,
        workload.prompt,
        measured.isa,
        limits_table(std::slice::from_ref(limits)),
        roofline::table(measured).to_text(),
    );
    if measured.stages.iter().any(|stage| stage.share_of_limit > 1.0) {
        text.push_str("\nAbove 100 %: what is counted as moved from memory stayed in a cache.\n");
    }
    for stage in &measured.left_out {
        text.push_str(&format!("\nNot measured: {stage}\n"));
    }
    text
}

fn as_text(measured: &Measured) -> String {
    let mut text = format!(
        "{}: {}, {:.0} % of the peak; median step {}, shortest {}; {} parameters, {} in {}, {} threads{}{}\n",
        measured.case,
        units::rate(measured.tokens_per_second, "tokens"),
        100.0 * measured.share_of_peak,
        units::duration(measured.step_seconds),
        units::duration(measured.step_seconds_min),
        units::count(measured.parameters as u64),
        measured.isa,
        measured.compute,
        measured.threads,
        if measured.recompute { ", recomputing" } else { "" },
        measured.peak_memory_bytes.map_or(String::new(), |bytes| {
            format!(", {} of memory ({} planned)", units::bytes(bytes), units::bytes(measured.planned_memory_bytes))
        }),
    );
    for (operation, milliseconds) in &measured.profile {
        text.push_str(&format!("  {milliseconds:9.3} ms  {operation}\n"));
    }
    text
}
