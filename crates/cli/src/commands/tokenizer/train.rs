//! `tsumugi tokenizer train`: a vocabulary from text.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;
use tsumugi_base::io::create_folder;
use tsumugi_base::limits::TEXT_BYTES_MAX;
use tsumugi_base::units;
use tsumugi_data::corpus::CorpusError;
use tsumugi_data::source::Texts;
use tsumugi_tokenizer::bpe::{CountingOptions, Split, TextSink, safe_pieces};
use tsumugi_tokenizer::train::{
    Corpus, SentencePieceAlgorithm, SentencePieceConfig, TrainingConfig, WordPieceConfig, byte_tokenizer,
    tokenizer_of_characters, train_bpe_on, train_sentence_piece, train_word_piece,
};
use tsumugi_tokenizer::{Statistics, Tokenizer, TokenizerError, special_tokens};

use super::inspect::shown;
use crate::commands::Command;
use crate::flags::{Json, Threads, byte_count};
use crate::interrupt;
use crate::output::{Answer, Failure, print_json, print_line, tell};
use crate::progress::Progress;

/// Train a tokenizer on text
///
/// The same text gives the same tokenizer on any machine, and texts of any size are counted in bounded memory. The folder
/// then holds `tokenizer.json`, `tokenizer_config.json` and `special_tokens_map.json`, as `transformers` reads them, and
/// for SentencePiece's kinds `tokenizer.model`.
#[derive(Debug, Args)]
pub struct Train {
    /// Text in UTF-8, JSON lines, Parquet, CSV, HTML or WARC: files, folders, patterns
    #[arg(required = true, value_name = "TEXT")]
    texts: Vec<PathBuf>,
    /// The folder to write; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What a token is
    #[arg(long, value_enum, default_value_t = Kind::Bpe)]
    kind: Kind,
    /// Tokens in all: control tokens, bytes or characters, the learned ones [default: 4096]
    #[arg(long, value_name = "N", visible_alias = "vocabulary-size")]
    vocabulary: Option<usize>,
    /// How text is cut into words, which a token never crosses (bpe only) [default: gpt4]
    #[arg(long, value_enum, visible_alias = "splitter")]
    split: Option<WordSplit>,
    /// Keep capitals and accents (wordpiece only)
    #[arg(long)]
    cased: bool,
    /// Characters without a token are <unk> rather than their bytes (unigram and sentencepiece-bpe only)
    #[arg(long)]
    no_byte_fallback: bool,
    /// The field of JSON lines and tables that holds the text
    #[arg(long, value_name = "FIELD", default_value = "text")]
    text_field: String,
    /// About the most that is held in memory at once (not of bytes and characters, which need little) [default: 4G]
    #[arg(long, value_name = "SIZE", value_parser = byte_count)]
    memory: Option<u64>,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    json: Json,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// a frequent sequence of bytes
    Bpe,
    /// a word or a piece of one, as BERT's
    Wordpiece,
    /// the pieces that make the text most likely, as in SentencePiece
    Unigram,
    /// a frequent sequence of characters, as in SentencePiece
    SentencepieceBpe,
    /// a byte
    Bytes,
    /// a character that the text has
    Characters,
}

/// How text is cut into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum WordSplit {
    /// GPT-4's pattern, which Llama 3 has too: at most three digits together
    #[value(aliases = ["cl100k", "llama3"])]
    Gpt4,
    /// GPT-2's pattern
    Gpt2,
    /// GPT-4o's pattern: letters by case
    #[value(alias = "o200k")]
    Gpt4o,
    /// Qwen's pattern: single digits
    Qwen,
    /// single digits, the rest by GPT-2's pattern
    Digits,
    /// only at whitespace
    Whitespace,
    /// not at all, which is slow on large texts
    None,
}

impl WordSplit {
    fn split(self) -> Split {
        match self {
            Self::Gpt4 => Split::Gpt4,
            Self::Gpt2 => Split::Gpt2,
            Self::Gpt4o => Split::Gpt4o,
            Self::Qwen => Split::Qwen,
            Self::Digits => Split::Digits,
            Self::Whitespace => Split::Whitespace,
            Self::None => Split::None,
        }
    }
}

