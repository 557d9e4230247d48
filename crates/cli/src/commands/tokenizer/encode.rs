//! `tsumugi tokenizer encode`: text to ids.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tsumugi_tokenizer::{Side, truncate};

use super::inspect::shown;
use crate::commands::Command;
use crate::flags::{Json, Trust};
use crate::model;
use crate::output::{Answer, Failure, print_json, print_line};

/// Turn text into token ids
///
/// Control tokens in the text stay text. Nothing is put before it.
#[derive(Debug, Args)]
pub struct Encode {
    /// A model folder, or a vocabulary: tokenizer.json, tokenizer.model, *.tiktoken, tekken.json, *.gguf
    model: String,
    /// The text
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    text: Option<String>,
    /// Take the text from this file instead
    #[arg(long, value_name = "TEXT")]
    file: Option<PathBuf>,
    /// Keep only the first N tokens
    #[arg(long, value_name = "N")]
    truncate: Option<usize>,
    /// Say also which bytes of the text each token stands for (with --json)
    #[arg(long, requires = "json")]
    offsets: bool,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    json: Json,
}

impl Command for Encode {
    const NAME: &'static str = "encode";
    const EXAMPLES: &'static str = "
        tsumugi tokenizer encode runs/tokenizer 'To be, or not to be'
        tsumugi tokenizer encode runs/tokenizer --file input.txt --json";

    fn run(self) -> Result<Answer, Failure> {
        let (tokenizer, _) = model::tokenizer(&self.model, &self.trust)?;
        let text = match &self.file {
            Some(path) => tsumugi_data::read_text(path)?,
            None => self.text.unwrap_or_default(),
        };
        let mut ids = tokenizer.encode(&text);
        truncate(&mut ids, self.truncate.unwrap_or(usize::MAX), Side::Right);
        if self.json.json {
            let tokens: Vec<String> = ids.iter().map(|&id| shown(&tokenizer.token_bytes(id))).collect();
            let mut answer = json!({"ids": ids, "tokens": tokens});
            if self.offsets {
                let placed = tokenizer.encode_with_offsets(&text)?;
                answer["offsets"] = placed[..ids.len()].iter().map(|(_, at)| json!([at.start, at.end])).collect();
            }
            print_json(&answer)?;
        } else {
            print_line(&ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" "))?;
        }
        Ok(Answer::Done)
    }
}
