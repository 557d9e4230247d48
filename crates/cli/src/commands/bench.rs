//! `tsumugi bench`: what this machine can do, and how near we come.

use clap::{ArgGroup, Args};
use serde_json::json;
use tsumugi_base::machine::Machine;
use tsumugi_base::units;
use tsumugi_report::Table;
use tsumugi_tensor::{Cpu, Isa};
use tsumugi_train::bench::{self, CASES, Case, Limits, Measured, limits, train_step};
use tsumugi_train::recipe::ComputeChoice;
use tsumugi_train::{OptimizerKind, TrainError};

use super::Command;
use crate::flags::{Json, Threads, positive};
use crate::output::{Answer, Failure, print, print_json};

/// Measure this machine, or a training step on it
///
/// `TSUMUGI_ISA=avx512|avx2|portable` forces an instruction set. Close everything else: other programs share the cores.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["machine", "train"]))]
pub struct Bench {
    /// The processor, the instruction sets, and its limits: operations per second in each type, memory bandwidth
    #[arg(long)]
    machine: bool,
    /// Time training steps of this configuration, on random tokens
    #[arg(long, value_name = "NAME", value_parser = case_names())]
    train: Option<String>,
    /// Steps that count [default: 20]
    #[arg(long, value_name = "N", value_parser = positive, conflicts_with = "machine")]
    steps: Option<usize>,
    /// Time each operation too
    #[arg(long, conflicts_with = "machine")]
    profile: bool,
    /// What updates the parameters [default: adamw]
    #[arg(long, conflicts_with = "machine")]
    optimizer: Option<OptimizerKind>,
    /// Type of matrix products [default: auto]
    #[arg(long, conflicts_with = "machine")]
    compute: Option<ComputeChoice>,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    json: Json,
}

/// Enough for a median that another process's burst does not move.
const STEPS: usize = 20;

fn case_names() -> clap::builder::PossibleValuesParser {
    CASES.iter().map(|case| case.name).collect::<Vec<_>>().into()
}

impl Command for Bench {
    const NAME: &'static str = "bench";
    const EXAMPLES: &'static str = "
        tsumugi bench --machine
        tsumugi bench --train shakespeare-char --steps 50 --json";

    fn run(self) -> Result<Answer, Failure> {
        let cpu = Cpu::detect(self.threads.get()).map_err(TrainError::from)?;
        match CASES.iter().find(|case| Some(case.name) == self.train.as_deref()) {
            Some(case) => self.train(case, &self.compute.unwrap_or_default().on(&cpu))?,
            None => self.machine(&cpu)?,
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

    fn train(&self, case: &Case, cpu: &Cpu) -> Result<(), Failure> {
        let optimizer = self.optimizer.unwrap_or_default();
        let measured = train_step(case, optimizer, self.steps.unwrap_or(STEPS), self.profile, cpu)?;
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

fn as_text(measured: &Measured) -> String {
    let mut text = format!(
        "{}: {}, {:.0} % of the peak; median step {}, shortest {}; {} parameters, {} in {}, {} threads{}\n",
        measured.case,
        units::rate(measured.tokens_per_second, "tokens"),
        100.0 * measured.share_of_peak,
        units::duration(measured.step_seconds),
        units::duration(measured.step_seconds_min),
        units::count(measured.parameters as u64),
        measured.isa,
        measured.compute,
        measured.threads,
        measured.peak_memory_bytes.map_or(String::new(), |bytes| {
            format!(", {} of memory ({} planned)", units::bytes(bytes), units::bytes(measured.planned_memory_bytes))
        }),
    );
    for (operation, milliseconds) in &measured.profile {
        text.push_str(&format!("  {milliseconds:9.3} ms  {operation}\n"));
    }
    text
}
