//! Reading a request's body: within a limit, within a time, as a JSON object.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::error::ApiError;
use super::fields::Fields;

/// For the whole body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Of a body that is too large so many times the limit is read and thrown away: a client that is still sending
/// when the connection closes would see a broken pipe instead of the 413.
const DRAIN_FACTOR: usize = 8;

/// The fields of a request whose body is a JSON object.
pub async fn read_fields(request: Request, max_bytes: usize) -> Result<Fields, ApiError> {
    check_content_type(request.headers())?;
    let bytes = match timeout(BODY_TIMEOUT, read_limited(request.into_body(), max_bytes)).await {
        Ok(bytes) => bytes?,
        Err(_) => {
            let seconds = BODY_TIMEOUT.as_secs();
            return Err(ApiError::too_slow(format!("the request body did not arrive within {seconds} seconds")));
        }
    };
    let value = serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::bad_json(format!("the request body is not valid JSON: {error}")))?;
    Fields::from_object(value, "")
}

async fn read_limited(mut body: Body, max_bytes: usize) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    let mut seen: usize = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::bad_request("the connection broke within the request body"))?;
        let Ok(data) = frame.into_data() else { continue };
        seen = seen.saturating_add(data.len());
        if seen <= max_bytes {
            bytes.extend_from_slice(&data);
        } else if seen > max_bytes.saturating_mul(DRAIN_FACTOR) {
            break;
        }
    }
    if seen <= max_bytes { Ok(bytes) } else { Err(ApiError::too_large(max_bytes)) }
}

/// A web page of another origin can send text and forms without asking, but not JSON.
fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let content_type = headers.get(CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("not text"));
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(ApiError::not_json(&content_type.chars().take(100).collect::<String>()))
}
