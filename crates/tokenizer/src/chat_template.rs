//! Chat templates: Jinja as Hugging Face uses it (`tokenizer_config.json`, key `chat_template`), rendered with
//! minijinja, and turned into token ids in such a way that no message can forge a control token.
//!
//! # How messages are kept from being control
//!
//! Before rendering, every text of a message in which a control token's characters occur (`<|end|>`) gets a mark, a
//! private-use character that occurs nowhere else, inside of that occurrence. After rendering, what is still a
//! control token was written by the template. Then the marks are dropped, and the text between control tokens is
//! encoded as plain text. Template operations on content (trim, split, concatenation) see nothing unusual in all other
//! messages. Parts of a control token at the border of a text are marked too, so that neighbours cannot complete it.

mod environment;
mod guard;
mod python;

use serde_json::Value as Json;
use tsumugi_files::gguf::{self, Metadata};

use crate::{Message, TokenId, Tokenizer, TokenizerError};
use guard::Guard;

/// Our own chat template: `<|endoftext|>`, then each turn as `<|role|>[name:⏎]content<|end|>`.
pub const OWN_TEMPLATE: &str = concat!(
    "{{ bos_token }}",
    "{% for message in messages %}",
    "{% if message.role == 'system' %}<|system|>",
    "{% elif message.role == 'user' %}<|user|>",
    "{% elif message.role == 'assistant' %}<|assistant|>",
    "{% else %}{{ raise_exception('unknown role ' + message.role + '; known: system, user, assistant') }}",
    "{% endif %}",
    "{% if message.name %}{{ message.name + ':\\n' }}{% endif %}",
    "{{ message.content }}<|end|>",
    "{% endfor %}",
    "{% if add_generation_prompt %}<|assistant|>{% endif %}",
);

/// The roles that the world's templates know. Others are refused before rendering: some templates write the role
/// itself into a control token (`<|role|>`).
pub const ROLES: [&str; 7] = ["system", "developer", "user", "assistant", "tool", "function", "ipython"];

/// How a model writes a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatTemplate {
    source: String,
    bos_token: Option<String>,
    eos_token: Option<String>,
}

/// A conversation as a model is trained on it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrainingConversation {
    /// The whole conversation.
    pub ids: Vec<TokenId>,
    /// For each id whether the model is trained to say it: the assistant's text and the token that ends its turn.
    pub trained: Vec<bool>,
}

impl ChatTemplate {
    /// A template by its source; compiled at once, so that a broken one is found here.
    pub fn new(source: &str, bos_token: Option<&str>, eos_token: Option<&str>) -> Result<Self, TokenizerError> {
        let owned = |token: Option<&str>| token.map(str::to_owned);
        let template = Self { source: source.to_owned(), bos_token: owned(bos_token), eos_token: owned(eos_token) };
        environment::check(&template)?;
        Ok(template)
    }

    /// The one in the metadata of a GGUF file.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self, TokenizerError> {
        let text = |key: &str| metadata.get(key).and_then(gguf::Value::as_str);
        let missing = || TokenizerError::NoTemplate { reason: "the file has no `tokenizer.chat_template`".into() };
        let tokens = match metadata.get("tokenizer.ggml.tokens") {
            Some(gguf::Value::Array(gguf::Array::String(tokens))) => &tokens[..],
            _ => &[],
        };
        let token = |key: &str| {
            let id = metadata.get(&format!("tokenizer.ggml.{key}_token_id")).and_then(gguf::Value::as_u64)?;
            tokens.get(usize::try_from(id).ok()?).map(String::as_str)
        };
        Self::new(text("tokenizer.chat_template").ok_or_else(missing)?, token("bos"), token("eos"))
    }

    /// Our own ([`OWN_TEMPLATE`]).
    pub fn own() -> Self {
        use crate::special_tokens::{END, END_OF_TEXT};
        Self { source: OWN_TEMPLATE.into(), bos_token: Some(END_OF_TEXT.into()), eos_token: Some(END.into()) }
    }

    /// Reads `chat_template`, `bos_token` and `eos_token` of a `tokenizer_config.json`. Of several named templates
    /// it takes `default`.
    pub fn from_tokenizer_config(config: &Json) -> Result<Self, TokenizerError> {
        let source = match config.get("chat_template") {
            Some(Json::String(source)) => source.as_str(),
            Some(Json::Array(named)) => named
                .iter()
                .find(|entry| entry.get("name").and_then(Json::as_str) == Some("default"))
                .and_then(|entry| entry.get("template")?.as_str())
                .ok_or_else(|| TokenizerError::NoTemplate {
                    reason: format!("none of the {} named templates is called `default`", named.len()),
                })?,
            _ => {
                return Err(TokenizerError::NoTemplate {
                    reason: "tokenizer_config.json has no `chat_template`".into(),
                });
            }
        };
        let token = |name: &str| match config.get(name) {
            Some(Json::String(token)) => Some(token.as_str()),
            Some(added) => added.get("content").and_then(Json::as_str),
            None => None,
        };
        Self::new(source, token("bos_token"), token("eos_token"))
    }

    /// The Jinja text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What `bos_token` is in the template.
    pub fn bos_token(&self) -> Option<&str> {
        self.bos_token.as_deref()
    }

    /// What `eos_token` is in the template: what ends a turn of most models.
    pub fn eos_token(&self) -> Option<&str> {
        self.eos_token.as_deref()
    }

    /// The conversation as text. For reading: encoding this text would let messages forge control tokens; use
    /// [`Self::encode_chat`].
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, TokenizerError> {
        for message in messages {
            if !ROLES.contains(&message.role.as_str()) {
                return Err(TokenizerError::UnknownRole { role: message.role.clone() });
            }
        }
        environment::render(self, messages, add_generation_prompt)
    }

    /// The conversation as token ids. No text of a message becomes a control token.
    pub fn encode_chat(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<Vec<TokenId>, TokenizerError> {
        let guard = Guard::new(tokenizer, messages);
        let text = self.render(&guard.protect(messages), add_generation_prompt)?;
        Ok(guard.encode(&text))
    }

    /// The conversation as token ids with the exact loss mask: trained are the content of the assistant's messages
    /// and the control token that ends them. What precedes an answer is encoded by itself, as it is when the model
    /// answers, so that training and use see the same ids.
    pub fn encode_conversation(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
    ) -> Result<TrainingConversation, TokenizerError> {
        let guard = Guard::new(tokenizer, messages);
        let protected = guard.protect(messages);
        let whole = self.render(&protected, false)?;
        let mut conversation = TrainingConversation::default();
        let mut done = 0;
        for (index, _) in messages.iter().enumerate().filter(|(_, message)| message.role == "assistant") {
            let before = self.render(&protected[..index], true)?;
            let through = self.render(&protected[..=index], false)?;
            if !whole.starts_with(&through) || !through.starts_with(&before) || before.len() < done {
                return Err(TokenizerError::NotIncremental { index });
            }
            let answer_end = before.len() + guard.end_of_turn(&through[before.len()..]);
            conversation.push(&guard.encode(&whole[done..before.len()]), false);
            conversation.push(&guard.encode(&whole[before.len()..answer_end]), true);
            done = answer_end;
        }
        conversation.push(&guard.encode(&whole[done..]), false);
        Ok(conversation)
    }
}

impl TrainingConversation {
    fn push(&mut self, ids: &[TokenId], trained: bool) {
        self.ids.extend_from_slice(ids);
        self.trained.resize(self.ids.len(), trained);
    }
}
