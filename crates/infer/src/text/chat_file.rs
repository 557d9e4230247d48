//! `chat.json` of a model folder, a file of ours: how the model was taught to be talked with. A folder without it is as
//! good; whoever teaches a model may write it.

use serde_json::{Value, json};
use tsumugi_files::{Admitted, ModelFiles};

use super::local::LoadError;

/// Its name.
pub const CHAT_FILE: &str = "chat.json";

const SUGGESTED: &str = "suggested_system_messages";

/// The text of a `chat.json`: system messages that the model knows, the one to begin with first.
pub fn chat_file(suggested_system_messages: &[String]) -> String {
    format!("{:#}\n", json!({ SUGGESTED: suggested_system_messages }))
}

/// The system messages that a model suggests; none without the file.
pub(super) fn suggested_system_messages(model: &Admitted<ModelFiles>) -> Result<Vec<String>, LoadError> {
    let Some(mut file) = model.json(CHAT_FILE)? else { return Ok(Vec::new()) };
    let suggested = match file.get_mut(SUGGESTED).map(Value::take) {
        None => return Ok(Vec::new()),
        Some(Value::Array(items)) => items.into_iter().map(as_text).collect(),
        Some(_) => None,
    };
    let reason = || format!("`{SUGGESTED}` must be an array of strings");
    suggested.ok_or_else(|| LoadError::Content { file: model.files().path().join(CHAT_FILE), reason: reason() })
}

fn as_text(item: Value) -> Option<String> {
    match item {
        Value::String(text) => Some(text),
        _ => None,
    }
}
