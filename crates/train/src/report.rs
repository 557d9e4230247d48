//! What `log.jsonl` says, in numbers to draw; and the page of a run, `report.html`.

use std::path::Path;

use tsumugi_base::jsonl;
use tsumugi_base::progress::{Event, Observer};
use tsumugi_base::run_record::RunRecord;
use tsumugi_base::{io::write_atomic, units};
use tsumugi_report::{Align, BarChart, LineChart, Report, Table};
use tsumugi_tensor::Profile;

use crate::{Evaluated, LogRow, TrainError, run_folder};

/// The page's name in a run's folder.
pub const REPORT: &str = "report.html";
/// A smoothed line looks over so many steps: a share of the run, and at least these.
const SMOOTHED_SHARE: f64 = 1.0 / 60.0;
const SMOOTHED_LEAST: f64 = 5.0;

/// The log of a run, in series of (step, value).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Log {
    rows: Vec<LogRow>,
}

impl Log {
    /// Reads `log.jsonl` of a run's folder.
    pub fn read(run: &Path) -> Result<Self, TrainError> {
        Ok(Self { rows: jsonl::read(&run.join("log.jsonl"))? })
    }

    fn steps(&self, value: impl Fn(&LogRow) -> Option<f64>) -> Vec<(f64, f64)> {
        let step = |row: &LogRow| match row {
            LogRow::Step { step, .. } | LogRow::Evaluation { step, .. } => *step as f64,
        };
        self.rows.iter().filter_map(|row| Some((step(row), value(row)?))).collect()
    }

    /// Loss of each step's batch, nats per token.
    pub fn training(&self) -> Vec<(f64, f64)> {
        self.steps(|row| match row {
            LogRow::Step { loss, .. } => Some(f64::from(*loss)),
            LogRow::Evaluation { .. } => None,
        })
    }

    /// Every evaluation, in order.
    pub fn evaluations(&self) -> impl DoubleEndedIterator<Item = Evaluated> {
        self.rows.iter().filter_map(|row| match *row {
            LogRow::Evaluation { step, held_out_loss, held_out_bits_per_byte } => {
                Some(Evaluated { step, loss: held_out_loss, bits_per_byte: held_out_bits_per_byte })
            }
            LogRow::Step { .. } => None,
        })
    }

    /// Loss on the held-out text, nats per token.
    pub fn held_out(&self) -> Vec<(f64, f64)> {
        self.evaluations().map(|evaluated| (evaluated.step as f64, evaluated.loss)).collect()
    }

    /// Bits per byte of the held-out text.
    pub fn bits_per_byte(&self) -> Vec<(f64, f64)> {
        self.evaluations().map(|evaluated| (evaluated.step as f64, evaluated.bits_per_byte)).collect()
    }

    /// Norm of the gradient before clipping.
    pub fn norms(&self) -> Vec<(f64, f64)> {
        self.steps(|row| match row {
            LogRow::Step { gradient_norm, .. } => Some(f64::from(*gradient_norm)),
            LogRow::Evaluation { .. } => None,
        })
    }

    /// Learning rate of each step.
    pub fn rates(&self) -> Vec<(f64, f64)> {
        self.steps(|row| match row {
            LogRow::Step { learning_rate, .. } => Some(*learning_rate),
            LogRow::Evaluation { .. } => None,
        })
    }

    /// Steps that the guard did not take.
    pub fn skipped(&self) -> usize {
        self.rows.iter().filter(|row| matches!(row, LogRow::Step { skipped: Some(_), .. })).count()
    }

    /// Tokens and seconds of all steps, evaluations not counted.
    pub fn totals(&self) -> (u64, f64) {
        let last = self.rows.iter().rev().find_map(|row| match row {
            LogRow::Step { tokens, seconds, .. } => Some((*tokens, *seconds)),
            LogRow::Evaluation { .. } => None,
        });
        last.unwrap_or((0, 0.0))
    }

    /// Training and held-out loss.
    pub fn loss_chart(&self, title: &str) -> LineChart {
        LineChart::new(title)
            .x_label("step")
            .y_label("nats per token")
            .smoothed_series("training", self.training(), self.smoothing())
            .series("held out", self.held_out())
    }

