//! A JSON value against a schema (JSON Schema draft 7, the part that SARIF's schema uses).

use serde_json::{Map, Value};

/// What is wrong with a value, with its place. A keyword that is not known here is a panic: nothing is left unchecked.
pub fn violations(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, schema, value, "$", &mut found);
    found
}

fn check(root: &Value, schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    for (keyword, rule) in schema.as_object().expect("a schema is an object") {
        let is_right = match keyword.as_str() {
            // `format` is an annotation in draft 7.
            "$schema" | "$id" | "definitions" | "format" => true,
            "$ref" => {
                let path =
                    rule.as_str().and_then(|path| path.strip_prefix('#')).expect("references are within the schema");
                check(root, root.pointer(path).expect("the reference leads somewhere"), value, place, found);
                true
            }
            "type" => has_type(rule, value),
            "enum" => rule.as_array().expect("an enum is a list").contains(value),
            "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().expect("a number")),
            "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().expect("a number")),
            "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= rule.as_u64().expect("a count")),
            "uniqueItems" => {
                value.as_array().is_none_or(|items| (1..items.len()).all(|at| !items[..at].contains(&items[at])))
            }
            "pattern" => panic!("patterns are not checked; {place} has one"),
            "required" => value.as_object().is_none_or(|fields| has_all(rule, fields)),
            "anyOf" => rule.as_array().expect("a list").iter().any(|one| passes(root, one, value)),
            "oneOf" => rule.as_array().expect("a list").iter().filter(|one| passes(root, one, value)).count() == 1,
            "items" => {
                for (at, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, rule, item, &format!("{place}[{at}]"), found);
                }
                true
            }
            "properties" => {
                for (name, field) in value.as_object().into_iter().flatten() {
                    if let Some(rule) = rule.get(name) {
                        check(root, rule, field, &format!("{place}.{name}"), found);
                    }
                }
                true
            }
            "additionalProperties" => more_fields(root, schema, rule, value, place, found),
            other => panic!("{other} is not checked"),
        };
        if !is_right {
            found.push(format!("{place}: {keyword} {rule} is not kept by {value}"));
        }
    }
}

fn passes(root: &Value, schema: &Value, value: &Value) -> bool {
    let mut found = Vec::new();
    check(root, schema, value, "", &mut found);
    found.is_empty()
}

fn more_fields(
    root: &Value,
    schema: &Value,
    rule: &Value,
    value: &Value,
    place: &str,
    found: &mut Vec<String>,
) -> bool {
    let is_named = |name: &String| schema.get("properties").is_some_and(|known| known.get(name).is_some());
    let more: Vec<_> = value.as_object().into_iter().flatten().filter(|(name, _)| !is_named(name)).collect();
    if let Some(may_be) = rule.as_bool() {
        return may_be || more.is_empty();
    }
    more.into_iter().for_each(|(name, field)| check(root, rule, field, &format!("{place}.{name}"), found));
    true
}

fn has_all(rule: &Value, fields: &Map<String, Value>) -> bool {
    rule.as_array().expect("a list").iter().all(|name| name.as_str().is_some_and(|name| fields.contains_key(name)))
}

fn has_type(rule: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "null" => value.is_null(),
        other => panic!("{other} is no type"),
    };
    match rule {
        Value::String(name) => is(name),
        names => names.as_array().expect("a list of types").iter().any(|name| name.as_str().is_some_and(is)),
    }
}

#[test]
fn what_breaks_a_schema_is_found() {
    let schema = serde_json::json!({
        "definitions": { "few": { "type": "array", "minItems": 1, "uniqueItems": true, "items": { "type": "integer" } } },
        "type": "object",
        "required": ["a"],
        "properties": { "a": { "$ref": "#/definitions/few" }, "b": { "enum": ["x"] }, "c": { "minimum": 0, "maximum": 1 } },
        "additionalProperties": false,
    });
    for right in [serde_json::json!({"a": [1, 2]}), serde_json::json!({"a": [1], "b": "x", "c": 0.5})] {
        assert_eq!(violations(&schema, &right), [""; 0]);
    }
    for wrong in [
        "[]",
        "{}",
        r#"{"a": []}"#,
        r#"{"a": [1, 1]}"#,
        r#"{"a": [1.5]}"#,
        r#"{"a": [1], "b": "y"}"#,
        r#"{"a": [1], "c": 2}"#,
        r#"{"a": [1], "d": 1}"#,
    ] {
        assert_eq!(violations(&schema, &serde_json::from_str(wrong).expect("it is JSON")).len(), 1, "{wrong}");
    }
}
