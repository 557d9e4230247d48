//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::response::Response;
use serde_json::Value;
use tsumugi_infer::text::Prompt;
use tsumugi_tokenizer::Message;

use super::body::read_fields;
use super::error::ApiError;
use super::fields::Fields;
use super::generation::{self, Form};
use crate::routes::App;
use crate::server::Client;

/// Answers the last message of a conversation.
pub async fn handle(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    request: Request,
) -> Result<Response, ApiError> {
    let mut fields = read_fields(request, app.options.max_body_bytes).await?;
    let mut asked = generation::read_shared(&app, &mut fields, Form::Chat)?;
    asked.request.prompt = Prompt::Chat(read_messages(fields.require("messages")?)?);
    let known = [generation::FIELDS, &["messages", "max_completion_tokens"]].concat();
    fields.finish(&known)?;
    if !asked.model.has_chat_template() {
        let message = format!("`{}` has no chat template: ask it at /v1/completions", asked.model.name());
        return Err(ApiError::bad_value("model", message));
    }
    generation::respond(&app, asked, &client).await
}

fn read_messages(value: Value) -> Result<Vec<Message>, ApiError> {
    let Value::Array(items) = value else {
        return Err(ApiError::wrong_type("messages", "an array of messages", &value));
    };
    if items.is_empty() {
        return Err(ApiError::bad_value("messages", "`messages` is empty: give at least one message"));
    }
    items.into_iter().enumerate().map(|(index, item)| read_message(index, item)).collect()
}

fn read_message(index: usize, value: Value) -> Result<Message, ApiError> {
    let mut fields = Fields::from_object(value, &format!("messages[{index}]."))?;
    let role_name = fields.name_of("role");
    let role = match fields.string("role")?.ok_or_else(|| ApiError::missing(&role_name))?.as_str() {
        "system" | "developer" => "system",
        "user" => "user",
        "assistant" => "assistant",
        role @ ("tool" | "function") => {
            let message = format!("`{role_name}` is `{role}`, but this server's models call no tools");
            return Err(ApiError::unsupported(&role_name, message));
        }
        other => {
            let other: String = other.chars().take(50).collect();
            let message = format!("`{role_name}` is `{other}`, but must be `system`, `user` or `assistant`");
            return Err(ApiError::bad_value(&role_name, message));
        }
    };
    let name = fields.string("name")?;
    let content = fields.take("content");
    // What clients send back of an answer of ours: all null or empty.
    for absent in ["refusal", "annotations", "reasoning_content", "reasoning"] {
        if let Some(Value::String(text)) = fields.take(absent)
            && !text.is_empty()
        {
            let param = fields.name_of(absent);
            return Err(ApiError::unsupported(&param, format!("`{param}` is not supported: leave it out")));
        }
    }
    let content_name = fields.name_of("content");
    fields.finish(&["role", "content", "name"])?;
    let content = read_content(content.ok_or_else(|| ApiError::missing(&content_name))?, &content_name)?;
    Ok(Message { role: role.to_owned(), content, name })
}

/// A string, or an array of `{"type": "text", "text": ...}`, which are joined.
fn read_content(value: Value, path: &str) -> Result<String, ApiError> {
    let parts = match value {
        Value::String(text) => return Ok(text),
        Value::Array(parts) => parts,
        other => return Err(ApiError::wrong_type(path, "a string or an array of text parts", &other)),
    };
    let mut content = String::new();
    for (index, part) in parts.into_iter().enumerate() {
        let mut fields = Fields::from_object(part, &format!("{path}[{index}]."))?;
        let kind_name = fields.name_of("type");
        let kind = fields.string("type")?.ok_or_else(|| ApiError::missing(&kind_name))?;
        if kind != "text" {
            let kind: String = kind.chars().take(50).collect();
            let message = format!("`{kind_name}` is `{kind}`, but this server reads only `text`");
            return Err(ApiError::unsupported(&kind_name, message));
        }
        let text_name = fields.name_of("text");
        content.push_str(&fields.string("text")?.ok_or_else(|| ApiError::missing(&text_name))?);
        fields.finish(&["type", "text"])?;
    }
    Ok(content)
}
