//! What chat and completions share: the fields that say how to generate, and the way from there to an answer.
//!
//! One field is our own: `minimum_room` (tokens, default 1). A prompt that leaves less than that for the answer gets
//! `context_length_exceeded`, as if the context were so much smaller; the chat page asks with it for the room of a
//! fair answer before it drops old turns.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Json, Response};
use serde_json::{Value, json};
use tsumugi_infer::text::{
    Completion, FinishReason, GenerateError, Prompt, Request, SamplingParameters, TextModel, ranges,
};

use super::error::ApiError;
use super::fields::Fields;
use super::stream::EventStream;
use crate::routes::{App, now};
use crate::server::Client;
use crate::worker::{Generation, Update};

/// The API's limit.
const MAX_STOP_STRINGS: usize = 4;

/// The fields that both kinds of request have; for "did you mean".
pub const FIELDS: &[&str] = &[
    "model",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "seed",
    "max_tokens",
    "stop",
    "stream",
    "stream_options",
    "minimum_room",
];

/// Which of the two forms an answer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Chat,
    Text,
}

impl Form {
    /// The field of the request that holds the prompt, for errors.
    pub fn prompt_field(self) -> &'static str {
        match self {
            Self::Chat => "messages",
            Self::Text => "prompt",
        }
    }
}

/// A request that has been read.
pub struct Asked {
    pub model: Arc<dyn TextModel>,
    pub request: Request,
    pub form: Form,
    pub stream: bool,
    pub include_usage: bool,
    pub minimum_room: usize,
}

/// Reads the shared fields. The prompt is filled in by the caller, who also calls [`Fields::finish`].
pub fn read_shared(app: &App, fields: &mut Fields, form: Form) -> Result<Asked, ApiError> {
    let model = app.text_model(&fields.model()?)?.clone();
    let sampling = read_sampling(fields, &app.options.sampling)?;
    let most = fields.count("max_completion_tokens", 1)?.or(fields.count("max_tokens", 1)?);
    let request = Request {
        prompt: Prompt::Text(String::new()),
        sampling,
        max_tokens: most.map(to_usize),
        stop: read_stop(fields)?,
    };
    let stream = fields.boolean("stream")?.unwrap_or(false);
    let include_usage = read_stream_options(fields, stream)?;
    let minimum_room = fields.count("minimum_room", 1)?.map_or(1, to_usize);
    Ok(Asked { model, request, form, stream, include_usage, minimum_room })
}

fn to_usize(count: i64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn read_sampling(fields: &mut Fields, default: &SamplingParameters) -> Result<SamplingParameters, ApiError> {
    let temperature = fields.number("temperature", ranges::TEMPERATURE)?;
    let top_p = fields.number("top_p", ranges::TOP_P)?;
    let min_p = fields.number("min_p", ranges::MIN_P)?;
    let penalty = fields.number("repetition_penalty", ranges::REPETITION_PENALTY)?;
    // -1 and 0 both mean "all tokens" to servers that have this field.
    let top_k = match fields.count("top_k", -1)? {
        None => default.top_k,
        Some(k) if k <= 0 => None,
        Some(k) => Some(to_usize(k)),
    };
    let seed = match fields.take("seed") {
        None => fresh_seed(),
        Some(value) => value
            .as_u64()
            .or_else(|| value.as_i64().map(i64::cast_unsigned))
            .ok_or_else(|| ApiError::wrong_type("seed", "an integer of 64 bits", &value))?,
    };
    Ok(SamplingParameters {
        temperature: temperature.unwrap_or(default.temperature),
        top_k,
        top_p: top_p.unwrap_or(default.top_p),
        min_p: min_p.unwrap_or(default.min_p),
        repetition_penalty: penalty.unwrap_or(default.repetition_penalty),
        seed,
    })
}

/// Differs from request to request. The standard library seeds its hash maps from the system's randomness.
pub fn fresh_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn read_stop(fields: &mut Fields) -> Result<Vec<String>, ApiError> {
    let stop = match fields.take("stop") {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(items)) => items
            .into_iter()
            .enumerate()
            .map(|(index, item)| match item {
                Value::String(text) => Ok(text),
                other => Err(ApiError::wrong_type(&format!("stop[{index}]"), "a string", &other)),
            })
            .collect::<Result<_, _>>()?,
        Some(other) => return Err(ApiError::wrong_type("stop", "a string or an array of strings", &other)),
    };
    if stop.len() > MAX_STOP_STRINGS {
        let message = format!("`stop` has {} strings, but may have at most {MAX_STOP_STRINGS}", stop.len());
        return Err(ApiError::bad_value("stop", message));
    }
    if stop.iter().any(String::is_empty) {
        return Err(ApiError::bad_value("stop", "a string of `stop` is empty: every answer would end at once"));
    }
    Ok(stop)
}

