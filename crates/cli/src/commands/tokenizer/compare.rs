//! `tsumugi tokenizer compare`: what the same text costs in several vocabularies, language by language.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use tsumugi_base::io::write_atomic;
use tsumugi_report::plot::BarChart;
use tsumugi_report::{Report, Table};
use tsumugi_tokenizer::Statistics;

use crate::commands::Command;
use crate::flags::{Json, Trust};
use crate::model;
use crate::output::{Answer, Failure, print, print_json};

/// Compare tokenizers over texts
///
/// Each file is a language, or whatever else sets texts apart: tokens per word, per character and per byte of each. What
/// takes more tokens costs more, is slower and fills the context sooner.
#[derive(Debug, Args)]
pub struct Compare {
    /// Model folders, or vocabularies: tokenizer.json, tokenizer.model, *.tiktoken, tekken.json, *.gguf
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<String>,
    /// Texts in UTF-8, one for each language
    #[arg(long, required = true, num_args = 1.., value_name = "TEXT")]
    files: Vec<PathBuf>,
    /// Write table and plot to this page
    #[arg(long, value_name = "HTML")]
    html: Option<PathBuf>,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    json: Json,
}

/// One tokenizer on one text.
struct Measured {
    text: String,
    model: String,
    statistics: Statistics,
}

impl Measured {
    fn per_character(&self) -> f64 {
        self.statistics.tokens as f64 / self.statistics.characters.max(1) as f64
    }

    fn per_byte(&self) -> f64 {
        self.statistics.tokens as f64 / self.statistics.bytes.max(1) as f64
    }
}

impl Command for Compare {
    const NAME: &'static str = "compare";
    const EXAMPLES: &'static str =
        "tsumugi tokenizer compare runs/tokenizer o200k_base.tiktoken --files eng.txt fra.txt tha.txt --html cost.html";

    fn run(self) -> Result<Answer, Failure> {
        let mut measured = Vec::new();
        let tokenizers = self.models.iter().map(|name| Ok((name, model::tokenizer(name, &self.trust)?.0)));
        let tokenizers = tokenizers.collect::<Result<Vec<_>, Failure>>()?;
        for file in &self.files {
            let text = tsumugi_data::read_text(file)?;
            for (model, tokenizer) in &tokenizers {
                let statistics = Statistics::of(tokenizer, &text, 0);
                measured.push(Measured { text: name(file), model: model.to_string(), statistics });
            }
        }
        if let Some(path) = &self.html {
            write_atomic(path, page(&measured).as_bytes())?;
        }
        match self.json.json {
            true => print_json(&measured.iter().map(row).collect::<Vec<Value>>())?,
            false => print(&table(&measured).to_text())?,
        }
        Ok(Answer::Done)
    }
}

fn name(file: &Path) -> String {
    file.file_stem().unwrap_or(file.as_os_str()).to_string_lossy().into_owned()
}

fn row(measured: &Measured) -> Value {
    let Statistics { bytes, characters, words, tokens, unknown, .. } = measured.statistics;
    json!({
        "text": measured.text, "model": measured.model, "bytes": bytes, "characters": characters, "words": words,
        "tokens": tokens, "unknown": unknown, "tokens_per_word": measured.statistics.tokens_per_word(),
        "tokens_per_character": measured.per_character(), "tokens_per_byte": measured.per_byte(),
    })
}

fn table(measured: &[Measured]) -> Table {
    let columns = ["text", "model", "tokens", "per word", "per character", "per byte", "unknown"];
    measured.iter().fold(Table::new(columns), |table, measured| {
        table.row([
            measured.text.clone(),
            measured.model.clone(),
            measured.statistics.tokens.to_string(),
            format!("{:.3}", measured.statistics.tokens_per_word()),
            format!("{:.4}", measured.per_character()),
            format!("{:.4}", measured.per_byte()),
            measured.statistics.unknown.to_string(),
        ])
    })
}

fn page(measured: &[Measured]) -> String {
    let chart = BarChart::new("What a character costs").value_label("tokens per character");
    let chart = measured.iter().fold(chart, |chart, measured| {
        chart.bar(format!("{}, {}", measured.text, measured.model), measured.per_character())
    });
    Report::new("Tokenizers compared")
        .subtitle("the same texts in several vocabularies")
        .section("Tokens per character")
        .plot(&chart.to_svg())
        .section("All measures")
        .text("A word is what stands between whitespace; languages that write without spaces have few.")
        .table(&table(measured))
        .finish()
}
