//! A roofline as a table and as a page.

use tsumugi_base::machine::Machine;
use tsumugi_base::units;
use tsumugi_report::{LineChart, Report, Svg, Table};

use super::{Roofline, Stage};

/// A row for each stage.
pub fn table(measured: &Roofline) -> Table {
    let mut table = Table::new([
        "stage",
        "type",
        "tokens",
        "ms",
        "tokens/s",
        "GFLOP",
        "MB moved",
        "FLOP/byte",
        "limit",
        "limit's ms",
        "reached",
    ]);
    for stage in &measured.stages {
        table.push([
            stage.stage.to_owned(),
            stage.compute.to_owned(),
            units::count(stage.tokens as u64),
            format!("{:.3}", 1e3 * stage.seconds),
            units::count(stage.tokens_per_second as u64),
            format!("{:.2}", stage.flops / 1e9),
            format!("{:.1}", stage.bytes / 1e6),
            format!("{:.1}", stage.flops_per_byte),
            stage.limited_by.to_owned(),
            format!("{:.3}", 1e3 * stage.limit_seconds),
            format!("{:.0} %", 100.0 * stage.share_of_limit),
        ]);
    }
    table
}

/// A page of its own: the plot, the table, the limits.
pub fn page(measured: &Roofline) -> String {
    let workload = &measured.workload;
    let limits = &measured.limits;
    let billions = |value: f64| format!("{:.0}", value / 1e9);
    Report::new(format!("Roofline of {}", measured.model))
        .subtitle(format!(
            "{}, {} threads, {}; {} parameters; {} at a time, trained on {} tokens, prompts of {}",
            Machine::here().cpu,
            limits.threads,
            measured.isa,
            units::count(measured.parameters as u64),
            workload.batch,
            workload.context,
            workload.prompt,
        ))
        .facts([
            ("float32, GFLOP/s", billions(limits.f32_flops_per_second)),
            ("bfloat16, GFLOP/s", billions(limits.bf16_flops_per_second)),
            ("memory, GB/s", billions(limits.memory_bytes_per_second)),
        ])
        .plot_with_caption(
            &plot(measured),
            "A stage's line begins at the speed that it reached and ends at its limit. Under the slope the memory limits, \
             under the level the processor. A stage above its limit keeps in a cache what is counted as moved.",
        )
        .table(&table(measured))
        .text(&measured.left_out.join("\n\n"))
        .footer(format!("tsumugi {}", env!("CARGO_PKG_VERSION")))
        .finish()
}

/// Both roofs, and from each stage a line up to its own.
fn plot(measured: &Roofline) -> Svg {
    let limits = &measured.limits;
    let intensities = || measured.stages.iter().map(|stage| stage.flops_per_byte);
    let ridge = |peak: f64| peak / limits.memory_bytes_per_second;
    let first = intensities().fold(ridge(limits.f32_flops_per_second), f64::min) / 4.0;
    let last = intensities().fold(ridge(limits.bf16_flops_per_second), f64::max) * 4.0;
    let mut chart = LineChart::new("Speed reached and speed possible")
        .x_label("operations per byte moved")
        .y_label("GFLOP/s")
        .log_x()
        .log_y();
    for (name, peak) in [("float32", limits.f32_flops_per_second), ("bfloat16", limits.bf16_flops_per_second)] {
        let corner = ridge(peak);
        let roof = [first, corner, last].map(|x| (x, x.min(corner) * limits.memory_bytes_per_second / 1e9));
        chart = chart.series(format!("limit, {name}"), roof);
    }
    for stage in &measured.stages {
        let name = format!("{}: {:.0} %", stage.stage, 100.0 * stage.share_of_limit);
        chart = chart.series(name, line(stage));
    }
    chart.to_svg()
}

fn line(stage: &Stage) -> [(f64, f64); 2] {
    [stage.seconds, stage.limit_seconds].map(|seconds| (stage.flops_per_byte, stage.flops / seconds / 1e9))
}
