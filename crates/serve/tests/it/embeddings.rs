//! `/v1/embeddings`: the API's shape, its two encodings, its inputs and its errors.

use serde_json::{Value, json};

use crate::client::Server;

fn asked(input: Value, more: &Value) -> Value {
    let mut body = json!({ "model": "vectors", "input": input });
    for (field, value) in more.as_object().expect("an object") {
        body[field] = value.clone();
    }
    body
}

#[test]
fn every_kind_of_input_gets_its_vectors_in_order() {
    let server = Server::start();
    let answer = server.post("/v1/embeddings", &asked(json!(["one two", "three"]), &json!({})));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(
        answer.json(),
        json!({
            "object": "list",
            "data": [
                {"object": "embedding", "index": 0, "embedding": [2.0, 0.7]},
                {"object": "embedding", "index": 1, "embedding": [1.0, 0.5]},
            ],
            "model": "vectors",
            "usage": {"prompt_tokens": 3, "total_tokens": 3},
        })
    );
    let vectors = |input: Value| {
        let answer = server.post("/v1/embeddings", &asked(input, &json!({}))).json();
        answer["data"].as_array().unwrap().iter().map(|item| item["embedding"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(vectors(json!("one")), [json!([1.0, 0.3])]);
    assert_eq!(vectors(json!([7, 8])), [json!([2.0, 1.5])]);
    assert_eq!(vectors(json!([[7, 8], "a b c"])), [json!([2.0, 1.5]), json!([3.0, 0.5])]);
    assert_eq!(vectors(json!(vec!["a"; 2048])).len(), 2048);
}

#[test]
fn base64_is_the_bytes_of_float32() {
    let server = Server::start();
    let more = json!({"encoding_format": "base64", "dimensions": 2, "user": "me"});
    let answer = server.post("/v1/embeddings", &asked(json!("one"), &more)).json();
    // 1.0 and 0.3 are 00 00 80 3f and 9a 99 99 3e.
    assert_eq!(answer["data"][0]["embedding"], "AACAP5qZmT4=");
}

#[test]
fn every_wrong_field_is_named() {
    let server = Server::start();
    let many: Vec<&str> = std::iter::repeat_n("a", 2049).collect();
    let late: Vec<&str> = std::iter::repeat_n("a", 100).chain([""]).collect();
    for (input, more, code, param, says) in [
        (json!(null), json!({}), "missing_required_parameter", "input", "input"),
        (json!(3), json!({}), "invalid_type", "input", "an integer"),
        (json!([]), json!({}), "invalid_value", "input", "empty"),
        (json!([null]), json!({}), "invalid_type", "input[0]", "null"),
        (json!(["a", 1]), json!({}), "invalid_type", "input[1]", "an integer"),
        (json!([1, "a"]), json!({}), "invalid_type", "input[1]", "a string"),
        (json!([[1, -1]]), json!({}), "invalid_type", "input[0][1]", "an integer"),
        (json!([[]]), json!({}), "invalid_value", "input", "text 1 is empty"),
        (json!(late), json!({}), "invalid_value", "input", "text 101 is empty"),
        (json!([[5, 100]]), json!({}), "invalid_value", "input", "token id 100"),
        (json!(many), json!({}), "invalid_value", "input", "at most 2048"),
        (
            json!(["a", "a b c d e f g h i"]),
            json!({}),
            "context_length_exceeded",
            "input",
            "text 2 has more than the 8",
        ),
        (json!("a"), json!({"encoding_format": "int8"}), "invalid_value", "encoding_format", "int8"),
        (json!("a"), json!({"encoding_format": 1}), "invalid_type", "encoding_format", "an integer"),
        (json!("a"), json!({"dimensions": 1}), "unsupported_parameter", "dimensions", "have 2 numbers"),
        (json!("a"), json!({"dimensions": 0}), "invalid_value", "dimensions", "at least 1"),
        (json!("a"), json!({"imput": "a"}), "unknown_parameter", "imput", "did you mean `input`?"),
        (json!("a"), json!({"model": "chat"}), "wrong_kind_of_model", "model", "makes no vectors"),
    ] {
        let answer = server.post("/v1/embeddings", &asked(input.clone(), &more));
        assert_eq!(answer.error(), (400, code.into(), param.into()), "{more} {}", answer.body);
        assert!(answer.json()["error"]["message"].as_str().unwrap().contains(says), "{}", answer.body);
    }
    let body = json!({"model": "nobody", "input": "a"});
    assert_eq!(server.post("/v1/embeddings", &body).error(), (404, "model_not_found".into(), "model".into()));
    assert_eq!(server.get("/v1/embeddings").status, 405);
}

#[test]
fn a_model_of_vectors_is_listed_and_gives_no_text() {
    let server = Server::start();
    assert_eq!(server.get("/v1/models/vectors").json()["context_length"], 8);
    let body = json!({"model": "vectors", "prompt": "a"});
    let error = server.post("/v1/completions", &body);
    assert_eq!(error.error(), (400, "wrong_kind_of_model".into(), "model".into()));
    assert!(error.body.contains("/v1/embeddings"), "{}", error.body);
    let info = server.get("/tsumugi/info").json();
    assert!(info["models"].as_array().unwrap().iter().all(|model| model["id"] != "vectors"), "{info}");
}

#[test]
fn a_model_that_fails_does_not_take_the_server_with_it() {
    let server = Server::start();
    for (text, code) in [("panic", "internal_error"), ("damaged", "model_damaged")] {
        let answer = server.post("/v1/embeddings", &asked(json!([text]), &json!({})));
        assert_eq!(answer.error(), (500, code.into(), "-".into()));
    }
    assert_eq!(server.post("/v1/embeddings", &asked(json!("one"), &json!({}))).status, 200);
}
