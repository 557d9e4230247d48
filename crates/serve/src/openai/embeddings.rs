//! `POST /v1/embeddings`: texts to vectors.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Json, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;
use tsumugi_infer::text::{Embeddings, TextInput};

use super::body::read_fields;
use super::error::ApiError;
use super::fields::{Fields, token_ids};
use super::generation::while_there;
use crate::routes::App;
use crate::server::Client;

/// The API's limit of one request.
const INPUTS_MAX: usize = 2048;

const FIELDS: &[&str] = &["model", "input", "encoding_format", "dimensions"];

/// How vectors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    /// An array of numbers.
    Float,
    /// The bytes of float32 numbers, little-endian, in base64: what the official client asks for.
    Base64,
}

#[derive(Serialize)]
struct Answer<'a> {
    object: &'static str,
    data: Vec<Item<'a>>,
    model: &'a str,
    usage: Usage,
}

#[derive(Serialize)]
struct Item<'a> {
    object: &'static str,
    index: usize,
    embedding: Written<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Written<'a> {
    Numbers(&'a [f32]),
    Base64(String),
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

/// Vectors of one or several inputs, in their order.
pub async fn handle(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    request: Request,
) -> Result<Response, ApiError> {
    let mut fields = read_fields(request, app.options.max_body_bytes).await?;
    let model = app.vector_model(&fields.model()?)?.clone();
    let inputs = read_inputs(fields.require("input")?)?;
    let encoding = read_encoding(&mut fields)?;
    check_dimensions(&mut fields, model.dimensions())?;
    fields.finish(FIELDS)?;
    let mut vectors = app.queue.submit_inputs(model.clone(), inputs).map_err(ApiError::refused)?;
    let answer = async { (&mut vectors.answer).await.map_err(|_| ApiError::stopping()) };
    let embeddings = while_there(&client, answer).await?.map_err(|failed| ApiError::from_vectors(&failed))?;
    Ok(Json(Answer::of(model.name(), &embeddings, encoding)).into_response())
}

impl<'a> Answer<'a> {
    fn of(model: &'a str, embeddings: &'a Embeddings, encoding: Encoding) -> Self {
        let item = |(index, vector): (usize, &'a [f32])| {
            let bytes = || vector.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
            let embedding = match encoding {
                Encoding::Float => Written::Numbers(vector),
                Encoding::Base64 => Written::Base64(STANDARD.encode(bytes())),
            };
            Item { object: "embedding", index, embedding }
        };
        let (data, tokens) = (embeddings.rows().enumerate().map(item).collect(), embeddings.tokens);
        Self { object: "list", data, model, usage: Usage { prompt_tokens: tokens, total_tokens: tokens } }
    }
}

/// A string, an array of token ids, or an array of either.
fn read_inputs(value: Value) -> Result<Vec<TextInput>, ApiError> {
    let items = match value {
        Value::String(text) => return Ok(vec![TextInput::Text(text)]),
        Value::Array(items) if items.first().is_some_and(Value::is_number) => {
            return Ok(vec![TextInput::Tokens(token_ids("input", items)?)]);
        }
        Value::Array(items) => items,
        other => return Err(ApiError::wrong_type("input", "a string, an array of strings or of token ids", &other)),
    };
    if items.is_empty() {
        return Err(ApiError::bad_value("input", "`input` is empty: give at least one text"));
    }
    if items.len() > INPUTS_MAX {
        let message = format!("`input` has {} texts, but a request may have at most {INPUTS_MAX}", items.len());
        return Err(ApiError::bad_value("input", message));
    }
    let read = |(index, item)| match item {
        Value::String(text) => Ok(TextInput::Text(text)),
        Value::Array(tokens) => token_ids(&format!("input[{index}]"), tokens).map(TextInput::Tokens),
        other => Err(ApiError::wrong_type(&format!("input[{index}]"), "a string or an array of token ids", &other)),
    };
    items.into_iter().enumerate().map(read).collect()
}

fn read_encoding(fields: &mut Fields) -> Result<Encoding, ApiError> {
    match fields.string("encoding_format")?.as_deref() {
        None | Some("float") => Ok(Encoding::Float),
        Some("base64") => Ok(Encoding::Base64),
        Some(other) => {
            let other: String = other.chars().take(100).collect();
            let message = format!("`encoding_format` is `{other}`, but must be `float` or `base64`");
            Err(ApiError::bad_value("encoding_format", message))
        }
    }
}

/// The beginning of a vector means something only where a model was trained for it, which its files do not say.
fn check_dimensions(fields: &mut Fields, width: usize) -> Result<(), ApiError> {
    match fields.count("dimensions", 1)? {
        Some(asked) if usize::try_from(asked) != Ok(width) => {
            let message =
                format!("`dimensions` is {asked}, but this model's vectors have {width} numbers: leave it out");
            Err(ApiError::unsupported("dimensions", message))
        }
        _ => Ok(()),
    }
}
