//! `POST /v1/completions`.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::response::Response;
use serde_json::Value;
use tsumugi_infer::text::Prompt;

use super::body::read_fields;
use super::error::ApiError;
use super::fields::token_ids;
use super::generation::{self, Form};
use crate::routes::App;
use crate::server::Client;

/// What the API gives a request that says nothing.
const DEFAULT_MAX_TOKENS: usize = 16;

/// Continues a text.
pub async fn handle(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    request: Request,
) -> Result<Response, ApiError> {
    let mut fields = read_fields(request, app.options.max_body_bytes).await?;
    let mut asked = generation::read_shared(&app, &mut fields, Form::Text)?;
    asked.request.prompt = read_prompt(fields.require("prompt")?)?;
    asked.request.max_tokens.get_or_insert(DEFAULT_MAX_TOKENS);
    fields.finish(&[generation::FIELDS, &["prompt"]].concat())?;
    generation::respond(&app, asked, &client).await
}

/// A string, an array of token ids, or an array that holds one of either.
fn read_prompt(value: Value) -> Result<Prompt, ApiError> {
    const EXPECTED: &str = "a string or an array of token ids";
    match value {
        Value::String(text) => Ok(Prompt::Text(text)),
        Value::Array(items) if items.first().is_some_and(Value::is_number) => read_tokens(items),
        Value::Array(mut items) => match (items.pop(), items.is_empty()) {
            (None, _) => Err(ApiError::bad_value("prompt", "`prompt` is empty: give at least one token of text")),
            (Some(_), false) => {
                let message = "this server continues one prompt per request: send the others in requests of their own";
                Err(ApiError::unsupported("prompt", message))
            }
            (Some(Value::String(text)), true) => Ok(Prompt::Text(text)),
            (Some(Value::Array(tokens)), true) => read_tokens(tokens),
            (Some(other), true) => Err(ApiError::wrong_type("prompt[0]", EXPECTED, &other)),
        },
        other => Err(ApiError::wrong_type("prompt", EXPECTED, &other)),
    }
}

fn read_tokens(items: Vec<Value>) -> Result<Prompt, ApiError> {
    token_ids("prompt", items).map(Prompt::Tokens)
}
