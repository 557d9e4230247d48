//! What Jinja2 and Python do differently from minijinja: filters, tests and methods that chat templates call.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

/// `json.dumps(value, ensure_ascii=False, indent=indent)`.
pub(super) fn to_json(value: Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    for ignored in ["ensure_ascii", "sort_keys", "separators"] {
        let _: Option<Value> = options.get(ignored)?;
    }
    options.assert_all_used()?;
    let json =
        serde_json::to_value(&value).map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    let mut text = String::new();
    write_json(&json, indent.map(|width| width.min(16)), 0, &mut text);
    Ok(Value::from_safe_string(text))
}

/// Python's separators: `, ` and `: `, and with an indent a line per item.
fn write_json(json: &serde_json::Value, indent: Option<usize>, depth: usize, out: &mut String) {
    use serde_json::Value as Json;
    let line = |depth: usize, out: &mut String| {
        if let Some(width) = indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', width * depth));
        }
    };
    let separator = if indent.is_some() { "," } else { ", " };
    match json {
        Json::Array(items) if !items.is_empty() => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { separator } else { "" });
                line(depth + 1, out);
                write_json(item, indent, depth + 1, out);
            }
            line(depth, out);
            out.push(']');
        }
        Json::Object(fields) if !fields.is_empty() => {
            out.push('{');
            for (index, (name, item)) in fields.iter().enumerate() {
                out.push_str(if index > 0 { separator } else { "" });
                line(depth + 1, out);
                out.push_str(&Json::from(name.as_str()).to_string());
                out.push_str(": ");
                write_json(item, indent, depth + 1, out);
            }
            line(depth, out);
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

/// What minijinja charges memory by.
const BYTES_PER_FUEL: usize = 64;

/// Methods of Python's types.
pub(super) fn method(
    state: &mut State<'_, '_>,
    value: &Value,
    name: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    match (name, value.as_str(), arguments) {
        ("title", Some(text), []) => Ok(Value::from(title(text))),
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, name, arguments),
    }
}

/// `str.title`: every letter that follows no letter is a capital one.
fn title(text: &str) -> String {
    let mut after_letter = false;
    let mut titled = String::with_capacity(text.len());
    for character in text.chars() {
        match after_letter {
            true => titled.extend(character.to_lowercase()),
            false => titled.extend(character.to_uppercase()),
        }
        after_letter = character.is_alphabetic();
    }
    titled
}

/// Jinja2's filter `indent(width=4, first=false, blank=false)`; minijinja's drops a line feed at the end.
pub(super) fn indent(
    state: &State<'_, '_>,
    text: String,
    width: Option<usize>,
    first: Option<bool>,
    options: Kwargs,
) -> Result<String, Error> {
    let width = width.or(options.get("width")?).unwrap_or(4);
    let first = first.or(options.get("first")?).unwrap_or(false);
    let blank = options.get::<Option<bool>>("blank")?.unwrap_or(false);
    options.assert_all_used()?;
    let lines = text.matches('\n').count() + 1;
    state.consume_fuel((width.saturating_mul(lines) / BYTES_PER_FUEL) as u64)?;
    let mut indented = String::with_capacity(text.len());
    for (index, line) in text.split('\n').enumerate() {
        indented.push_str(if index > 0 { "\n" } else { "" });
        if if index == 0 { first } else { blank || !line.is_empty() } {
            indented.extend(std::iter::repeat_n(' ', width));
        }
        indented.push_str(line);
    }
    Ok(indented)
}

/// Jinja2's test `iterable`; minijinja's holds of `none` too.
pub(super) fn is_iterable(value: &Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

/// Jinja2's test `sequence`: what has a length and takes an index, texts and mappings too.
pub(super) fn is_sequence(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Undefined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_written_as_python_does() {
        let json = serde_json::json!({"a": [1, "é\"<", null], "b": {}});
        let mut text = String::new();
        write_json(&json, None, 0, &mut text);
        assert_eq!(text, r#"{"a": [1, "é\"<", null], "b": {}}"#);
        text.clear();
        write_json(&json, Some(2), 0, &mut text);
        assert_eq!(text, "{\n  \"a\": [\n    1,\n    \"é\\\"<\",\n    null\n  ],\n  \"b\": {}\n}");
    }
}
