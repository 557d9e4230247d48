//! `tsumugi data preview`: which tokens of a conversation are trained.

use std::io;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tsumugi_data::dialogue::DialogueConfig;
use tsumugi_data::{ConversationConfig, ConversationLoader, PreviewStyle, preview, read_text};
use tsumugi_tokenizer::ChatTemplate;
use tsumugi_tune::Conversations;
use tsumugi_tune::conversations::Format;

use crate::commands::Command;
use crate::flags::{Json, Trust, positive};
use crate::model;
use crate::output::{Answer, Failure, colours, print, print_json};

/// Show which tokens of conversations are trained
///
/// Trained are the assistant's words and the token that ends them: green on a terminal, in ⟦ ⟧ elsewhere. FILE is JSON
/// lines with `{"messages": [{"role": ..., "content": ...}]}`, or else drama, whose speeches become conversations; its
/// last tenth, which is held out from training, is not shown.
#[derive(Debug, Args)]
pub struct Preview {
    /// Conversations as *.jsonl, or a drama as text
    file: PathBuf,
    /// The model folder whose tokenizer and chat template are used
    #[arg(long, value_name = "MODEL")]
    tokenizer: String,
    /// Positions of a sequence: longer conversations are cut as in training [default: uncut]
    #[arg(long, value_name = "N", value_parser = positive)]
    context: Option<usize>,
    /// Conversations to show, or parts where they are cut
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = positive)]
    count: usize,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    json: Json,
}

/// Longer than any conversation.
const WHOLE: usize = 1 << 30;

impl Command for Preview {
    const NAME: &'static str = "preview";
    const EXAMPLES: &'static str = "
        tsumugi data preview conversations.jsonl --tokenizer runs/quickstart/chat
        tsumugi data preview data/tinyshakespeare/input.txt --tokenizer runs/quickstart/chat --count 1";

    fn run(self) -> Result<Answer, Failure> {
        let (tokenizer, template) = model::tokenizer(&self.tokenizer, &self.trust)?;
        // A base model of ours has the control tokens already, and gets our template when it is tuned.
        let template = template.unwrap_or_else(ChatTemplate::own);
        let style = if colours(&io::stdout()) { PreviewStyle::Coloured } else { PreviewStyle::Marked };
        let conversations = match Format::of(&self.file) {
            Format::Messages => Conversations::of_messages(&self.file)?,
            Format::Drama => Conversations::of_drama(&read_text(&self.file)?, &DialogueConfig::default())?,
        };
        let context = self.context.unwrap_or(WHOLE);
        let config = ConversationConfig { context, batch: 1, micro_batches: 1, seed: 0 };
        let loader = ConversationLoader::new(&tokenizer, &template, &conversations.train, config)
            .map_err(|error| conversations.placed(error, false))?;
        for conversation in loader.parts().iter().take(self.count) {
            if self.json.json {
                print_json(&json!({"ids": conversation.ids, "trained": conversation.trained}))?;
            } else {
                let trained = conversation.trained.iter().filter(|&&trained| trained).count();
                let text = preview(&tokenizer, conversation, style);
                print(&format!("{text}\n\n{trained} of {} tokens are trained\n\n", conversation.ids.len()))?;
            }
        }
        Ok(Answer::Done)
    }
}
