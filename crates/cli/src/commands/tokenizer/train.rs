//! `tsumugi tokenizer train`: a vocabulary from text.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;
use tsumugi_base::io::create_folder;
use tsumugi_base::units;
use tsumugi_tokenizer::bpe::Split;
use tsumugi_tokenizer::train::{TrainingConfig, byte_tokenizer, character_tokenizer, train_bpe};
use tsumugi_tokenizer::{Tokenizer, TokenizerError, special_tokens};

use crate::commands::Command;
use crate::flags::{Json, Threads};
use crate::interrupt;
use crate::output::{Answer, Failure, print_json, print_line};
use crate::progress::Progress;

/// Train a tokenizer on text
///
/// Byte-level BPE: every text can be encoded, and the same text gives the same tokenizer on any machine. The folder
/// then holds `tokenizer.json`, `tokenizer_config.json` and `special_tokens_map.json`, as `transformers` reads them.
#[derive(Debug, Args)]
pub struct Train {
    /// Text files in UTF-8
    #[arg(required = true, value_name = "TEXT")]
    texts: Vec<PathBuf>,
    /// The folder to write; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What a token is
    #[arg(long, value_enum, default_value_t = Kind::Bpe)]
    kind: Kind,
    /// Tokens in all: 256 bytes, the learned ones, 5 control tokens (bpe only) [default: 4096]
    #[arg(long, value_name = "N")]
    vocabulary: Option<usize>,
    /// How text is cut into words, which a token never crosses (bpe only) [default: gpt4]
    #[arg(long, value_enum)]
    split: Option<WordSplit>,
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
    /// a byte
    Bytes,
    /// a character that the text has
    Characters,
}

/// How text is cut into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum WordSplit {
    /// GPT-4's pattern, at most three digits together
    Gpt4,
    /// GPT-2's pattern
    Gpt2,
    /// not at all, which is slow on large texts
    None,
}

impl Command for Train {
    const NAME: &'static str = "train";
    const EXAMPLES: &'static str = "
        tsumugi tokenizer train input.txt --vocabulary 4096 --out runs/tokenizer
        tsumugi tokenizer train input.txt --kind characters --out runs/characters";

    fn run(self) -> Result<Answer, Failure> {
        self.refuse_inert()?;
        let file = self.out.join("tokenizer.json");
        if file.exists() {
            return Err(Failure::new(
                format!("{} is already there", file.display()),
                "name another folder with `--out`, or remove this file",
            ));
        }
        let texts = self.texts.iter().map(|path| tsumugi_data::read_text(path)).collect::<Result<Vec<_>, _>>()?;
        let tokenizer = self.train(&texts)?;
        create_folder(&self.out)?;
        tokenizer.save(&self.out)?;
        self.show(&tokenizer, &texts)?;
        Ok(Answer::Done)
    }
}

impl Train {
    fn train(&self, texts: &[String]) -> Result<Tokenizer, Failure> {
        let special_tokens = special_tokens::all();
        let trained = match self.kind {
            Kind::Bytes => byte_tokenizer(&special_tokens),
            Kind::Characters => character_tokenizer(&texts.concat(), &special_tokens),
            Kind::Bpe => {
                interrupt::listen("stopping")?;
                let mut config = TrainingConfig::default();
                config.vocabulary_size = self.vocabulary.unwrap_or(config.vocabulary_size);
                config.split = match self.split {
                    None | Some(WordSplit::Gpt4) => Split::Gpt4,
                    Some(WordSplit::Gpt2) => Split::Gpt2,
                    Some(WordSplit::None) => Split::None,
                };
                config.threads = self.threads.get().unwrap_or(config.threads);
                train_bpe(texts, &config, &Progress::new())
            }
        };
        trained.map_err(|error| match error {
            TokenizerError::Stopped { .. } => Failure::Stopped { message: "nothing was written".into() },
            other => other.into(),
        })
    }

    /// A flag that would change nothing is a misunderstanding.
    fn refuse_inert(&self) -> Result<(), Failure> {
        let given = [("vocabulary", self.vocabulary.is_some()), ("split", self.split.is_some())];
        match given.into_iter().find(|(_, given)| *given && self.kind != Kind::Bpe) {
            Some((flag, _)) => Err(Failure::new(
                format!("`--{flag}` has no effect on a tokenizer of bytes or characters"),
                "leave it out, or use `--kind bpe`",
            )),
            None => Ok(()),
        }
    }

    fn show(&self, tokenizer: &Tokenizer, texts: &[String]) -> Result<(), Failure> {
        let bytes: usize = texts.iter().map(String::len).sum();
        let tokens: usize = texts.iter().map(|text| tokenizer.encode(text).len()).sum();
        let bytes_per_token = bytes as f64 / tokens.max(1) as f64;
        let vocabulary_size = tokenizer.vocabulary_size();
        if self.json.json {
            return print_json(&json!({
                "out": self.out, "vocabulary_size": vocabulary_size, "bytes": bytes, "tokens": tokens,
                "bytes_per_token": bytes_per_token,
            }));
        }
        print_line(&format!(
            "{}: {} tokens; the text's {} bytes are {} tokens, {bytes_per_token:.2} bytes each",
            self.out.display(),
            units::count(vocabulary_size as u64),
            units::count(bytes as u64),
            units::count(tokens as u64),
        ))
    }
}
