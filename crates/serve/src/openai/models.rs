//! `GET /v1/models` and `GET /v1/models/{id}`.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Json;
use serde_json::{Value, json};

use super::error::ApiError;
use crate::Model;
use crate::routes::App;

/// All models, in the order in which they were given.
pub async fn list(State(app): State<Arc<App>>) -> Json<Value> {
    let data: Vec<Value> = app.models.iter().map(|model| describe(&app, model)).collect();
    Json(json!({ "object": "list", "data": data }))
}

/// One model by its name, which may hold slashes.
pub async fn one(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    // A rejected path was not UTF-8 once decoded, and no name is that.
    let id = id.map_or_else(|_| String::new(), |Path(id)| id);
    let model = app.model(&id)?;
    Ok(Json(describe(&app, model)))
}

fn describe(app: &App, model: &Model) -> Value {
    let context_length = match model {
        Model::Text(model) => model.context_length(),
        Model::Vectors(model) => model.max_tokens(),
    };
    json!({
        "id": model.name(),
        "object": "model",
        "created": app.started,
        "owned_by": "tsumugi",
        "context_length": context_length,
    })
}
