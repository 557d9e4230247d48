//! `tsumugi scan`: what model files would do to whoever loads them.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tsumugi_base::progress::{Event, Observer};
use tsumugi_scan::{Cache, Limits, Policy, Reach, Report, Scanner, Severity, printable, render, rules, sarif};

use super::Command;
use crate::flags::{Json, Threads, severity};
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
    /// The least severity at which the answer is no [default: the policy's, or medium]
    #[arg(long, value_name = "SEVERITY", value_parser = severity())]
    fail_on: Option<Severity>,
    /// Findings that are known and why, severities, and paths to leave out (TOML; docs/scan.md). No policy is taken that is
    /// not named here: one that lies beside the models may be of their author
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Read every byte: pickles, programs, keys and tokens in the middle of weights
    #[arg(long)]
    deep: bool,
    /// Remember in this file what was found, and look again only at files that changed, or when the rules did
    #[arg(long, value_name = "FILE")]
    cache: Option<PathBuf>,
    /// Go on until Ctrl-C, looking every SECONDS (5) for files that are new or changed; with --json a line for each
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "5", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "sarif")]
    watch: Option<u32>,
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

impl Command for Scan {
    const NAME: &'static str = "scan";
    const EXAMPLES: &'static str = "
        tsumugi scan pytorch_model.bin
        tsumugi scan ~/.cache/huggingface/hub --fail-on high
        tsumugi scan models --policy scan-policy.toml --sarif > scan.sarif
        tsumugi scan /srv/models --cache /var/cache/tsumugi-scan --watch --json";

    fn run(self) -> Result<Answer, Failure> {
        let policy = self.policy.as_deref().map(Policy::read).transpose()?.unwrap_or_default();
        interrupt::listen("stopping")?;
        let progress = Progress::new();
        let threshold = self.fail_on.or(policy.fail_on).unwrap_or(Severity::Medium);
        let mut scanner = self.scanner(policy, &progress)?;
        if let Some(seconds) = self.watch {
            return self.watch(&mut scanner, Duration::from_secs(seconds.into()), threshold, &progress);
        }
        let report = scanner.scan(&self.paths, &progress)?;
        drop(progress);
        if interrupt::requested() {
            return Err(Failure::Stopped { message: "not every file was looked at; run it again".into() });
        }
        match (self.json.json, self.sarif) {
            (true, _) => print_json(&report.json(threshold))?,
            (_, true) => print_json(&sarif(&report))?,
            _ => print(&harmless(&render(&report, threshold)))?,
        }
        answer(&report, threshold)
    }
}

impl Scan {
    fn scanner(&self, policy: Policy, progress: &Progress) -> Result<Scanner, Failure> {
        let reach = if self.deep { Reach::Everything } else { Reach::default() };
        let limits = Limits { reach, opcodes: self.max_opcodes, ..Limits::default() };
        let read = self.cache.as_deref().map(|file| Cache::read(file, &limits)).transpose()?;
        let cache = read.map(|(cache, warning)| {
            if let Some(message) = warning {
                progress.event(&Event::Warning { message });
            }
            cache
        });
        let mut scanner = Scanner::new(limits, self.threads.count());
        (scanner.policy, scanner.cache) = (policy, cache);
        Ok(scanner)
    }

    /// Tells what is found as it is found; ends with Ctrl-C, and with no if there was anything.
    fn watch(
        &self,
        scanner: &mut Scanner,
        interval: Duration,
        threshold: Severity,
        progress: &Progress,
    ) -> Result<Answer, Failure> {
        let mut outcome = Ok(Answer::Done);
        scanner.watch(&self.paths, interval, progress, &mut |report| {
            let told = self.tell(&report, threshold);
            if told.is_err() {
                outcome = told.map(|()| Answer::No);
                return false;
            }
            if outcome.is_ok() && !report.passes(threshold) {
                outcome = Ok(Answer::No);
            }
            true
        })?;
        outcome
    }

    fn tell(&self, report: &Report, threshold: Severity) -> Result<(), Failure> {
        if !self.json.json {
            return print(&harmless(&render(report, threshold)));
        }
        report.files.iter().try_for_each(|file| {
            let mut line: Value = file.json();
            line["passed"] = json!(file.passes(threshold));
            print_json(&line)
        })
    }
}

fn answer(report: &Report, threshold: Severity) -> Result<Answer, Failure> {
    if report.files.is_empty() {
        return Err(Failure::new("no files: nothing was looked at", "name a file, or a folder that holds some"));
    }
    let unread = report.unread().next();
    match (report.fails(threshold), unread) {
        (true, _) if !only_limits(report, threshold) => Ok(Answer::No),
        (_, Some((file, why))) => Err(Failure::new(
            printable(&format!("{} was not looked at as a whole: {why}", file.path.display())),
            "scan its parts one by one, or raise the limit (`--max-opcodes`)",
        )),
        (true, None) => Ok(Answer::No),
        (false, None) => Ok(Answer::Done),
    }
}

/// Whether all that fails is that something was not looked at.
fn only_limits(report: &Report, threshold: Severity) -> bool {
    let failing = report.findings().filter(|(_, finding)| finding.severity >= threshold);
    failing.map(|(_, finding)| finding).all(|finding| finding.rule.id == rules::LIMIT.id)
}
