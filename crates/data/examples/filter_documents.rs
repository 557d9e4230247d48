//! Judges every document of a JSONL file with every filter, one after the other on the text as it came, and says how
//! long that took. The half of `bench/peers/datatrove` that is ours.
//!
//! ```sh
//! cargo run --release -p tsumugi-data --example filter_documents -- IN.jsonl OUT.jsonl [THREADS]
//! ```

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::time::Instant;

use serde_json::{Value, json};
use tsumugi_data::clean::{self, Filter, View};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output, rest @ ..] = &arguments[..] else { return Err("two paths: IN.jsonl OUT.jsonl".into()) };
    let threads = rest.first().map_or(Ok(1), |threads| threads.parse())?;
    let mut texts = Vec::new();
    for line in BufReader::new(File::open(input)?).lines() {
        let document: Value = serde_json::from_str(&line?)?;
        texts.push(document["text"].as_str().unwrap_or_default().to_owned());
    }
    let filters = clean::filters();
    let begin = Instant::now();
    let size = texts.len().div_ceil(threads).max(1);
    let judged: Vec<Vec<Value>> = std::thread::scope(|scope| {
        let parts: Vec<_> = texts.chunks(size).map(|part| scope.spawn(|| judge_all(&filters, part))).collect();
        parts.into_iter().filter_map(|part| part.join().ok()).collect()
    });
    let seconds = begin.elapsed().as_secs_f64();
    let mut out = BufWriter::new(File::create(output)?);
    for verdicts in judged.iter().flatten() {
        writeln!(out, "{verdicts}")?;
    }
    let bytes: usize = texts.iter().map(String::len).sum();
    let summary = json!({ "documents": texts.len(), "bytes": bytes, "seconds": seconds, "threads": threads });
    writeln!(std::io::stdout(), "{summary}")?;
    Ok(())
}

fn judge_all(filters: &[Filter], texts: &[String]) -> Vec<Value> {
    texts.iter().map(|text| judge(filters, text)).collect()
}

fn judge(filters: &[Filter], text: &str) -> Value {
    let view = View::of(text);
    let mut verdicts = serde_json::Map::new();
    for filter in filters {
        let measured = filter.measure(&view);
        let rule = filter.decide(&measured.signals).map(|rule| rule.name);
        verdicts.insert(filter.name().to_owned(), rule.into());
        if filter.name() == "c4_quality" && rule.is_none() {
            let removed: serde_json::Map<_, _> =
                measured.lines_removed.iter().map(|(rule, count)| ((*rule).to_owned(), (*count).into())).collect();
            verdicts.insert("c4_text".to_owned(), measured.edited.as_deref().unwrap_or(text).into());
            verdicts.insert("c4_lines".to_owned(), removed.into());
        }
    }
    verdicts.into()
}
