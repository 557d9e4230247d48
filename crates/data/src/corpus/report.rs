//! What a run says about itself: `manifest.json` for programs, `README.md` (the data card) and `report.html` for people.

use std::fmt::Write;
use std::fs::File;
use std::io;

use serde_json::json;
use tsumugi_base::FileError;
use tsumugi_base::io::{AtomicFile, read_to_string_limited, write_atomic};
use tsumugi_base::limits::CORPUS_RECORD_BYTES_MAX;
use tsumugi_base::run_record::sha256;
use tsumugi_base::units;
use tsumugi_report::{Align, Report, Table};

use super::CorpusError;
use super::folder::{FAULTS, Folder, INPUTS, MANIFEST};
use super::plan::Input;
use super::recipe::Recipe;
use super::record::{Amount, Summary};

const FORMAT: &str = "tsumugi corpus 1";

/// Writes everything; the manifest last, which says that the run is finished.
pub(super) fn write(recipe: &Recipe, summary: &Summary, inputs: &[Input], folder: &Folder) -> Result<(), CorpusError> {
    write_faults(summary, folder)?;
    write_atomic(&folder.path("report.html"), page(recipe, summary).as_bytes())?;
    write_atomic(&folder.path("README.md"), card(recipe, summary, inputs).as_bytes())?;
    let inputs = read_to_string_limited(&folder.path(INPUTS), CORPUS_RECORD_BYTES_MAX)?;
    let manifest = json!({
        "format": FORMAT,
        "version": env!("CARGO_PKG_VERSION"),
        "recipe": recipe,
        "inputs_sha256": sha256(inputs.as_bytes()),
        "summary": summary,
    });
    let text = serde_json::to_string_pretty(&manifest).expect("a manifest is JSON") + "\n";
    Ok(write_atomic(&folder.path(MANIFEST), text.as_bytes())?)
}

/// What the shards' own files have, one after another.
fn write_faults(summary: &Summary, folder: &Folder) -> Result<(), CorpusError> {
    let mut all = AtomicFile::create(&folder.path(FAULTS))?;
    for &shard in &summary.faulty_shards {
        let path = folder.faults_of(shard);
        let mut file = File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => CorpusError::Damaged {
                file: path.clone(),
                problem: "it is missing: another version made this shard; begin in an empty folder".into(),
            },
            _ => FileError::read(&path, source).into(),
        })?;
        io::copy(&mut file, &mut all).map_err(|source| FileError::write(all.path(), source))?;
    }
    Ok(all.commit()?)
}

/// The summary of a finished run.
pub(super) fn read_summary(folder: &Folder) -> Result<Summary, CorpusError> {
    let path = folder.path(MANIFEST);
    let text = read_to_string_limited(&path, CORPUS_RECORD_BYTES_MAX)?;
    let damaged = |problem: String| CorpusError::Damaged { file: path.clone(), problem };
    let mut manifest: serde_json::Value = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    if manifest["format"] != FORMAT {
        return Err(damaged(format!("its format is {}, not \"{FORMAT}\"", manifest["format"])));
    }
    serde_json::from_value(manifest["summary"].take()).map_err(|error| damaged(error.to_string()))
}

fn share(part: u64, whole: u64) -> String {
    if whole == 0 { "–".into() } else { format!("{:.1} %", 100.0 * part as f64 / whole as f64) }
}

fn amount_cells(amount: Amount, whole: Amount) -> [String; 4] {
    [
        units::count(amount.documents),
        units::count(amount.words),
        units::bytes(amount.bytes),
        share(amount.words, whole.words),
    ]
}

fn stage_table(summary: &Summary) -> Table {
    let mut table = Table::new(["stage", "received", "changed", "dropped", "words dropped", "of what it received"])
        .align(0, Align::Left);
    for (index, (kind, record)) in summary.stages.iter().enumerate() {
        let mut dropped = Amount::default();
        record.rules.values().for_each(|rule| dropped.add(rule.dropped));
        table.push([
            format!("{}. {kind}", index + 1),
            units::count(record.received.documents),
            units::count(record.changed),
            units::count(dropped.documents),
            units::count(dropped.words),
            share(dropped.words, record.received.words),
        ]);
    }
    table
}

fn source_table(recipe: &Recipe, summary: &Summary) -> Table {
    let mut table = Table::new(["source", "documents", "words", "text", "of the words"]);
    for source in &recipe.sources {
        let amount = summary.sources.get(&source.name).copied().unwrap_or_default();
        table.push([source.name.clone()].into_iter().chain(amount_cells(amount, summary.kept)));
    }
    table
}

