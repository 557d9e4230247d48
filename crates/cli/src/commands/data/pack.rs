//! `tsumugi data pack`: text to token shards.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tsumugi_base::units;
use tsumugi_data::pack_text;

use crate::commands::Command;
use crate::flags::{Json, Trust};
use crate::model;
use crate::output::{Answer, Failure, print_json, print_line};
use crate::progress::Progress;

/// Turn text into token shards
///
/// Each file is one document. The folder appears only when it is whole; the same command again checks it and does
/// nothing.
#[derive(Debug, Args)]
pub struct Pack {
    /// Text files in UTF-8
    #[arg(required = true, value_name = "TEXT")]
    texts: Vec<PathBuf>,
    /// A model folder, or a vocabulary: tokenizer.json, tokenizer.model, *.tiktoken, tekken.json, *.gguf
    #[arg(long, value_name = "MODEL")]
    tokenizer: String,
    /// The folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    json: Json,
}

impl Command for Pack {
    const NAME: &'static str = "pack";
    const EXAMPLES: &'static str = "tsumugi data pack input.txt --tokenizer runs/tokenizer --out runs/tokens";

    fn run(self) -> Result<Answer, Failure> {
        let (tokenizer, _) = model::tokenizer(&self.tokenizer, &self.trust)?;
        let texts = self.texts.iter().map(|path| tsumugi_data::read_text(path)).collect::<Result<Vec<_>, _>>()?;
        let progress = Progress::new();
        let shards = pack_text(&texts, &tokenizer, &self.out, &progress)?;
        drop(progress);
        let (tokens, documents, bytes) = (shards.len(), shards.documents().len() as u64, shards.text_bytes());
        let bytes_per_token = bytes as f64 / tokens.max(1) as f64;
        if self.json.json {
            print_json(&json!({
                "out": self.out, "tokens": tokens, "documents": documents, "bytes": bytes,
                "bytes_per_token": bytes_per_token,
            }))?;
        } else {
            print_line(&format!(
                "{}: {} tokens in {} {}, {bytes_per_token:.2} bytes each",
                self.out.display(),
                units::count(tokens),
                units::count(documents),
                if documents == 1 { "document" } else { "documents" },
            ))?;
        }
        Ok(Answer::Done)
    }
}