/// `stream_options.include_usage`; `include_obfuscation` (padding against eavesdroppers) is accepted when off.
fn read_stream_options(fields: &mut Fields, stream: bool) -> Result<bool, ApiError> {
    let Some(value) = fields.take("stream_options") else { return Ok(false) };
    let mut options = Fields::from_object(value, "stream_options.")?;
    let include_usage = options.boolean("include_usage")?.unwrap_or(false);
    if options.boolean("include_obfuscation")? == Some(true) {
        let message = "`stream_options.include_obfuscation` is not supported by this server: leave it out";
        return Err(ApiError::unsupported("stream_options.include_obfuscation", message));
    }
    options.finish(&["include_usage"])?;
    if !stream {
        let message = "`stream_options` says how to stream: leave it out, or set `stream` to true";
        return Err(ApiError::bad_value("stream_options", message));
    }
    Ok(include_usage)
}

/// From the request to the answer, whole or streamed.
///
/// The status line of a stream waits until the prompt has been read, so that what is wrong with a prompt is an HTTP
/// error for both kinds of client.
pub async fn respond(app: &App, asked: Asked, client: &Client) -> Result<Response, ApiError> {
    check_room(&asked).await?;
    let envelope = Envelope::new(asked.form, asked.model.name());
    let mut generation = app.queue.submit(asked.model, asked.request).map_err(ApiError::refused)?;
    let prompt_field = asked.form.prompt_field();
    if !asked.stream {
        let completion = while_there(client, whole(&mut generation, prompt_field)).await?;
        return Ok(Json(envelope.answer(&completion)).into_response());
    }
    let first = while_there(client, first(&mut generation, prompt_field)).await?;
    let stream = EventStream::new(generation, envelope, asked.include_usage, first);
    let headers = [(CONTENT_TYPE, "text/event-stream; charset=utf-8"), (CACHE_CONTROL, "no-store, no-transform")];
    Ok((headers, Body::new(stream)).into_response())
}

/// A prompt that is too long is told so at once, not after waiting in the queue.
async fn check_room(asked: &Asked) -> Result<(), ApiError> {
    let (model, prompt) = (asked.model.clone(), asked.request.prompt.clone());
    // The prompt is the largest thing here; it moves to the counting thread and its copy goes away there.
    let counted = tokio::task::spawn_blocking(move || model.count_tokens(&prompt)).await;
    let field = asked.form.prompt_field();
    let prompt_tokens = counted
        .unwrap_or_else(|_| Err(GenerateError::Internal { reason: "the tokenizer panicked".into() }))
        .map_err(|error| ApiError::from_model(&error, field))?;
    let context_length = asked.model.context_length();
    if prompt_tokens >= context_length {
        let model = asked.model.name().to_owned();
        let error = GenerateError::ContextLengthExceeded { model, prompt_tokens, context_length };
        return Err(ApiError::from_model(&error, field));
    }
    let room = context_length - prompt_tokens;
    if room < asked.minimum_room {
        let message = format!(
            "the prompt has {prompt_tokens} tokens, which leaves {room} of the {context_length} that `{}` holds, but \
             `minimum_room` asks for {}",
            asked.model.name(),
            asked.minimum_room
        );
        return Err(ApiError::context_length(message, field));
    }
    Ok(())
}

/// Waits for an answer, but not longer than somebody waits for it.
pub async fn while_there<T>(client: &Client, answer: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    tokio::select! {
        answer = answer => answer,
        () = client.gone() => Err(ApiError::bad_request("the client closed the connection")),
    }
}

async fn first(generation: &mut Generation, prompt_field: &str) -> Result<Update, ApiError> {
    match generation.updates.recv().await {
        None => Err(ApiError::stopping()),
        Some(Update::Failed(error)) => Err(ApiError::from_model(&error, prompt_field)),
        Some(first) => Ok(first),
    }
}