    /// Norm of the gradient.
    pub fn norm_chart(&self) -> LineChart {
        LineChart::new("Norm of the gradient, before clipping").x_label("step").y_label("norm").log_y().smoothed_series(
            "gradient",
            self.norms(),
            self.smoothing(),
        )
    }

    fn smoothing(&self) -> f64 {
        (self.rows.len() as f64 * SMOOTHED_SHARE).max(SMOOTHED_LEAST)
    }
}

/// Operations of a profile by their time, the longest first: name, seconds, share, calls.
pub fn profile_rows(profile: &Profile) -> Vec<(String, f64, f64, u64)> {
    let whole: f64 = profile.rows.iter().map(|row| row.2).sum();
    let row = |&(name, direction, seconds, calls): &(&str, &str, f64, u64)| {
        (format!("{name} {direction}"), seconds, seconds / whole.max(1e-12), calls)
    };
    let mut rows: Vec<_> = profile.rows.iter().map(row).collect();
    rows.sort_by(|a, b| b.1.total_cmp(&a.1));
    rows
}

fn profile_chart(profile: &Profile) -> BarChart {
    let mut chart = BarChart::new("Time by operation").value_label("seconds");
    for (name, seconds, share, _) in profile_rows(profile) {
        chart = chart.bar_with_text(name, seconds, format!("{} ({:.0} %)", units::duration(seconds), 100.0 * share));
    }
    chart
}

/// Writes `report.html` into a finished run's folder: curves, speed, settings. A page that cannot be made is told and
/// costs no model.
pub fn write(run: &Path, title: &str, parameters: usize, profile: &Profile, observer: &dyn Observer) {
    if let Err(error) = try_write(run, title, parameters, profile) {
        observer.event(&Event::Warning { message: format!("no {REPORT}: {error}") });
    }
}

fn try_write(run: &Path, title: &str, parameters: usize, profile: &Profile) -> Result<(), TrainError> {
    let (log, record) = (Log::read(run)?, RunRecord::read(&run.join(run_folder::RECORD))?);
    let (tokens, seconds) = log.totals();
    let last = |value: fn(Evaluated) -> f64| {
        log.evaluations().next_back().map_or("not measured".to_owned(), |evaluated| format!("{:.4}", value(evaluated)))
    };
    let facts = [
        ("held-out loss, nats per token", last(|evaluated| evaluated.loss)),
        ("bits per byte, held out", last(|evaluated| evaluated.bits_per_byte)),
        ("parameters", units::count(parameters as u64)),
        ("time of training", units::duration(seconds)),
    ];
    let speed = Table::new(["speed", ""])
        .row(["tokens read".to_owned(), units::count(tokens)])
        .row(["tokens per second".to_owned(), units::count((tokens as f64 / seconds.max(1e-9)) as u64)])
        .row(["steps not taken (spikes)".to_owned(), units::count(log.skipped() as u64)]);
    let machine = Table::new(["machine", ""])
        .align(1, Align::Left)
        .row(["processor".to_owned(), record.machine.cpu.clone()])
        .row(["memory".to_owned(), units::bytes(record.machine.memory_bytes)])
        .row(["system".to_owned(), record.machine.system.clone()]);
    let settings = serde_json::json!({ "recipe": record.recipe, "inputs": record.inputs });
    let rates = LineChart::new("Learning rate").x_label("step").y_label("rate").series("rate", log.rates());
    let mut page = Report::new(title)
        .subtitle(format!("{}, begun {}", record.machine.cpu, record.started))
        .facts(facts)
        .section("Loss")
        .plot_with_caption(
            &log.loss_chart("Loss").to_svg(),
            "Faint: the loss of each step's batch. Where the held-out loss rises while the training loss falls, the \
             text is being learned by heart.",
        )
        .section("The course of training")
        .plot(&log.norm_chart().to_svg())
        .plot(&rates.to_svg())
        .table(&speed);
    if !profile.rows.is_empty() {
        page = page.subsection("Where the time of the last run's steps went").plot(&profile_chart(profile).to_svg());
    }
    let page = page
        .table(&machine)
        .folded("run.json: settings", &serde_json::to_string_pretty(&settings).unwrap_or_default())
        .footer(format!("tsumugi {} · {}", env!("CARGO_PKG_VERSION"), record.command.join(" ")))
        .finish();
    Ok(write_atomic(&run.join(REPORT), page.as_bytes())?)
}
