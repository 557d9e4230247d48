//! Finds near duplicates in a JSONL file with FineWeb's settings, says how long that took, and writes the cluster of each
//! document. The half of `bench/peers/datatrove/minhash.sh` and `bench/peers/text_dedup/run` that is ours.
//!
//! ```sh
//! cargo run --release -p tsumugi-data --example near_duplicates -- IN.jsonl OUT_FOLDER [THREADS [SETTINGS]]
//! ```
//!
//! SETTINGS are lines of the stage: `buckets = 25`.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};
use tsumugi_base::communicator::Alone;
use tsumugi_base::progress::Silent;
use tsumugi_data::corpus::{self, Options, Recipe};
use tsumugi_files::NoScan;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, out, rest @ ..] = &arguments[..] else { return Err("IN.jsonl OUT_FOLDER".into()) };
    let (out, threads) = (Path::new(out), rest.first().map_or(Ok(1), |threads| threads.parse())?);
    fs::create_dir_all(out)?;
    let recipe = format!(
        "[[source]]\nname = 'documents'\npaths = ['{input}']\n[[stage]]\nkind = 'near-duplicates'\nkeep = 'all'\n{}\n",
        rest.get(1).map_or("", String::as_str)
    );
    fs::write(out.join("recipe.toml"), recipe)?;
    let recipe = Recipe::read(&out.join("recipe.toml"))?;
    let begin = Instant::now();
    let run = out.join("run");
    let (ranks, observer) = (&Alone, &Silent);
    let options = Options {
        threads: Some(threads),
        memory_bytes: None,
        strict: true,
        command: Vec::new(),
        gate: &NoScan { reason: "no stage names a vocabulary" },
        tokenizer: None,
        ranks,
        observer,
    };
    let outcome = corpus::run(&recipe, &run, &options)?;
    let seconds = begin.elapsed().as_secs_f64();
    let mut clusters = String::new();
    for file in &outcome.summary.files {
        let bytes = zstd::stream::decode_all(fs::File::open(run.join("documents").join(&file.name))?)?;
        for line in String::from_utf8(bytes)?.lines() {
            let document: Value = serde_json::from_str(line)?;
            let line = json!({ "id": document["id"], "cluster": document["metadata"]["minhash_cluster"] });
            clusters += &format!("{line}\n");
        }
    }
    fs::write(out.join("clusters.jsonl"), clusters)?;
    let documents = outcome.summary.received.documents;
    writeln!(std::io::stdout(), "{}", json!({ "documents": documents, "seconds": seconds, "threads": threads }))?;
    Ok(())
}
