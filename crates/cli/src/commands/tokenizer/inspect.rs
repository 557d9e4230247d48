//! `tsumugi tokenizer inspect`: what a vocabulary holds.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use tsumugi_base::units;
use tsumugi_tokenizer::{ChatTemplate, TokenId, Tokenizer};

use crate::commands::Command;
use crate::flags::{Json, Trust};
use crate::model;
use crate::output::{Answer, Failure, harmless, print, print_json};

/// Show what a tokenizer holds
///
/// Its size, its control tokens, its longest tokens, whether there is a chat template; with a text, how well it
/// compresses it.
#[derive(Debug, Args)]
pub struct Inspect {
    /// A model folder, or a vocabulary: tokenizer.json, tokenizer.model, *.tiktoken, tekken.json, *.gguf
    model: String,
    /// A text to measure it on
    #[arg(long, value_name = "TEXT")]
    file: Option<PathBuf>,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    json: Json,
}

/// Longest tokens that are shown.
const LONGEST: usize = 10;

impl Command for Inspect {
    const NAME: &'static str = "inspect";
    const EXAMPLES: &'static str = "tsumugi tokenizer inspect runs/tokenizer --file input.txt";

    fn run(self) -> Result<Answer, Failure> {
        let (tokenizer, template) = model::tokenizer(&self.model, &self.trust)?;
        let measured = match &self.file {
            Some(path) => {
                let text = tsumugi_data::read_text(path)?;
                Some((text.len(), tokenizer.encode(&text).len()))
            }
            None => None,
        };
        if self.json.json {
            print_json(&as_json(&tokenizer, template.as_ref(), measured))?;
        } else {
            print(&as_text(&tokenizer, template.as_ref(), measured))?;
        }
        Ok(Answer::Done)
    }
}

fn as_json(tokenizer: &Tokenizer, template: Option<&ChatTemplate>, measured: Option<(usize, usize)>) -> Value {
    let special: Vec<Value> = tokenizer
        .special_tokens()
        .iter()
        .map(|token| json!({"id": token.id, "content": token.content, "control": token.control}))
        .collect();
    let longest: Vec<Value> = longest(tokenizer)
        .into_iter()
        .map(|id| json!({"id": id, "token": shown(&tokenizer.token_bytes(id))}))
        .collect();
    json!({
        "vocabulary_size": tokenizer.vocabulary_size(),
        "special_tokens": special,
        "prefix": tokenizer.prefix(),
        "suffix": tokenizer.suffix(),
        "chat_template": template.map(ChatTemplate::source),
        "longest": longest,
        "bytes": measured.map(|(bytes, _)| bytes),
        "tokens": measured.map(|(_, tokens)| tokens),
        "bytes_per_token": measured.map(|(bytes, tokens)| bytes as f64 / tokens.max(1) as f64),
    })
}

fn as_text(tokenizer: &Tokenizer, template: Option<&ChatTemplate>, measured: Option<(usize, usize)>) -> String {
    let special: Vec<String> =
        tokenizer.special_tokens().iter().map(|token| format!("{} {}", token.id, harmless(&token.content))).collect();
    let listed = |ids: &[TokenId]| ids.iter().map(|&id| shown(&tokenizer.token_bytes(id))).collect();
    let longest: Vec<String> =
        longest(tokenizer).into_iter().map(|id| format!("{id} {}", shown(&tokenizer.token_bytes(id)))).collect();
    let or_none = |list: Vec<String>| if list.is_empty() { "none".into() } else { list.join(", ") };
    let mut text = format!(
        "tokens         {}\nspecial        {}\nbefore a text  {}\nafter a text   {}\nchat template  {}\nlongest        {}\n",
        units::count(tokenizer.vocabulary_size() as u64),
        or_none(special),
        or_none(listed(tokenizer.prefix())),
        or_none(listed(tokenizer.suffix())),
        if template.is_some() { "yes" } else { "no" },
        or_none(longest),
    );
    if let Some((bytes, tokens)) = measured {
        text.push_str(&format!(
            "the text       {} bytes, {} tokens, {:.2} bytes per token\n",
            units::count(bytes as u64),
            units::count(tokens as u64),
            bytes as f64 / tokens.max(1) as f64,
        ));
    }
    text
}

/// The longest tokens that are no control tokens, in bytes; of equal ones the smaller id first.
fn longest(tokenizer: &Tokenizer) -> Vec<TokenId> {
    let mut ids: Vec<TokenId> =
        (0..tokenizer.vocabulary_size() as TokenId).filter(|&id| !tokenizer.is_special(id)).collect();
    ids.sort_by_key(|&id| (std::cmp::Reverse(tokenizer.token_bytes(id).len()), id));
    ids.truncate(LONGEST);
    ids
}

/// A token's bytes as text on one line: a space is `·`, and what a line cannot show is escaped.
pub(super) fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                ' ' => text.push('·'),
                c if c.is_control() || c.is_whitespace() => text.extend(c.escape_default()),
                c => text.push(c),
            }
        }
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_token_is_shown_on_one_line() {
        assert_eq!(shown(" wörld\n\t".as_bytes()), "·wörld\\n\\t");
        assert_eq!(shown(&[b'a', 0xc3, 0xff]), "a\\xc3\\xff");
    }
}
