//! Paths, the headers of every answer, and what is not the OpenAI API: `/health` and `/tsumugi/info`.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{Json, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tsumugi_infer::text::{TextModel, VectorModel};

use crate::openai::error::ApiError;
use crate::worker::Queue;
use crate::{Model, Options, guard, openai, web};

/// What every handler sees.
pub struct App {
    pub options: Options,
    pub models: Vec<Model>,
    pub queue: Arc<Queue>,
    /// Seconds since 1970 when the server started: `created` of the models.
    pub started: u64,
}

impl App {
    pub fn new(options: Options, models: Vec<Model>, queue: Arc<Queue>) -> Self {
        Self { options, models, queue, started: now() }
    }

    /// The model of text that a request names.
    pub fn text_model(&self, name: &str) -> Result<&Arc<dyn TextModel>, ApiError> {
        match self.model(name)? {
            Model::Text(model) => Ok(model),
            Model::Vectors(_) => Err(ApiError::wrong_kind(format!("`{name}` makes vectors: ask it at /v1/embeddings"))),
        }
    }

    /// The model of vectors that a request names.
    pub fn vector_model(&self, name: &str) -> Result<&Arc<dyn VectorModel>, ApiError> {
        match self.model(name)? {
            Model::Vectors(model) => Ok(model),
            Model::Text(_) => Err(ApiError::wrong_kind(format!(
                "`{name}` answers in text and makes no vectors; `tsumugi serve` beside it a model that does"
            ))),
        }
    }

    /// The model that a request names.
    pub fn model(&self, name: &str) -> Result<&Model, ApiError> {
        self.models.iter().find(|model| model.name() == name).ok_or_else(|| {
            let names: Vec<String> = self.models.iter().map(|model| format!("`{}`", model.name())).collect();
            let asked: String = name.chars().take(100).collect();
            ApiError::model_not_found(format!("there is no model `{asked}` here; there is {}", names.join(", ")))
        })
    }
}

/// Seconds since 1970; 0 on a machine whose clock is before that.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Every path of the server.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/tsumugi/info", get(info))
        .route("/v1/models", get(openai::models::list))
        .route("/v1/models/{*id}", get(openai::models::one))
        .route("/v1/completions", post(openai::completions::handle))
        .route("/v1/chat/completions", post(openai::chat::handle))
        .route("/v1/embeddings", post(openai::embeddings::handle))
        .merge(web::routes())
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown_path)
        .layer(from_fn_with_state(app.clone(), guard::check))
        .layer(from_fn(finish))
        .with_state(app)
}

/// The headers that every answer carries, whoever made it.
async fn finish(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed(&path)));
    }
    let headers = response.headers_mut();
    let fixed = [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CONTENT_SECURITY_POLICY, web::CONTENT_SECURITY_POLICY),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("x-frame-options"), "DENY"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn allowed(path: &str) -> &'static str {
    match path {
        "/v1/completions" | "/v1/chat/completions" | "/v1/embeddings" => "POST",
        _ => "GET, HEAD",
    }
}

async fn health(State(app): State<Arc<App>>) -> Json<Value> {
    let (running, waiting) = app.queue.load();
    Json(json!({ "status": "ok", "running": running, "waiting": waiting }))
}

/// What the chat page needs and the OpenAI API does not tell: of the models those that answer in text.
async fn info(State(app): State<Arc<App>>) -> Json<Value> {
    let models: Vec<Value> = app
        .models
        .iter()
        .filter_map(|model| match model {
            Model::Text(model) => Some(model),
            Model::Vectors(_) => None,
        })
        .map(|model| {
            json!({
                "id": model.name(), "context_length": model.context_length(), "chat": model.has_chat_template(),
                "suggested_system_messages": suggested(&app, model.as_ref()),
            })
        })
        .collect();
    let sampling = &app.options.sampling;
    Json(json!({
        "name": "tsumugi",
        "version": env!("CARGO_PKG_VERSION"),
        "models": models,
        "sampling": {
            "temperature": shortest(sampling.temperature),
            "top_p": shortest(sampling.top_p),
            "top_k": sampling.top_k,
            "min_p": shortest(sampling.min_p),
            "repetition_penalty": shortest(sampling.repetition_penalty),
        },
        "opening_prompts": app.options.opening_prompts,
    }))
}

/// What the model was taught, or what the server was told.
fn suggested<'a>(app: &'a App, model: &'a dyn TextModel) -> &'a [String] {
    match model.suggested_system_messages() {
        [] if model.has_chat_template() => &app.options.suggested_system_messages,
        own => own,
    }
}

/// 0.95 and not 0.949999988079071: the double with the same shortest decimal.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

async fn wrong_method(method: Method, request: Request) -> ApiError {
    let path = request.uri().path();
    ApiError::wrong_method(format!("{method} is not a method of {path}; use {}", allowed(path)))
}

async fn unknown_path(request: Request) -> ApiError {
    let path: String = request.uri().path().chars().take(100).collect();
    ApiError::unknown_path(format!(
        "there is nothing at {path}; the API is at /v1/models, /v1/completions, /v1/chat/completions and /v1/embeddings, the page at /",
    ))
}
