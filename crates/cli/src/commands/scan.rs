//! `tsumugi scan`: what model files would do to whoever loads them.

use std::path::PathBuf;
use std::thread;

use clap::{Args, ValueEnum};
use tsumugi_scan::{Limits, Severity, render, sarif, scan};

use super::Command;
use crate::flags::{Json, Threads};
use crate::interrupt;
use crate::output::{Answer, Failure, harmless, print, print_json};
use crate::progress::Progress;

/// Look for code and tricks in model files, without loading them
///
/// Files are judged by their content: pickles and PyTorch's files, safetensors, GGUF, NumPy, Keras, TensorFlow, ONNX, chat templates, configurations, and archives of these in one
/// another. Nothing is imported, called or rendered. Exit code 0: nothing as bad as `--fail-on`; 1: something; 2: not everything could be looked at.
#[derive(Debug, Args)]
pub struct Scan {
    /// Files, and folders with all that is in them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The least severity at which the answer is no
    #[arg(long, value_name = "SEVERITY", value_enum, default_value_t = FailOn::Medium)]
    fail_on: FailOn,
    /// Print SARIF 2.1.0, as code hosts read it
    #[arg(long, conflicts_with = "json")]
    sarif: bool,
    /// Most opcodes of one pickle; a longer one is not looked at to its end
    #[arg(long, value_name = "N", default_value_t = Limits::default().opcodes)]
    max_opcodes: u64,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FailOn {
    Low,
    Medium,
    High,
    Critical,
}

impl FailOn {
    fn severity(self) -> Severity {
        match self {
            Self::Low => Severity::Low,
            Self::Medium => Severity::Medium,
            Self::High => Severity::High,
            Self::Critical => Severity::Critical,
        }
    }
}

impl Command for Scan {
    const NAME: &'static str = "scan";
    const EXAMPLES: &'static str = "
        tsumugi scan pytorch_model.bin
        tsumugi scan ~/.cache/huggingface/hub --fail-on high
        tsumugi scan models --sarif > scan.sarif";

    fn run(self) -> Result<Answer, Failure> {
        interrupt::listen("stopping")?;
        let limits = Limits { opcodes: self.max_opcodes, ..Limits::default() };
        let threads = self.threads.get().unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
        let report = scan(&self.paths, &limits, threads, &Progress::new())?;
        if interrupt::requested() {
            return Err(Failure::Stopped { message: "not every file was looked at; run it again".into() });
        }
        let threshold = self.fail_on.severity();
        match (self.json.json, self.sarif) {
            (true, _) => print_json(&report.json(threshold))?,
            (_, true) => print_json(&sarif(&report))?,
            _ => print(&harmless(&render(&report, threshold)))?,
        }
        let unread = report.unread().next();
        match (report.fails(threshold), unread) {
            (true, _) if !only_limits(&report, threshold) => Ok(Answer::No),
            (_, Some((file, why))) => Err(Failure::new(
                format!("{} was not looked at as a whole: {why}", file.path.display()),
                "scan its parts one by one, or raise the limit (`--max-opcodes`)",
            )),
            (true, None) => Ok(Answer::No),
            (false, None) => Ok(Answer::Done),
        }
    }
}

/// Whether all that fails is that something was not looked at.
fn only_limits(report: &tsumugi_scan::Report, threshold: Severity) -> bool {
    let failing = report.findings().filter(|(_, finding)| finding.severity >= threshold);
    failing.map(|(_, finding)| finding).all(|finding| finding.rule.id == tsumugi_scan::rules::LIMIT.id)
}
