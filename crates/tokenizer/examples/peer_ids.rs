//! Writes what a vocabulary file makes of texts, and how fast: for comparison with the vocabulary's own implementation
//! (`bench/peers/tokenizers/`, `tools/goldens/`).
//!
//! `cargo run --release -p tsumugi-tokenizer --example peer_ids -- VOCABULARY TEXTS.json OUT.json [CORPUS [TOKENIZER.json]]`

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use serde_json::json;
use tsumugi_tokenizer::Tokenizer;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [vocabulary, texts, out, rest @ ..] = &arguments[..] else {
        return Err("give VOCABULARY TEXTS.json OUT.json [CORPUS [TOKENIZER.json]]".into());
    };
    let texts: Vec<String> = serde_json::from_str(&std::fs::read_to_string(texts)?)?;
    let started = Instant::now();
    let tokenizer = Tokenizer::from_vocabulary(&std::fs::read(vocabulary)?, Path::new(vocabulary))?;
    let load_seconds = started.elapsed().as_secs_f64();
    let ids: Vec<Vec<u32>> = texts.iter().map(|text| tokenizer.encode(text)).collect();
    let mut rates = Vec::new();
    if let Some(corpus) = rest.first() {
        let text = std::fs::read_to_string(corpus)?;
        for _ in 0..2 {
            let started = Instant::now();
            std::hint::black_box(tokenizer.encode(&text));
            rates.push(text.len() as f64 / 1e6 / started.elapsed().as_secs_f64());
        }
    }
    if let Some(written) = rest.get(1) {
        std::fs::write(written, tokenizer.to_json())?;
    }
    let report = json!({
        "special_ids": texts.iter().map(|text| tokenizer.encode_with_special(text)).collect::<Vec<_>>(),
        "decoded": ids.iter().map(|ids| tokenizer.decode(ids)).collect::<Vec<_>>(),
        "ids": ids,
        "prefix": tokenizer.prefix(),
        "suffix": tokenizer.suffix(),
        "load_seconds": load_seconds,
        "megabytes_per_second": rates,
    });
    std::fs::write(out, report.to_string())?;
    Ok(())
}
