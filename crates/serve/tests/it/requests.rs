//! What is asked wrongly gets the API's error, by name; what is asked rightly is understood.

use serde_json::{Value, json};

use crate::client::{JSON, Server, chat_body};

#[test]
fn models_are_listed_in_order_and_found_by_name() {
    let server = Server::start();
    let list = server.get("/v1/models").json();
    assert_eq!(list["object"], "list");
    assert_eq!((&list["data"][0]["id"], &list["data"][1]["id"]), (&json!("chat"), &json!("org/base")));
    assert_eq!(list["data"][0]["object"], "model");
    assert!(list["data"][0]["created"].as_u64().is_some_and(|created| created > 1_700_000_000));

    for path in ["/v1/models/org/base", "/v1/models/org%2Fbase"] {
        assert_eq!(server.get(path).json()["id"], "org/base", "{path}");
    }
    let code = |path| server.get(path).error();
    assert_eq!(code("/v1/models/other"), (404, "model_not_found".into(), "model".into()));
    assert_eq!(code("/v1/models/%ff"), (404, "model_not_found".into(), "model".into()));
}

#[test]
fn every_wrong_field_is_named() {
    let server = Server::start();
    let cases = [
        // the field, its value, the code, what the message must say
        ("model", json!(null), "missing_required_parameter", "`model`"),
        ("model", json!(7), "invalid_type", "an integer"),
        ("messages", json!(null), "missing_required_parameter", "`messages`"),
        ("messages", json!("hello"), "invalid_type", "a string"),
        ("messages", json!([]), "invalid_value", "empty"),
        ("temperature", json!("hot"), "invalid_type", "a string"),
        ("temperature", json!(2.5), "invalid_value", "between 0 and 2"),
        ("temperature", json!(-1), "invalid_value", "-1"),
        ("top_p", json!(0), "invalid_value", "above 0"),
        ("top_p", json!(1.1), "invalid_value", "1.1"),
        ("top_k", json!(1.5), "invalid_type", "fraction"),
        ("top_k", json!(-2), "invalid_value", "-2"),
        ("min_p", json!(1), "invalid_value", "below 1"),
        ("repetition_penalty", json!(0), "invalid_value", "above 0"),
        ("seed", json!(1.5), "invalid_type", "64 bits"),
        ("max_tokens", json!(0), "invalid_value", "at least 1"),
        ("max_tokens", json!("many"), "invalid_type", "a string"),
        ("max_completion_tokens", json!(-5), "invalid_value", "at least 1"),
        ("stop", json!(3), "invalid_type", "an integer"),
        ("stop", json!(["a", "b", "c", "d", "e"]), "invalid_value", "5 strings"),
        ("stop", json!([""]), "invalid_value", "empty"),
        ("stop[1]", json!(["a", 1]), "invalid_type", "an integer"),
        ("stream", json!("yes"), "invalid_type", "a string"),
        ("stream_options", json!(true), "invalid_type", "a boolean"),
        ("stream_options.include_usage", json!({"include_usage": 1}), "invalid_type", "an integer"),
        ("stream_options.usage", json!({"usage": true}), "unknown_parameter", "stream_options.usage"),
        ("stream_options", json!({"include_usage": true}), "invalid_value", "set `stream` to true"),
        ("n", json!(2), "unsupported_parameter", "must be 1"),
        ("tools", json!([{"type": "function"}]), "unsupported_parameter", "tools"),
        ("response_format", json!({"type": "json_schema"}), "unsupported_parameter", "text"),
        ("logprobs", json!(true), "unsupported_parameter", "logprobs"),
        ("temprature", json!(1), "unknown_parameter", "did you mean `temperature`?"),
        ("wibble", json!(1), "unknown_parameter", "`wibble`"),
        ("minimum_room", json!(0), "invalid_value", "at least 1"),
    ];
    for (field, value, code, says) in cases {
        let sent = field.split(['.', '[']).next().expect("a name");
        let answer = server.chat("hello", &json!({ sent: value }));
        assert_eq!(answer.error(), (400, code.to_owned(), field.to_owned()), "{}", answer.body);
        assert!(answer.body.replace("\\\"", "\"").contains(says), "{says:?} is not in {}", answer.body);
    }
}