impl Command for Train {
    const NAME: &'static str = "train";
    const EXAMPLES: &'static str = "
        tsumugi tokenizer train input.txt --vocabulary 4096 --out runs/tokenizer
        tsumugi tokenizer train pages/*.jsonl --kind unigram --vocabulary 32000 --out runs/unigram
        tsumugi tokenizer train input.txt --kind characters --out runs/characters";

    fn run(self) -> Result<Answer, Failure> {
        self.refuse_inert()?;
        let memory = self.memory()?;
        let file = self.out.join("tokenizer.json");
        if file.exists() {
            return Err(Failure::new(
                format!("{} is already there", file.display()),
                "name another folder with `--out`, or remove this file",
            ));
        }
        let texts = Texts::find(&self.texts, &self.text_field, memory.document_bytes_max)?;
        let sample = String::with_capacity(memory.sample_bytes);
        let mut reader = Reader { texts: &texts, sample, sample_bytes: memory.sample_bytes, failed: None };
        let tokenizer = self.train(memory.learning_bytes, &mut reader)?;
        create_folder(&self.out)?;
        tokenizer.save(&self.out)?;
        self.show(&tokenizer, &reader.sample)?;
        Ok(Answer::Done)
    }
}

/// What is held if not said.
const MEMORY_BYTES: u64 = 4 << 30;

/// The beginning of the text is encoded to see how well the tokenizer does: so much of it, if memory has room.
const SAMPLE_BYTES_MAX: u64 = 16 << 20;

/// The share of the memory that the sample has.
const SAMPLE_SHARE: u64 = 32;

/// The share of the memory that a document may have; its line takes as much again.
const DOCUMENT_SHARE: u64 = 16;

/// Of the sample at a time: an encoder takes many times its text.
const PIECE_BYTES: usize = 1 << 16;

/// What the program and a block of text take, whatever the text: 14 MB on an empty one, a block of 4 MiB as it grows.
const PROGRAM_BYTES: u64 = 24 << 20;

/// What a token of the finished tokenizer takes, while it is made too: 1.3 kB of byte-level BPE, 1.8 of Unigram.
const TOKEN_BYTES: u64 = 2 << 10;

/// The least that is worth counting in.
const LEARNING_BYTES_MIN: u64 = 16 << 20;

/// How the memory is used: beside the program and the sample first for counting and learning, then for the tokenizer.
struct Memory {
    sample_bytes: usize,
    /// A document of JSON lines and the like is held as a whole.
    document_bytes_max: u64,
    learning_bytes: u64,
}

/// Longest tokens that are shown.
const LONGEST: usize = 5;

/// Reads the texts, and keeps a sample.
struct Reader<'a> {
    texts: &'a Texts,
    sample: String,
    /// The most of the sample.
    sample_bytes: usize,
    /// Why reading ended early.
    failed: Option<CorpusError>,
}

impl Reader<'_> {
    fn feed(&mut self, sink: TextSink<'_>) -> Result<(), TokenizerError> {
        let Self { texts, sample, sample_bytes, failed } = self;
        let mut refused = None;
        let read = texts.for_each(
            |text| {
                let room = sample_bytes.saturating_sub(sample.len());
                sample.push_str(&text[..text.floor_char_boundary(room)]);
                sink(text).map_err(|error| {
                    refused = Some(error);
                    CorpusError::Stopped
                })
            },
            |fault| {
                tell(&format!("left out: {fault}"));
            },
        );
        *failed = read.err();
        match (refused, &failed) {
            (Some(error), _) => Err(error),
            (None, Some(_)) => Err(TokenizerError::Stopped { merges: 0 }),
            (None, None) => Ok(()),
        }
    }

    /// Those that the text has.
    fn characters(&mut self) -> Result<BTreeSet<char>, TokenizerError> {
        let mut found = BTreeSet::new();
        self.feed(&mut |text| {
            found.extend(text.chars());
            Ok(())
        })?;
        Ok(found)
    }
}

impl Train {
    fn train(&self, learning_bytes: u64, reader: &mut Reader<'_>) -> Result<Tokenizer, Failure> {
        interrupt::listen("stopping")?;
        let progress = Progress::new();
        let bytes = reader.texts.bytes();
        let trained = match self.kind {
            Kind::Bytes => reader.feed(&mut |_| Ok(())).and_then(|()| byte_tokenizer(&special_tokens::all())),
            Kind::Characters => {
                reader.characters().and_then(|found| tokenizer_of_characters(found, &special_tokens::all()))
            }
            _ => {
                let mut feed = |sink: TextSink<'_>| reader.feed(sink);
                self.learn(learning_bytes, Corpus { bytes, feed: &mut feed }, &progress)
            }
        };
        drop(progress);
        if let Some(error) = reader.failed.take().filter(|error| !matches!(error, CorpusError::Stopped)) {
            return Err(error.into());
        }
        trained.map_err(|error| match error {
            TokenizerError::Stopped { .. } => Failure::Stopped { message: "nothing was written".into() },
            other => other.into(),
        })
    }

    fn vocabulary_size(&self) -> usize {
        self.vocabulary.unwrap_or(TrainingConfig::default().vocabulary_size)
    }

    /// What of the memory is for what; an error if it is too little for the vocabulary.
    fn memory(&self) -> Result<Memory, Failure> {
        let given = self.memory.unwrap_or(MEMORY_BYTES);
        let sample = (given / SAMPLE_SHARE).min(SAMPLE_BYTES_MAX);
        let tokens_bytes = match self.kind {
            // Neither is counted or learned.
            Kind::Bytes | Kind::Characters => 0,
            _ => TOKEN_BYTES.saturating_mul(self.vocabulary_size() as u64),
        };
        let left = given.saturating_sub(PROGRAM_BYTES).saturating_sub(sample);
        let least = LEARNING_BYTES_MIN.max(tokens_bytes);
        if left < least {
            // Whole megabytes above what with a share for the sample is enough.
            let enough = PROGRAM_BYTES.saturating_add(least) / (SAMPLE_SHARE - 1) * SAMPLE_SHARE;
            return Err(Failure::new(
                format!("`--memory` is {}: too little to train a tokenizer of this size in", units::bytes(given)),
                format!("give at least {}M", (enough >> 20) + 1),
            ));
        }
        let document_bytes_max = (given / DOCUMENT_SHARE).min(TEXT_BYTES_MAX);
        Ok(Memory { sample_bytes: sample as usize, document_bytes_max, learning_bytes: left })
    }

    fn learn(&self, learning_bytes: u64, corpus: Corpus<'_>, progress: &Progress) -> Result<Tokenizer, TokenizerError> {
        let mut counting = CountingOptions { memory_bytes: learning_bytes, ..CountingOptions::default() };
        counting.threads = self.threads.get().unwrap_or(counting.threads);
        let vocabulary_size = self.vocabulary_size();
        let sentence_piece = |algorithm| SentencePieceConfig {
            vocabulary_size,
            byte_fallback: !self.no_byte_fallback,
            counting: counting.clone(),
            ..SentencePieceConfig::new(algorithm)
        };
        match self.kind {
            Kind::Wordpiece => {
                let lowercase = !self.cased;
                let config = WordPieceConfig { vocabulary_size, lowercase, counting, ..WordPieceConfig::default() };
                train_word_piece(corpus, &config, progress)
            }
            Kind::Unigram => train_sentence_piece(corpus, &sentence_piece(SentencePieceAlgorithm::Unigram), progress),
            Kind::SentencepieceBpe => {
                train_sentence_piece(corpus, &sentence_piece(SentencePieceAlgorithm::Bpe), progress)
            }
            _ => {
                let split = self.split.map(WordSplit::split).unwrap_or_default();
                let config = TrainingConfig { vocabulary_size, split, counting, ..TrainingConfig::default() };
                train_bpe_on(corpus, &config, progress)
            }
        }
    }

    /// A flag that would change nothing is a misunderstanding.
    fn refuse_inert(&self) -> Result<(), Failure> {
        use Kind::{Bpe, Bytes, Characters, SentencepieceBpe, Unigram, Wordpiece};
        let name = |kind: Kind| kind.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let learned: &[Kind] = &[Bpe, Wordpiece, Unigram, SentencepieceBpe];
        let given = [
            ("vocabulary", self.vocabulary.is_some(), learned),
            ("memory", self.memory.is_some(), learned),
            ("split", self.split.is_some(), &[Bpe][..]),
            ("cased", self.cased, &[Wordpiece]),
            ("no-byte-fallback", self.no_byte_fallback, &[Unigram, SentencepieceBpe]),
        ];
        let inert = given.into_iter().find(|(_, given, kinds)| *given && !kinds.contains(&self.kind));
        let Some((flag, _, kinds)) = inert else { return Ok(()) };
        let what = match self.kind {
            Bytes | Characters => "a tokenizer of bytes or characters".into(),
            kind => format!("`--kind {}`", name(kind)),
        };
        Err(Failure::new(
            format!("`--{flag}` has no effect on {what}"),
            format!("leave it out, or use `--kind {}`", name(kinds[0])),
        ))
    }

    fn show(&self, tokenizer: &Tokenizer, sample: &str) -> Result<(), Failure> {
        let statistics = Statistics::of_pieces(tokenizer, safe_pieces(sample, PIECE_BYTES), LONGEST);
        let unreachable = tokenizer.unreachable_tokens();
        let Statistics { bytes, tokens, vocabulary_size, .. } = statistics;
        let (bytes_per_token, tokens_per_word) = (statistics.bytes_per_token(), statistics.tokens_per_word());
        if self.json.json {
            return print_json(&json!({
                "out": self.out, "vocabulary_size": vocabulary_size, "bytes": bytes, "tokens": tokens,
                "bytes_per_token": bytes_per_token, "tokens_per_word": tokens_per_word,
                "tokens_used": statistics.tokens_used, "unreachable": unreachable, "longest": statistics.longest,
            }));
        }
        let longest: Vec<String> = statistics.longest.iter().map(|token| shown(token.as_bytes())).collect();
        tell(&format!(
            "{tokens_per_word:.2} tokens per word, {} of the tokens used, {} that do not come back from their own text; longest: {}",
            units::count(statistics.tokens_used as u64),
            units::count(unreachable.len() as u64),
            longest.join(" "),
        ));
        print_line(&format!(
            "{}: {} tokens; the text's {} bytes are {} tokens, {bytes_per_token:.2} bytes each",
            self.out.display(),
            units::count(vocabulary_size as u64),
            units::count(bytes),
            units::count(tokens),
        ))
    }
}
