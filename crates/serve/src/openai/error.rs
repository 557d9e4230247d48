//! Errors in the API's shape: `{"error": {"message", "type", "param", "code"}}`.

use axum::http::StatusCode;
use axum::http::header::{CONNECTION, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Json, Response};
use serde_json::{Value, json};
use tsumugi_infer::text::{EmbedError, GenerateError};

use crate::worker::{Refused, VectorsFailed};

/// What a client of a full server should wait.
const RETRY_AFTER_SECONDS: u64 = 2;

/// A request that gets no answer, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError {
    pub status: StatusCode,
    pub message: String,
    /// The API's `type`.
    pub kind: &'static str,
    /// The field of the request that is at fault.
    pub param: Option<String>,
    pub code: Option<&'static str>,
}

const INVALID: &str = "invalid_request_error";
const SERVER: &str = "server_error";

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, code: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), kind, param: None, code }
    }

    /// Names the field at fault.
    pub fn at(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// The request as a whole is wrong.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, INVALID, None, message)
    }

    /// The body is not a JSON object.
    pub fn bad_json(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, INVALID, Some("invalid_json"), message)
    }

    /// A field is not there.
    pub fn missing(param: &str) -> Self {
        let message = format!("the request has no `{param}`, which is required");
        Self::new(StatusCode::BAD_REQUEST, INVALID, Some("missing_required_parameter"), message).at(param)
    }

    /// A field is of another type.
    pub fn wrong_type(param: &str, expected: &str, found: &Value) -> Self {
        let message = format!("`{param}` must be {expected}, but is {}", type_name(found));
        Self::new(StatusCode::BAD_REQUEST, INVALID, Some("invalid_type"), message).at(param)
    }

    /// A field is out of its range.
    pub fn bad_value(param: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, INVALID, Some("invalid_value"), message).at(param)
    }

    /// A field of the API that this server does not have.
    pub fn unsupported(param: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, INVALID, Some("unsupported_parameter"), message).at(param)
    }

    /// A field that nobody knows.
    pub fn unknown(param: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, INVALID, Some("unknown_parameter"), message).at(param)
    }

    /// No such model.
    pub fn model_not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, INVALID, Some("model_not_found"), message).at("model")
    }

    /// Nothing is there.
    pub fn unknown_path(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, INVALID, Some("unknown_url"), message)
    }

    /// Something is there, but not for this method.
    pub fn wrong_method(message: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, INVALID, Some("method_not_supported"), message)
    }

    /// The wrong host or origin.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, INVALID, Some("forbidden"), message)
    }

    /// No key or a wrong one.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, INVALID, Some("invalid_api_key"), message)
    }

    /// The body did not come in time.
    pub fn too_slow(message: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, INVALID, Some("request_timeout"), message)
    }

    /// The body is above the limit.
    pub fn too_large(limit_bytes: usize) -> Self {
        let message = format!("the request body is larger than this server's limit of {limit_bytes} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, INVALID, Some("request_too_large"), message)
    }

    /// The body is not declared to be JSON.
    pub fn not_json(content_type: &str) -> Self {
        let message = format!("the content type must be `application/json`, but is `{content_type}`");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, INVALID, Some("unsupported_content_type"), message)
    }

    /// The queue is full; the answer says when to come again.
    pub fn busy(waiting: usize) -> Self {
        let message = format!("the server is busy: {waiting} requests are waiting already; try again soon");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, SERVER, Some("server_busy"), message)
    }

    /// The queue did not take it.
    pub fn refused(refused: Refused) -> Self {
        match refused {
            Refused::Full { waiting } => Self::busy(waiting),
            Refused::Stopping => Self::stopping(),
        }
    }

    /// The server was told to stop.
    pub fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, SERVER, Some("server_stopping"), "the server is being stopped")
    }

    /// The prompt leaves less room for the answer than there must be.
    pub fn context_length(message: impl Into<String>, param: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, INVALID, Some("context_length_exceeded"), message).at(param)
    }

    /// The model is there, but not for this.
    pub fn wrong_kind(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, INVALID, Some("wrong_kind_of_model"), message).at("model")
    }

    /// Why a model made no vectors.
    pub fn from_vectors(failed: &VectorsFailed) -> Self {
        let internal =
            |code, message: String| Self::new(StatusCode::INTERNAL_SERVER_ERROR, SERVER, Some(code), message);
        match failed {
            VectorsFailed::Panicked => internal("internal_error", "internal error: the model panicked".into()),
            VectorsFailed::Refused(error @ EmbedError::Damaged { .. }) => internal("model_damaged", error.to_string()),
            VectorsFailed::Refused(error @ EmbedError::TooLong { .. }) => {
                Self::context_length(error.to_string(), "input")
            }
            VectorsFailed::Refused(error) => Self::bad_value("input", error.to_string()),
        }
    }

    /// What the model said; `param` is the field that holds the prompt.
    pub fn from_model(error: &GenerateError, param: &str) -> Self {
        let message = error.to_string();
        match error {
            GenerateError::ContextLengthExceeded { .. } => Self::context_length(message, param),
            GenerateError::EmptyPrompt | GenerateError::UnknownToken { .. } | GenerateError::Template { .. } => {
                Self::bad_value(param, message)
            }
            GenerateError::BadParameter { name, .. } => Self::bad_value(name, message),
            GenerateError::Damaged { .. } => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, SERVER, Some("model_damaged"), message)
            }
            GenerateError::Internal { .. } => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, SERVER, Some("internal_error"), message)
            }
        }
    }

    /// The body of the answer, and of the last event of a stream that fails.
    pub fn to_json(&self) -> Value {
        json!({
            "error": { "message": self.message, "type": self.kind, "param": self.param, "code": self.code }
        })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.to_json())).into_response();
        let headers = response.headers_mut();
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            // The rest of the body may still be on its way; it must not be read as the next request.
            StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}

/// The JSON type of a value, with its article.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a number with a fraction",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
