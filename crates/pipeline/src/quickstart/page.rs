//! The report: everything a reader would look at, drawn.

use std::path::Path;

use tsumugi_base::run_record::RunRecord;
use tsumugi_base::units;
use tsumugi_report::{Align, BarChart, LineChart, Report, Table};
use tsumugi_tensor::Cpu;
use tsumugi_tokenizer::Tokenizer;
use tsumugi_train::peak::peak_flops_per_second;
use tsumugi_train::report::Log;

use super::plan::Plan;
use super::{Measured, sample, size};
use crate::PipelineError;
use crate::stage::StageRecord;

/// What the page is made of.
pub struct Material<'a> {
    /// The run's folder.
    pub out: &'a Path,
    /// Its record.
    pub record: &'a RunRecord,
    /// Its plan.
    pub plan: &'a Plan,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Conversations with what is trained marked.
    pub previews: &'a [String],
    /// Stages that are done.
    pub stages: &'a [StageRecord],
    /// What was measured.
    pub measured: &'a Measured,
    /// Where it ran.
    pub cpu: &'a Cpu,
    /// The training and the held-out part.
    pub texts: (&'a str, &'a str),
}

/// The whole page.
pub fn page(material: &Material<'_>) -> Result<String, PipelineError> {
    let base = Log::read(&material.out.join("base"))?;
    let chat = Log::read(&material.out.join("chat"))?;
    let report = opening(material, &base);
    let report = talk(report, material);
    let report = pre_training(report, material, &base)?;
    let report = fine_tuning(report, material, &chat)?;
    let report = tokenizer(report, material);
    let report = time_and_memory(report, material, &base, &chat);
    let report = plan(report, material);
    let version = env!("CARGO_PKG_VERSION");
    Ok(report.footer(format!("tsumugi {version} · {}", material.record.command.join(" "))).finish())
}

fn opening(material: &Material<'_>, base: &Log) -> Report {
    let Material { record, measured, plan, .. } = material;
    let (tokens, _) = base.totals();
    let seconds: f64 = material.stages.iter().map(|stage| stage.seconds).sum();
    let epochs = tokens as f64 / plan.text_tokens.max(1) as f64;
    let gain = 1.0 - measured.base_bits_per_byte / measured.xz_bits_per_byte;
    let verdict = if gain > 0.0 {
        format!("{:.0} % fewer than `xz -9e` needs ({:.2})", 100.0 * gain, measured.xz_bits_per_byte)
    } else {
        format!("more than `xz -9e` needs ({:.2}): give it more minutes", measured.xz_bits_per_byte)
    };
    Report::new("Quickstart: from a text to a model that answers")
        .subtitle(format!(
            "Tiny Shakespeare on {} threads of {}, begun {}",
            material.cpu.pool().threads(),
            record.machine.cpu,
            record.started
        ))
        .facts([
            ("bits per byte, held out", format!("{:.3}", measured.base_bits_per_byte)),
            ("parameters", units::count(measured.parameters)),
            ("passes over the text", format!("{epochs:.1}")),
            ("whole time", units::duration(seconds)),
        ])
        .text(&format!(
            "A tokenizer was learned from 90 % of the text, a model was trained on it from nothing, then taught on the \
             text's own dialogue to answer as one of its characters. The last 10 % was held out from every stage: the \
             base model needs {:.3} bits for a byte of it, {verdict}. Fine-tuning took the loss on held-out answers \
             from {:.3} to {:.3} nats per token.",
            measured.base_bits_per_byte, measured.answers_before_nats, measured.answers_after_nats
        ))
}

fn talk(report: Report, material: &Material<'_>) -> Report {
    let mut report = report.section("Talking with it").text(
        "The system message names the character that answers. The first questions are ours; the last are from the \
         held-out text, with what Shakespeare answered below.",
    );
    for exchange in &material.measured.exchanges {
        let asker = exchange.user.as_deref().unwrap_or("You");
        let mut text = format!("{asker}: {}\n\n{}: {}", exchange.question, exchange.character, exchange.answer.trim());
        if let Some(original) = &exchange.original {
            text.push_str(&format!("\n\n(in the play: {original})"));
        }
        report = report.labelled(&format!("You are {}.", exchange.character), &text);
    }
    report
}

