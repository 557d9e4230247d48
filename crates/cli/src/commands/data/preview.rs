//! `tsumugi data preview`: which tokens of a conversation are trained.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use serde_json::json;
use tsumugi_base::jsonl;
use tsumugi_data::dialogue::{DialogueConfig, conversations, speeches};
use tsumugi_data::{PreviewStyle, preview, read_text};
use tsumugi_tokenizer::{ChatTemplate, Message};

use crate::commands::Command;
use crate::flags::{Json, positive};
use crate::model;
use crate::output::{Answer, Failure, colours, print, print_json};

/// Show which tokens of conversations are trained
///
/// Trained are the assistant's words and the token that ends them: green on a terminal, in ⟦ ⟧ elsewhere. FILE is JSON
/// lines with `{"messages": [{"role": ..., "content": ...}]}`, or else drama, whose speeches become conversations.
#[derive(Debug, Args)]
pub struct Preview {
    /// Conversations as *.jsonl, or a drama as text
    file: PathBuf,
    /// The model folder whose tokenizer and chat template are used
    #[arg(long, value_name = "MODEL")]
    tokenizer: String,
    /// Conversations to show
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = positive)]
    count: usize,
    #[command(flatten)]
    json: Json,
}

#[derive(Deserialize)]
struct Line {
    messages: Vec<Message>,
}

impl Command for Preview {
    const NAME: &'static str = "preview";
    const EXAMPLES: &'static str = "
        tsumugi data preview conversations.jsonl --tokenizer runs/quickstart/chat
        tsumugi data preview data/tinyshakespeare/input.txt --tokenizer runs/quickstart/chat --count 1";

    fn run(self) -> Result<Answer, Failure> {
        let (tokenizer, template) = model::tokenizer(&self.tokenizer)?;
        // A base model of ours has the control tokens already, and gets our template when it is tuned.
        let template = template.unwrap_or_else(ChatTemplate::own);
        let style = if colours(&io::stdout()) { PreviewStyle::Coloured } else { PreviewStyle::Marked };
        for messages in read_conversations(&self.file)?.into_iter().take(self.count) {
            let conversation = template.encode_conversation(&tokenizer, &messages)?;
            if self.json.json {
                print_json(&json!({"ids": conversation.ids, "trained": conversation.trained}))?;
            } else {
                let trained = conversation.trained.iter().filter(|&&trained| trained).count();
                let text = preview(&tokenizer, &conversation, style);
                print(&format!("{text}\n\n{trained} of {} tokens are trained\n\n", conversation.ids.len()))?;
            }
        }
        Ok(Answer::Done)
    }
}

fn read_conversations(path: &Path) -> Result<Vec<Vec<Message>>, Failure> {
    if path.extension().is_some_and(|extension| extension == "jsonl") {
        let lines: Vec<Line> = jsonl::read(path)?;
        return Ok(lines.into_iter().map(|line| line.messages).collect());
    }
    let text = read_text(path)?;
    Ok(conversations(&speeches(&text)?, &DialogueConfig::default()))
}
