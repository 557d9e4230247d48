//! The fields of a JSON object, taken one by one; what is left at the end was not understood.
//!
//! Read by hand and not by `derive(Deserialize)`, so that each error names its field with its path
//! (`messages[2].content`), says what was found, and has the API's code.

use serde_json::{Map, Value};
use tsumugi_infer::text::ranges::Range;

use super::error::ApiError;

/// Fields that cannot change the answer of this server: who asks, what to keep, how to bill, hints for caches.
const HARMLESS: &[&str] = &[
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "parallel_tool_calls",
    "include_reasoning",
];

/// Fields of the API that would change the answer and that are not here. Accepted at the values that ask for nothing.
const UNSUPPORTED: &[&str] = &[
    "audio",
    "best_of",
    "echo",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "modalities",
    "moderation",
    "n",
    "prediction",
    "presence_penalty",
    "reasoning_effort",
    "response_format",
    "suffix",
    "tool_choice",
    "tools",
    "top_logprobs",
    "verbosity",
    "web_search_options",
];

/// An object that is being read.
#[derive(Debug)]
pub struct Fields {
    map: Map<String, Value>,
    /// Where it is: empty for the request itself, else `messages[2].`.
    path: String,
}

impl Fields {
    /// `path` is where the object is, as `messages[2].`, or empty for the request.
    pub fn from_object(value: Value, path: &str) -> Result<Self, ApiError> {
        match value {
            Value::Object(map) => Ok(Self { map, path: path.to_owned() }),
            other if path.is_empty() => {
                let error = ApiError::wrong_type("request body", "a JSON object", &other);
                Err(ApiError { param: None, ..error })
            }
            other => Err(ApiError::wrong_type(path.trim_end_matches('.'), "an object", &other)),
        }
    }

    /// The whole name of a field, for messages.
    pub fn name_of(&self, field: &str) -> String {
        format!("{}{field}", self.path)
    }

    /// Takes a field out; null is the same as not there.
    pub fn take(&mut self, field: &str) -> Option<Value> {
        // `shift_remove` keeps the order, so that the first unknown field is the one named.
        self.map.shift_remove(field).filter(|value| !value.is_null())
    }

    /// Takes a field that must be there.
    pub fn require(&mut self, field: &str) -> Result<Value, ApiError> {
        self.take(field).ok_or_else(|| ApiError::missing(&self.name_of(field)))
    }

    /// The name of the model that is asked.
    pub fn model(&mut self) -> Result<String, ApiError> {
        match self.require("model")? {
            Value::String(name) => Ok(name),
            other => Err(ApiError::wrong_type("model", "a string", &other)),
        }
    }

    /// A string, if there.
    pub fn string(&mut self, field: &str) -> Result<Option<String>, ApiError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(ApiError::wrong_type(&self.name_of(field), "a string", &other)),
        }
    }

    /// true or false, if there.
    pub fn boolean(&mut self, field: &str) -> Result<Option<bool>, ApiError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(ApiError::wrong_type(&self.name_of(field), "a boolean", &other)),
        }
    }

    /// A number of a range, if there.
    pub fn number(&mut self, field: &str, range: Range) -> Result<Option<f32>, ApiError> {
        let Some(value) = self.take(field) else { return Ok(None) };
        let name = self.name_of(field);
        let Some(number) = value.as_f64() else { return Err(ApiError::wrong_type(&name, "a number", &value)) };
        if !range.holds(number as f32) {
            return Err(ApiError::bad_value(&name, format!("`{name}` is {value}, but must be {}", range.expected)));
        }
        Ok(Some(number as f32))
    }

    /// An integer of at least `least`, if there. What is beyond any context is as good as the largest integer.
    pub fn count(&mut self, field: &str, least: i64) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.take(field) else { return Ok(None) };
        let name = self.name_of(field);
        let Some(number) = value.as_i64().or_else(|| value.as_u64().map(|_| i64::MAX)) else {
            return Err(ApiError::wrong_type(&name, "an integer", &value));
        };
        if number < least {
            return Err(ApiError::bad_value(&name, format!("`{name}` is {value}, but must be at least {least}")));
        }
        Ok(Some(number))
    }

    /// Nothing may be left that would have changed the answer.
    pub fn finish(self, known: &[&str]) -> Result<(), ApiError> {
        for (field, value) in &self.map {
            if HARMLESS.contains(&field.as_str()) || value.is_null() {
                continue;
            }
            let name: String = self.name_of(field).chars().take(100).collect();
            if !UNSUPPORTED.contains(&field.as_str()) {
                let near = known.iter().find(|known| is_near(known, field));
                let suggestion = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                return Err(ApiError::unknown(&name, format!("`{name}` is not a field of this request{suggestion}")));
            }
            if !asks_for_nothing(field, value) {
                return Err(ApiError::unsupported(&name, refusal(field)));
            }
        }
        Ok(())
    }
}

