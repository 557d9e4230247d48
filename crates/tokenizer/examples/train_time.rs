//! Trains a tokenizer, saves it, and how many seconds the training took in `seconds.txt`; for `bench/peers/tokenizers/train.py`.
//!
//!     train_time CORPUS FOLDER bpe|wordpiece|unigram|sentencepiece-bpe VOCABULARY_SIZE THREADS

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use tsumugi_base::progress::Silent;
use tsumugi_tokenizer::bpe::{CountingOptions, TextSink};
use tsumugi_tokenizer::train::{
    Corpus, SentencePieceAlgorithm, SentencePieceConfig, TrainingConfig, WordPieceConfig, train_bpe_on,
    train_sentence_piece, train_word_piece,
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [corpus, folder, kind, size, threads] = &arguments[..] else {
        return Err("give CORPUS FOLDER KIND VOCABULARY_SIZE THREADS".into());
    };
    let text = std::fs::read_to_string(corpus)?;
    let (vocabulary_size, threads) = (size.parse()?, threads.parse()?);
    let counting = CountingOptions { threads, ..CountingOptions::default() };
    let mut feed = |sink: TextSink<'_>| sink(&text);
    let corpus = Corpus { bytes: text.len() as u64, feed: &mut feed };
    let started = Instant::now();
    let sentence_piece = |algorithm| SentencePieceConfig {
        vocabulary_size,
        byte_fallback: false,
        counting: counting.clone(),
        ..SentencePieceConfig::new(algorithm)
    };
    let tokenizer = match kind.as_str() {
        "bpe" => {
            let special_tokens = Vec::new();
            let config = TrainingConfig { vocabulary_size, special_tokens, counting, ..TrainingConfig::default() };
            train_bpe_on(corpus, &config, &Silent)?
        }
        "wordpiece" => {
            let config = WordPieceConfig { vocabulary_size, counting, ..WordPieceConfig::default() };
            train_word_piece(corpus, &config, &Silent)?
        }
        "unigram" => train_sentence_piece(corpus, &sentence_piece(SentencePieceAlgorithm::Unigram), &Silent)?,
        _ => train_sentence_piece(corpus, &sentence_piece(SentencePieceAlgorithm::Bpe), &Silent)?,
    };
    let seconds = started.elapsed().as_secs_f64();
    std::fs::create_dir_all(Path::new(folder))?;
    std::fs::write(Path::new(folder).join("seconds.txt"), format!("{seconds:.3}"))?;
    tokenizer.save(Path::new(folder))?;
    Ok(())
}
