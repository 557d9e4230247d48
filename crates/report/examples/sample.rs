//! Writes a report with one of everything to the file that is named: to look at.
//!
//! `cargo run -p tsumugi-report --example sample -- report.html`

use std::path::Path;

use tsumugi_base::rng::Key;
use tsumugi_report::interval::{Interval, Mean};
use tsumugi_report::{BarChart, LineChart, Report, Table};

fn main() -> Result<(), tsumugi_base::FileError> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "report.html".into());
    tsumugi_base::io::write_atomic(Path::new(&path), page().as_bytes())
}

fn page() -> String {
    let noise = Key::from_seed(1);
    let curve = |i: u64| 1.85 + 2.6 * (-(i as f64) / 260.0).exp();
    let train = (0..2000).map(|i| (i as f64, curve(i) + 0.06 * f64::from(noise.normal(i))));
    let held_out = (0..=2000).step_by(100).map(|i| (i as f64, curve(i) + 0.05 + 0.08 * (i as f64 / 2000.0)));
    let loss = LineChart::new("Loss while pre-training")
        .x_label("step")
        .y_label("nats per token")
        .smoothed_series("training", train, 50.0)
        .series("held out", held_out)
        .reference("xz -9e", 2.52);
    let mut scaling = LineChart::new("Loss by size").x_label("parameters").y_label("nats per token").log_x();
    for width in 0..9u32 {
        let points = (0..6).map(move |i| (1e5 * 4f64.powi(i), 4.0 - 0.3 * f64::from(i) + 0.12 * f64::from(width)));
        scaling = scaling.series(format!("width {}", 64 << width), points);
    }
    let speed = BarChart::new("Training speed")
        .value_label("tokens per second, median of 9 runs; whiskers: 95 % of bootstrap medians")
        .bar_with_interval("Tsumugi", 3410.0, Interval { low: 3350.0, high: 3468.0 })
        .bar_with_interval("PyTorch 2 (float32, eager)", 2190.0, Interval { low: 2100.0, high: 2230.0 })
        .bar("candle", 594.0);
    let stages = Table::new(["stage", "time", "peak memory", "result"])
        .row(["tokenizer", "3.1 s", "212.0 MiB", "4,096 tokens, 3.41 bytes each"])
        .row(["pre-training", "4 min 31 s", "640.2 MiB", "2.31 bits per byte"])
        .row(["chat", "1 min 02 s", "655.9 MiB", "perplexity of answers 31.2"]);
    let seeds = Mean::of(&[1.8801, 1.8912, 1.8755]).map(|mean| mean.to_string()).unwrap_or_default();
    Report::new("Quickstart")
        .subtitle("Tiny Shakespeare on 2 threads of an example processor, 2026-01-31")
        .facts([
            ("bits per byte, held out", "2.31".to_owned()),
            ("parameters", "10.8 M".into()),
            ("tokens seen", "8.2 M".into()),
            ("whole time", "5 min 37 s".into()),
        ])
        .text("A model was trained from the text in this repository, then taught to answer.")
        .section("Stages")
        .table(&stages)
        .section("Training")
        .plot_with_caption(&loss.to_svg(), "The held-out text is the last tenth; it is never trained on.")
        .text(&format!("Three seeds: {seeds}."))
        .plot(&scaling.to_svg())
        .section("Speed")
        .plot(&speed.to_svg())
        .section("Samples")
        .labelled("step 0", "qz, vvEt;oo\nk")
        .labelled("step 2000", "KING RICHARD:\nWhat, is he gone? <then> bring me & my horse.")
        .folded("The whole recipe", "depth = 6\nsteps = 2000")
        .footer("tsumugi 0.1.0 · tsumugi quickstart --minutes 5")
        .finish()
}