/// The ids in the array at `name`.
pub fn token_ids(name: &str, items: Vec<Value>) -> Result<Vec<u32>, ApiError> {
    let read = |(index, item): (usize, Value)| {
        let id = item.as_u64().and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| ApiError::wrong_type(&format!("{name}[{index}]"), "a token id", &item))
    };
    items.into_iter().enumerate().map(read).collect()
}

/// The values with which clients say "the usual".
fn asks_for_nothing(field: &str, value: &Value) -> bool {
    match (field, value) {
        ("n" | "best_of", value) => value.as_f64() == Some(1.0),
        ("frequency_penalty" | "presence_penalty" | "top_logprobs", value) => value.as_f64() == Some(0.0),
        ("tool_choice" | "function_call", Value::String(choice)) => choice == "none" || choice == "auto",
        ("response_format", Value::Object(format)) => format.get("type").is_some_and(|kind| kind == "text"),
        ("modalities", Value::Array(kinds)) => kinds.iter().all(|kind| kind == "text"),
        ("reasoning_effort", Value::String(effort)) => effort == "none",
        (_, Value::Bool(on)) => !on,
        (_, Value::Array(items)) => items.is_empty(),
        (_, Value::Object(fields)) => fields.is_empty(),
        (_, Value::String(text)) => text.is_empty(),
        _ => false,
    }
}

fn refusal(field: &str) -> String {
    match field {
        "n" | "best_of" => format!("this server gives one answer per request: `{field}` must be 1"),
        "tools" | "tool_choice" | "functions" | "function_call" => {
            format!("this server's models call no tools: leave `{field}` out")
        }
        "frequency_penalty" | "presence_penalty" => {
            format!("`{field}` is not supported and must be 0; `repetition_penalty` (above 1) is")
        }
        "response_format" => "only `response_format: {\"type\": \"text\"}` is supported".to_owned(),
        _ => format!("`{field}` is not supported by this server: leave it out"),
    }
}

/// At most two letters apart (Levenshtein), and not by nature: for "did you mean".
fn is_near(known: &str, typed: &str) -> bool {
    if typed.len() > 40 {
        return false;
    }
    let known: Vec<char> = known.chars().collect();
    let mut row: Vec<usize> = (0..=known.len()).collect();
    for (i, a) in typed.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in known.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[known.len()] <= 2.min(known.len() / 3)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn near_is_a_slip_of_the_hand() {
        assert!(is_near("max_tokens", "max_token"));
        assert!(is_near("temperature", "temprature"));
        assert!(!is_near("stop", "shop_") && !is_near("seed", "need__"));
        assert!(!is_near("top_p", "user"));
    }

    #[test]
    fn what_asks_for_nothing_is_accepted() {
        let quiet = json!({
            "n": 1, "logprobs": false, "tools": [], "tool_choice": "none", "logit_bias": {}, "presence_penalty": 0,
            "frequency_penalty": 0.0, "response_format": {"type": "text"}, "user": "me", "metadata": {"a": "b"},
            "store": true, "suffix": null, "reasoning_effort": null
        });
        assert_eq!(Fields::from_object(quiet, "").and_then(|fields| fields.finish(&[])), Ok(()));
    }

    #[test]
    fn what_would_change_the_answer_is_refused_by_name() {
        let loud = [
            ("n", json!(2)),
            ("logprobs", json!(true)),
            ("logprobs", json!(0)),
            ("tools", json!([{"type": "function"}])),
            ("response_format", json!({"type": "json_schema"})),
            ("presence_penalty", json!(0.5)),
            ("logit_bias", json!({"1": 2})),
            ("echo", json!(true)),
        ];
        for (field, value) in loud {
            let fields = Fields::from_object(json!({ field: value }), "").expect("an object");
            let error = fields.finish(&[]).expect_err(field);
            assert_eq!((error.param.as_deref(), error.code), (Some(field), Some("unsupported_parameter")));
        }
    }
}
