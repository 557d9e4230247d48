//! Trains a byte-level BPE tokenizer on a text and says how long it took; for `bench/peers/tokenizers/train.sh`.
//!
//!     train_time CORPUS VOCABULARY_SIZE THREADS [TOKENIZER.JSON]

use std::time::Instant;

use tsumugi_base::progress::Silent;
use tsumugi_tokenizer::bpe::CountingOptions;
use tsumugi_tokenizer::train::{TrainingConfig, train_bpe};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, corpus, size, threads, rest @ ..] = arguments.as_slice() else { return Err("see the source".into()) };
    let text = std::fs::read_to_string(corpus)?;
    let counting = CountingOptions { threads: threads.parse()?, ..CountingOptions::default() };
    let config = TrainingConfig { vocabulary_size: size.parse()?, counting, ..TrainingConfig::default() };
    let started = Instant::now();
    let tokenizer = train_bpe(&[text], &config, &Silent)?;
    println!("{:.3}", started.elapsed().as_secs_f64());
    if let Some(path) = rest.first() {
        std::fs::write(path, tokenizer.to_json())?;
    }
    Ok(())
}
