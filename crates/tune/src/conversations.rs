//! Where conversations come from: JSON lines of `{"messages": […]}`, or the dialogue of a drama.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tsumugi_base::jsonl;
use tsumugi_data::dialogue::{self, DialogueConfig};
use tsumugi_data::{DataError, read_text};
use tsumugi_tokenizer::Message;
use tsumugi_tokenizer::chat_template::ROLES;

use crate::TuneError;

/// What is in a file of conversations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A line of JSON per conversation: `{"messages": [{"role": …, "content": …}, …]}`.
    Messages,
    /// A drama: `NAME:`, a speech, an empty line; a speech is answered by the next one.
    Drama,
}

impl Format {
    /// By the file's ending: `.jsonl` and `.json` are messages.
    pub fn of(file: &Path) -> Self {
        match file.extension().and_then(|ending| ending.to_str()) {
            Some("jsonl" | "json") => Self::Messages,
            _ => Self::Drama,
        }
    }
}

/// Conversations to train on, and those held out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Conversations {
    /// Trained on.
    pub train: Vec<Vec<Message>>,
    /// Never trained on.
    pub held_out: Vec<Vec<Message>>,
    /// Where they stand, if they are of a file of messages.
    pub places: Option<Places>,
}

/// Where conversations stand in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Places {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1, of each conversation: those that are trained on, then those held out.
    pub lines: Vec<u64>,
}

#[derive(Debug, Deserialize)]
struct Line {
    messages: Vec<Message>,
}

impl Conversations {
    /// Of a drama. The last tenth of the text's bytes is held out, as in pre-training.
    pub fn of_drama(text: &str, config: &DialogueConfig) -> Result<Self, DataError> {
        let (train, held_out) = dialogue::split(text);
        let of = |text: &str| Ok::<_, DataError>(dialogue::conversations(&dialogue::speeches(text)?, config));
        Ok(Self { train: of(train)?, held_out: of(held_out).unwrap_or_default(), places: None })
    }

    /// Of a file. Of messages the last tenth, at least one, is held out: a file is in an order that its maker chose,
    /// and the same lines are held out whatever the seed.
    pub fn read(file: &Path, format: Format, config: &DialogueConfig) -> Result<Self, TuneError> {
        if format == Format::Drama {
            return Ok(Self::of_drama(&read_text(file)?, config)?);
        }
        let mut read = Self::of_messages(file)?;
        let count = read.train.len();
        if count < 2 {
            return Err(TuneError::TooFew { file: PathBuf::from(file), conversations: count });
        }
        read.held_out = read.train.split_off(count - (count / 10).max(1));
        Ok(read)
    }

    /// All conversations of a file of JSON lines, checked; none is held out.
    pub fn of_messages(file: &Path) -> Result<Self, TuneError> {
        let read: Vec<(u64, Line)> = jsonl::read_numbered(file)?;
        for (line, Line { messages }) in &read {
            let (file, line) = (file.to_owned(), *line);
            check(messages).map_err(|problem| TuneError::Conversation { file, line, problem })?;
        }
        let (lines, train) = read.into_iter().map(|(line, Line { messages })| (line, messages)).unzip();
        Ok(Self { train, held_out: Vec::new(), places: Some(Places { file: file.to_owned(), lines }) })
    }

    /// An error of packing the conversations that are trained on, or those held out, with the line of the one at fault.
    pub fn placed(&self, error: DataError, held_out: bool) -> TuneError {
        match (error, &self.places) {
            (DataError::Conversation { number, problem }, Some(Places { file, lines })) => {
                let index = number - 1 + if held_out { self.train.len() } else { 0 };
                TuneError::Rendering { file: file.clone(), line: lines[index], problem }
            }
            (error, _) => error.into(),
        }
    }
}

/// A conversation must have known roles, something to answer, and an answer.
fn check(messages: &[Message]) -> Result<(), String> {
    if let Some(unknown) = messages.iter().find(|message| !ROLES.contains(&message.role.as_str())) {
        return Err(format!("unknown role `{}`; known: {}", unknown.role, ROLES.join(", ")));
    }
    let Some(answer) = messages.iter().position(|message| message.role == "assistant") else {
        return Err("no message has the role `assistant`, so nothing is trained".into());
    };
    if answer == 0 {
        return Err("it begins with an answer; a `user` or `system` message must come before it".into());
    }
    Ok(())
}
