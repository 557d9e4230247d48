//! `tsumugi tokenizer decode`: ids to text.

use clap::Args;
use serde_json::json;

use crate::commands::Command;
use crate::flags::{Json, Trust};
use crate::model;
use crate::output::{Answer, Failure, for_stdout, print_json, print_line};

/// Turn token ids into text
///
/// Control tokens are left out; bytes that are no UTF-8 become U+FFFD.
#[derive(Debug, Args)]
pub struct Decode {
    /// A model folder, or a vocabulary: tokenizer.json, tokenizer.model, *.tiktoken, tekken.json, *.gguf
    model: String,
    /// Token ids
    #[arg(required = true, value_name = "ID")]
    ids: Vec<u32>,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    json: Json,
}

impl Command for Decode {
    const NAME: &'static str = "decode";
    const EXAMPLES: &'static str = "tsumugi tokenizer decode runs/tokenizer 721 310 11 528";

    fn run(self) -> Result<Answer, Failure> {
        let (tokenizer, _) = model::tokenizer(&self.model, &self.trust)?;
        let size = tokenizer.vocabulary_size();
        if let Some(id) = self.ids.iter().find(|&&id| id as usize >= size) {
            return Err(Failure::new(
                format!("there is no token {id}: {} has {size} tokens", self.model),
                format!("ids go from 0 to {}", size.saturating_sub(1)),
            ));
        }
        let text = tokenizer.decode(&self.ids);
        if self.json.json {
            print_json(&json!({"text": text}))?;
        } else {
            print_line(&for_stdout(&text))?;
        }
        Ok(Answer::Done)
    }
}