/// `report.html`.
fn page(recipe: &Recipe, summary: &Summary) -> String {
    let mut report = Report::new("Corpus")
        .subtitle(format!("{} sources, {} stages", recipe.sources.len(), summary.stages.len()))
        .facts([
            ("documents read", units::count(summary.received.documents)),
            ("documents kept", units::count(summary.kept.documents)),
            ("words kept", share(summary.kept.words, summary.received.words)),
            ("text kept", units::bytes(summary.kept.bytes)),
            ("could not be read", units::count(summary.faults)),
        ]);
    if let Some(tokens) = summary.tokens {
        report = report.facts([("tokens", units::count(tokens))]);
    }
    report = report.section("Sources").table(&source_table(recipe, summary));
    report = report.section("Stages").table(&stage_table(summary));
    report = report.section("What was dropped, and why");
    for (index, (kind, record)) in summary.stages.iter().enumerate() {
        for (rule, dropped) in &record.rules {
            let amount = dropped.dropped;
            report = report.subsection(&format!("{}. {kind}: {rule}", index + 1)).text(&format!(
                "{} documents, {} words ({} of what was read), {}.",
                units::count(amount.documents),
                units::count(amount.words),
                share(amount.words, summary.received.words),
                units::bytes(amount.bytes),
            ));
            for example in &dropped.examples {
                report = report.folded(&example.id, &example.text);
            }
        }
    }
    report = report.section("What could not be read");
    report = match summary.faults {
        0 => report.text("Nothing."),
        faults => {
            let mut table = Table::new(["file", "byte", "problem"]);
            for fault in &summary.named_faults {
                let place = fault.offset.map_or_else(String::new, units::count);
                table.push([fault.file.display().to_string(), place, fault.problem.clone()]);
            }
            let text = format!("{} in all, each a line of the file below.", units::count(faults));
            let shown = match summary.named_faults.len() as u64 {
                shown if shown < faults => format!("The first {shown}:"),
                _ => String::new(),
            };
            report.text(&text).link(FAULTS, FAULTS).text(&shown).table(&table)
        }
    };
    report
        .section("Recipe")
        .preformatted(&recipe_text(recipe))
        .footer(format!("tsumugi {}", env!("CARGO_PKG_VERSION")))
        .finish()
}

fn recipe_text(recipe: &Recipe) -> String {
    toml::to_string(recipe).expect("a recipe is TOML")
}

/// `README.md`: the data card, with the head that the Hugging Face hub reads.
fn card(recipe: &Recipe, summary: &Summary, inputs: &[Input]) -> String {
    let files = if recipe.mix.is_some() { "mixed" } else { "documents" };
    let (shipped, sources) = summary.shipped(recipe.mix.is_some());
    let mut card =
        format!("---\nconfigs:\n- config_name: default\n  data_files: \"{files}/*.jsonl.zst\"\n---\n\n# Corpus\n\n");
    let _ = writeln!(
        card,
        "{} documents, {} words, {} of text, of {} documents that passed the stages; {} were dropped, each with its rule in \
         `dropped/`; {} parts of the input could not be read (`faults.jsonl`).\n",
        units::count(shipped.documents),
        units::count(shipped.words),
        units::bytes(shipped.bytes),
        units::count(summary.kept.documents),
        units::count(summary.received.documents - summary.kept.documents),
        units::count(summary.faults),
    );
    let _ = writeln!(card, "## Sources\n\n| source | licence | files | documents | words |\n|---|---|--:|--:|--:|");
    for source in &recipe.sources {
        let shipped = sources.get(&source.name).copied().unwrap_or_default();
        let license = source.license.as_deref().unwrap_or("not stated, but where a document does");
        let files = inputs.iter().filter(|input| input.source == source.name).count();
        let (documents, words) = (units::count(shipped.documents), units::count(shipped.words));
        let _ = writeln!(card, "| {} | {license} | {files} | {documents} | {words} |", source.name);
    }
    let _ = writeln!(card, "\n## What was done\n\n{}", stage_table(summary).to_markdown());
    let _ = writeln!(
        card,
        "## Files\n\n`{files}/`: JSON lines with `id`, `text`, `source`, `license`, `metadata`, `signals`. \
        `manifest.json`: counts, and the hash of every file. `inputs.jsonl`: what went in, by content.\n"
    );
    let _ = writeln!(card, "## Recipe\n\n```toml\n{}```", recipe_text(recipe));
    card
}