#[test]
fn every_wrong_message_is_named() {
    let server = Server::start();
    let cases = [
        (json!("hello"), "invalid_type", "messages[1]"),
        (json!({"content": "x"}), "missing_required_parameter", "messages[1].role"),
        (json!({"role": "king", "content": "x"}), "invalid_value", "messages[1].role"),
        (json!({"role": "tool", "content": "x"}), "unsupported_parameter", "messages[1].role"),
        (json!({"role": 1, "content": "x"}), "invalid_type", "messages[1].role"),
        (json!({"role": "user"}), "missing_required_parameter", "messages[1].content"),
        (json!({"role": "user", "content": null}), "missing_required_parameter", "messages[1].content"),
        (json!({"role": "user", "content": 5}), "invalid_type", "messages[1].content"),
        (json!({"role": "user", "content": [5]}), "invalid_type", "messages[1].content[0]"),
        (
            json!({"role": "user", "content": [{"text": "x"}]}),
            "missing_required_parameter",
            "messages[1].content[0].type",
        ),
        (
            json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}),
            "unsupported_parameter",
            "messages[1].content[0].type",
        ),
        (
            json!({"role": "user", "content": [{"type": "text"}]}),
            "missing_required_parameter",
            "messages[1].content[0].text",
        ),
        (json!({"role": "user", "content": "x", "name": 3}), "invalid_type", "messages[1].name"),
        (json!({"role": "user", "content": "x", "mood": 3}), "unknown_parameter", "messages[1].mood"),
        (
            json!({"role": "assistant", "content": "x", "tool_calls": [{"id": "1"}]}),
            "unknown_parameter",
            "messages[1].tool_calls",
        ),
    ];
    for (message, code, param) in cases {
        let answer = server.chat("", &json!({"messages": [{"role": "system", "content": "You are."}, message]}));
        assert_eq!(answer.error(), (400, code.to_owned(), param.to_owned()), "{}", answer.body);
    }
}