fn pre_training(report: Report, material: &Material<'_>, log: &Log) -> Result<Report, PipelineError> {
    let bits = LineChart::new("Bits per byte of the held-out text")
        .x_label("step")
        .y_label("bits per byte")
        .series("the model", log.bits_per_byte().into_iter().filter(|&(step, _)| step > 0.0))
        .reference("xz -9e", material.measured.xz_bits_per_byte);
    let mut report = report
        .section("Pre-training")
        .plot_with_caption(
            &log.loss_chart("Loss of pre-training").to_svg(),
            "Faint: the loss of each step's batch. Where the held-out loss rises while the training loss falls, the \
             text is being learned by heart.",
        )
        .plot_with_caption(
            &bits.to_svg(),
            "xz: what xz -9e needs for the held-out part after the training part (both together minus the first).",
        )
        .plot(&log.norm_chart().to_svg())
        .subsection("The same beginning, continued at several steps");
    for sample in sample::read(material.out, "base")? {
        let text = format!("{}{}", sample.prompt, sample.text.trim_end());
        report = report.labelled(&format!("step {}", units::count(sample.step)), &text);
    }
    Ok(report)
}

fn fine_tuning(report: Report, material: &Material<'_>, log: &Log) -> Result<Report, PipelineError> {
    let measured = material.measured;
    let before_after = Table::new(["held out", "base model", "chat model"])
        .row([
            "answers, nats per token".to_owned(),
            format!("{:.3}", measured.answers_before_nats),
            format!("{:.3}", measured.answers_after_nats),
        ])
        .row([
            "text, bits per byte".to_owned(),
            format!("{:.3}", measured.base_bits_per_byte),
            format!("{:.3}", measured.chat_bits_per_byte),
        ]);
    let mut report = report
        .section("Learning to answer")
        .plot(&log.loss_chart("Loss of fine-tuning, on answers only").to_svg())
        .table(&before_after)
        .subsection("What is trained")
        .text(
            "Only what stands between ⟦ and ⟧: the answer and the token that ends it. The rest is read, not learned.",
        );
    for preview in material.previews {
        report = report.preformatted(preview);
    }
    report = report.subsection("The same question at several steps");
    for sample in sample::read(material.out, "chat")? {
        let text = format!("{}\n\n{}", sample.prompt, sample.text.trim());
        report = report.labelled(&format!("step {}", units::count(sample.step)), &text);
    }
    Ok(report)
}

fn tokenizer(report: Report, material: &Material<'_>) -> Report {
    let Material { tokenizer, texts: (text, held_out), .. } = material;
    let ids = tokenizer.encode(text);
    let held_out_ids = tokenizer.encode(held_out);
    let mut uses = vec![0_u64; tokenizer.vocabulary_size()];
    ids.iter().for_each(|&id| uses[id as usize] += 1);
    let per_token = |text: &str, tokens: usize| format!("{:.2}", text.len() as f64 / tokens.max(1) as f64);
    let statistics = Table::new(["", "training part", "held-out part"])
        .row(["bytes".to_owned(), units::count(text.len() as u64), units::count(held_out.len() as u64)])
        .row(["tokens".to_owned(), units::count(ids.len() as u64), units::count(held_out_ids.len() as u64)])
        .row(["bytes per token".to_owned(), per_token(text, ids.len()), per_token(held_out, held_out_ids.len())]);
    let shown = |id: u32| format!("{:?}", String::from_utf8_lossy(&tokenizer.token_bytes(id)));
    let mut by_length: Vec<u32> =
        (0..tokenizer.vocabulary_size() as u32).filter(|&id| !tokenizer.is_special(id)).collect();
    let never = by_length.iter().filter(|&&id| uses[id as usize] == 0).count();
    by_length.sort_by_key(|&id| (std::cmp::Reverse(tokenizer.token_bytes(id).len()), id));
    let mut longest = Table::new(["longest tokens", "uses"]).align(0, Align::Left);
    for &id in by_length.iter().take(12) {
        longest.push([shown(id), units::count(uses[id as usize])]);
    }
    let mut by_use = by_length.clone();
    by_use.sort_by_key(|&id| (std::cmp::Reverse(uses[id as usize]), id));
    let mut frequent = BarChart::new("Most frequent tokens").value_label("uses in the training part");
    for &id in by_use.iter().take(12) {
        frequent = frequent.bar_with_text(shown(id), uses[id as usize] as f64, units::count(uses[id as usize]));
    }
    let example: String = tokenizer
        .encode(&held_out.chars().take(180).collect::<String>())
        .iter()
        .map(|&id| String::from_utf8_lossy(&tokenizer.token_bytes(id)).into_owned() + "·")
        .collect();
    report
        .section("The tokenizer")
        .text(&format!(
            "{} tokens: 256 bytes, {} merges of byte-pair encoding learned from the training part, {} control tokens. \
             {never} never occur in the training part (bytes that English does not use, parts of longer tokens).",
            units::count(tokenizer.vocabulary_size() as u64),
            units::count((tokenizer.vocabulary_size() - 256 - tokenizer.special_tokens().len()) as u64),
            tokenizer.special_tokens().len(),
        ))
        .table(&statistics)
        .plot(&frequent.to_svg())
        .table(&longest)
        .labelled("The beginning of the held-out text, cut into tokens", &example)
}