async fn whole(generation: &mut Generation, prompt_field: &str) -> Result<Completion, ApiError> {
    loop {
        match generation.updates.recv().await {
            Some(Update::PromptRead | Update::Text(_)) => {}
            Some(Update::Done(completion)) if completion.finish_reason != FinishReason::Cancelled => {
                return Ok(completion);
            }
            Some(Update::Failed(error)) => return Err(ApiError::from_model(&error, prompt_field)),
            Some(Update::Done(_)) | None => return Err(ApiError::stopping()),
        }
    }
}

/// What surrounds every answer and every chunk of one request.
#[derive(Debug, Clone)]
pub struct Envelope {
    form: Form,
    id: String,
    created: u64,
    model: String,
}

impl Envelope {
    fn new(form: Form, model: &str) -> Self {
        let prefix = match form {
            Form::Chat => "chatcmpl",
            Form::Text => "cmpl",
        };
        Self { form, id: format!("{prefix}-{:016x}", fresh_seed()), created: now(), model: model.to_owned() }
    }

    fn wrap(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices,
        })
    }

    /// The whole answer at once.
    fn answer(&self, completion: &Completion) -> Value {
        let finish_reason = finish_reason(completion.finish_reason);
        let mut answer = match self.form {
            Form::Chat => self.wrap(
                "chat.completion",
                json!([{
                    "index": 0,
                    "message": { "role": "assistant", "content": completion.text, "refusal": null },
                    "logprobs": null,
                    "finish_reason": finish_reason,
                }]),
            ),
            Form::Text => self.wrap(
                "text_completion",
                json!([{
                    "index": 0, "text": completion.text, "logprobs": null, "finish_reason": finish_reason,
                }]),
            ),
        };
        answer["usage"] = usage(completion);
        answer["timings"] = timings(completion);
        answer
    }

    /// The chunk that opens a chat: who speaks. A text completion has none.
    pub fn opening(&self) -> Option<Value> {
        let delta = json!({ "role": "assistant", "content": "", "refusal": null });
        (self.form == Form::Chat).then(|| self.chat_chunk(delta, None))
    }

    /// More text.
    pub fn text(&self, text: &str) -> Value {
        match self.form {
            Form::Chat => self.chat_chunk(json!({ "content": text }), None),
            Form::Text => self.text_chunk(text, None),
        }
    }

    /// The last chunk with a choice: why it ended, and how long it took.
    pub fn closing(&self, completion: &Completion) -> Value {
        let reason = Some(finish_reason(completion.finish_reason));
        let mut chunk = match self.form {
            Form::Chat => self.chat_chunk(json!({}), reason),
            Form::Text => self.text_chunk("", reason),
        };
        chunk["timings"] = timings(completion);
        chunk
    }

    /// The chunk after the last, when `include_usage` was asked for.
    pub fn usage(&self, completion: &Completion) -> Value {
        let object = match self.form {
            Form::Chat => "chat.completion.chunk",
            Form::Text => "text_completion",
        };
        let mut chunk = self.wrap(object, json!([]));
        chunk["usage"] = usage(completion);
        chunk
    }

    fn chat_chunk(&self, delta: Value, finish_reason: Option<&str>) -> Value {
        let choice = json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason });
        self.wrap("chat.completion.chunk", json!([choice]))
    }

    fn text_chunk(&self, text: &str, finish_reason: Option<&str>) -> Value {
        let choice = json!({ "index": 0, "text": text, "logprobs": null, "finish_reason": finish_reason });
        self.wrap("text_completion", json!([choice]))
    }
}

fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        // A cancelled answer has nobody who reads this, or ends in an error before it comes here.
        FinishReason::Stop | FinishReason::Cancelled => "stop",
        FinishReason::Length => "length",
    }
}

fn usage(completion: &Completion) -> Value {
    let Completion { prompt_tokens, completion_tokens, .. } = completion;
    json!({
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    })
}

/// Beyond the API: the engine's own clock, for tokens per second.
fn timings(completion: &Completion) -> Value {
    json!({ "prompt_seconds": completion.prompt_seconds, "completion_seconds": completion.completion_seconds })
}