#[test]
fn what_the_official_client_sends_is_understood() {
    let server = Server::start();
    let messages = json!([
        {"role": "developer", "content": "You are ROMEO."},
        {"role": "user", "name": "JULIET", "content": [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "so", "refusal": null, "annotations": [], "audio": null, "tool_calls": null},
        {"role": "user", "content": "show"},
    ]);
    let more = json!({
        "messages": messages, "temperature": 0, "top_p": 0.5, "top_k": 3, "min_p": 0.25, "repetition_penalty": 1.5,
        "seed": 42, "max_completion_tokens": 30, "stop": ["zzz", "yyy"], "user": "me", "metadata": {"a": "b"},
        "store": false, "n": 1, "logprobs": false, "presence_penalty": 0, "response_format": {"type": "text"}, "tools": null,
        "tool_choice": "none",
    });
    let answer = server.chat("", &more);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let json = answer.json();
    let text = json["choices"][0]["message"]["content"].as_str().expect("text");
    let expected = "SamplingParameters { temperature: 0.0, top_k: Some(3), top_p: 0.5, min_p: 0.25, \
                    repetition_penalty: 1.5, seed: 42 } [\"zzz\", \"yyy\"] Some(30) Chat([Message { role: \"system\"";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn a_request_without_a_seed_gets_another_one_each_time() {
    let server = Server::start();
    let seed = || {
        let answer = server.chat("show", &json!({})).json();
        let text = answer["choices"][0]["message"]["content"].as_str().expect("text").to_owned();
        text.split("seed: ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a seed").to_owned()
    };
    assert_ne!(seed(), seed());
    let negative = server.chat("show", &json!({"seed": -1})).body;
    assert!(negative.contains("seed: 18446744073709551615"), "{negative}");
}

#[test]
fn prompts_of_completions_are_text_or_tokens() {
    let server = Server::start();
    let ask = |prompt: Value| server.post("/v1/completions", &json!({"model": "org/base", "prompt": prompt}));
    for prompt in [json!("hello you"), json!(["hello you"]), json!([1, 2]), json!([[1, 2]])] {
        let answer = ask(prompt.clone());
        assert_eq!(answer.status, 200, "{prompt}: {}", answer.body);
        assert_eq!(answer.json()["usage"]["prompt_tokens"], 2, "{prompt}");
    }
    let cases = [
        (json!(""), "invalid_value", "prompt"),
        (json!([]), "invalid_value", "prompt"),
        (json!([[]]), "invalid_value", "prompt"),
        (json!(["a", "b"]), "unsupported_parameter", "prompt"),
        (json!([1, "b"]), "invalid_type", "prompt[1]"),
        (json!([1.5]), "invalid_type", "prompt[0]"),
        (json!([-1]), "invalid_type", "prompt[0]"),
        (json!([4_294_967_296_u64]), "invalid_type", "prompt[0]"),
        (json!([{}]), "invalid_type", "prompt[0]"),
        (json!({}), "invalid_type", "prompt"),
        (json!(true), "invalid_type", "prompt"),
        (json!(null), "missing_required_parameter", "prompt"),
    ];
    for (prompt, code, param) in cases {
        assert_eq!(ask(prompt.clone()).error(), (400, code.to_owned(), param.to_owned()), "{prompt}");
    }
    // The API's default is 16 tokens.
    let answer = server.post("/v1/completions", &json!({"model": "chat", "prompt": "forever"})).json();
    assert_eq!(
        (&answer["usage"]["completion_tokens"], &answer["choices"][0]["finish_reason"]),
        (&json!(16), &json!("length"))
    );
}

#[test]
fn a_chat_needs_a_model_that_can() {
    let server = Server::start();
    let answer = server.chat("hello", &json!({"model": "org/base"}));
    assert_eq!(answer.error(), (400, "invalid_value".into(), "model".into()));
    let answer = server.chat("hello", &json!({"model": "gpt-4"}));
    assert_eq!(answer.error(), (404, "model_not_found".into(), "model".into()));
    assert!(answer.body.contains("`chat`, `org/base`"), "{}", answer.body);
}

#[test]
fn the_body_must_be_a_json_object_within_the_limit() {
    let options = tsumugi_serve::Options { max_body_bytes: 1000, ..Default::default() };
    let server = Server::with(options, crate::mock::MockModel::new("chat", 64));
    let path = "/v1/chat/completions";
    let post = |body: &[u8]| server.send("POST", path, JSON, body).error();
    for bad in
        [&b""[..], b"{", b"{\"model\": }", b"\xff\xfe", b"{\"a\":1} x", b"{\"a\": 1e999}", "[".repeat(900).as_bytes()]
    {
        assert_eq!(post(bad), (400, "invalid_json".into(), "-".into()), "{bad:?}");
    }
    for not_object in [&b"[]"[..], b"\"x\"", b"null", b"7"] {
        assert_eq!(post(not_object), (400, "invalid_type".into(), "-".into()), "{not_object:?}");
    }
    let large = chat_body(&"x".repeat(5_000), &json!({})).to_string();
    assert_eq!(post(large.as_bytes()), (413, "request_too_large".into(), "-".into()));
    // Larger than what is read and thrown away too: the connection closes, with or without the answer.
    let huge = chat_body(&"x".repeat(3_000_000), &json!({})).to_string();
    let answer = server.raw(&crate::client::request(server.address, "POST", path, JSON, huge.as_bytes()));
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 413"), "{:?}", String::from_utf8_lossy(&answer));

    for content_type in ["", "Content-Type: text/plain\r\n", "Content-Type: application/x-www-form-urlencoded\r\n"] {
        let answer = server.send("POST", path, content_type, chat_body("hello", &json!({})).to_string().as_bytes());
        assert_eq!(answer.error().0, 415, "{content_type:?}");
    }
    let charset = "Content-Type: Application/JSON; charset=utf-8\r\n";
    let answer = server.send("POST", path, charset, chat_body("hello", &json!({})).to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[test]
fn unknown_paths_and_wrong_methods_answer_in_the_same_shape() {
    let server = Server::start();
    for path in ["/v1", "/v1/", "/v1/moderations", "/nothing", "/assets/", "/../etc/passwd", "/%00", "/v1/models/"] {
        let (status, code, _) = server.get(path).error();
        assert_eq!((status, code.as_str()), (404, "unknown_url"), "{path}");
    }
    for (method, path, allow) in [
        ("GET", "/v1/chat/completions", "POST"),
        ("PUT", "/v1/completions", "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("DELETE", "/v1/models/chat", "GET, HEAD"),
        ("OPTIONS", "/v1/chat/completions", "POST"),
        ("POST", "/", "GET, HEAD"),
    ] {
        let answer = server.send(method, path, "", b"");
        assert_eq!(answer.error(), (405, "method_not_supported".into(), "-".into()), "{method} {path}");
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
}