fn time_and_memory(report: Report, material: &Material<'_>, base: &Log, chat: &Log) -> Report {
    let mut table = Table::new(["stage", "time", "memory by its end"]);
    let mut bars = BarChart::new("Time of the stages").value_label("seconds");
    for stage in material.stages {
        let memory = stage.peak_memory_bytes.map_or("unknown".to_owned(), units::bytes);
        table.push([stage.name.clone(), units::duration(stage.seconds), memory]);
        bars = bars.bar_with_text(stage.name.clone(), stage.seconds, units::duration(stage.seconds));
    }
    let chosen = material.plan.base.layers.zip(material.plan.base.width);
    let size = size::SIZES.iter().find(|size| Some((size.layers, size.width)) == chosen);
    let flops = size.map_or(0.0, size::Size::flops_per_token);
    let peak = peak_flops_per_second(material.cpu);
    let mut speeds = Table::new(["stage", "tokens", "tokens per second", "of the machine's peak"]);
    for (name, log) in [("base", base), ("chat", chat)] {
        let (tokens, seconds) = log.totals();
        let speed = tokens as f64 / seconds.max(1e-9);
        let share = format!("{:.0} %", 100.0 * flops * speed / peak);
        speeds.push([name.to_owned(), units::count(tokens), units::count(speed as u64), share]);
    }
    let machine = &material.record.machine;
    let facts = Table::new(["machine", ""])
        .align(1, Align::Left)
        .row(["processor".to_owned(), machine.cpu.clone()])
        .row(["threads used".to_owned(), material.cpu.pool().threads().to_string()])
        .row(["instruction set".to_owned(), material.cpu.isa().name().to_owned()])
        .row([
            format!("peak in {}, measured", material.cpu.compute().name()),
            format!("{:.0} billion operations per second", peak / 1e9),
        ])
        .row(["memory".to_owned(), units::bytes(machine.memory_bytes)])
        .row(["system".to_owned(), machine.system.clone()]);
    report
        .section("Time, memory, machine")
        .plot(&bars.to_svg())
        .table(&table)
        .subsection("Speed of training")
        .table(&speeds)
        .table(&facts)
}

fn plan(report: Report, material: &Material<'_>) -> Report {
    let Plan { timed, base, chat, base_seconds, chat_seconds, conversation_rows, .. } = material.plan;
    let mut table = Table::new(["layers", "width", "parameters", "tokens per second"]);
    for size in timed {
        let (parameters, speed) = (units::count(size.parameters), units::count(size.tokens_per_second as u64));
        table.push([size.layers.to_string(), size.width.to_string(), parameters, speed]);
    }
    let json = |value: &serde_json::Value| serde_json::to_string_pretty(value).unwrap_or_default();
    report
        .section("How it was decided")
        .text(&format!(
            "A few training steps of each of these sizes were timed, and the last was chosen: the largest that the \
             budget pays enough passes over the text for. Pre-training was given {} and {} steps, fine-tuning {} and \
             {} steps over {} rows of conversations.",
            units::duration(*base_seconds),
            units::count(base.steps.unwrap_or(0)),
            units::duration(*chat_seconds),
            units::count(chat.steps.unwrap_or(0)),
            units::count(*conversation_rows),
        ))
        .table(&table)
        .folded(
            "run.json: settings and plan",
            &json(&serde_json::json!({
                "recipe": material.record.recipe, "derived": material.record.derived, "inputs": material.record.inputs,
            })),
        )
}
