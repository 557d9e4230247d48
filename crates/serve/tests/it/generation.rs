//! Answers: whole and streamed, usage, finish reasons, the context's end.

use serde_json::{Value, json};

use crate::client::Server;

pub fn text_of(events: &[Value]) -> String {
    events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect()
}

#[test]
fn a_chat_answers_whole() {
    let server = Server::start();
    let answer = server.chat("good morrow", &json!({}));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let json = answer.json();
    assert_eq!(json["object"], "chat.completion");
    assert!(json["id"].as_str().is_some_and(|id| id.starts_with("chatcmpl-")));
    assert_eq!(json["model"], "chat");
    let choice = &json["choices"][0];
    assert_eq!((&choice["index"], &choice["finish_reason"]), (&json!(0), &json!("stop")));
    assert_eq!(choice["message"]["role"], "assistant");
    let text = choice["message"]["content"].as_str().expect("text");
    assert!(text.starts_with("You said: “good morrow”"), "{text}");
    let words = text.split(' ').count();
    assert_eq!(json["usage"], json!({"prompt_tokens": 5, "completion_tokens": words, "total_tokens": words + 5}));
}

#[test]
fn a_streamed_chat_is_the_same_text_in_chunks() {
    let server = Server::start();
    let whole = server.chat("good morrow", &json!({})).json();
    let answer = server.chat("good morrow", &json!({"stream": true}));
    assert_eq!(answer.status, 200);
    let events = answer.events();
    assert_eq!(text_of(&events), whole["choices"][0]["message"]["content"].as_str().expect("text"));
    assert_eq!(events[0]["choices"][0]["delta"], json!({"role": "assistant", "content": "", "refusal": null}));
    let last = events.last().expect("events");
    assert_eq!((&last["choices"][0]["finish_reason"], &last["choices"][0]["delta"]), (&json!("stop"), &json!({})));
    for event in &events {
        assert_eq!(event["object"], "chat.completion.chunk");
        assert_eq!(event["id"], events[0]["id"]);
        assert_eq!(event.get("usage"), None);
    }
}

#[test]
fn usage_of_a_stream_comes_after_the_last_chunk() {
    let server = Server::start();
    let more = json!({"stream": true, "stream_options": {"include_usage": true}});
    let events = server.chat("good morrow", &more).events();
    let (last, before) = events.split_last().expect("events");
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["prompt_tokens"], 5);
    assert!(last["usage"]["total_tokens"].as_u64() > Some(5));
    assert!(before.iter().all(|event| event.get("usage") == Some(&Value::Null)));
}

#[test]
fn completions_stream_too() {
    let server = Server::start();
    let body = json!({"model": "org/base", "prompt": "hello you", "stream": true, "max_tokens": 4});
    let events = server.post("/v1/completions", &body).events();
    let text: String = events.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect();
    assert_eq!(text, "You said: “hello you” ");
    assert!(events.iter().all(|event| event["object"] == "text_completion"));
    assert_eq!(events.last().expect("events")["choices"][0]["finish_reason"], "length");
}

#[test]
fn max_tokens_is_clipped_to_the_context() {
    let server = Server::start();
    for (asked, got) in [(json!(10), 10), (json!(1_000_000), 60), (json!(u64::MAX), 60), (json!(null), 60)] {
        let json = server.chat("forever", &json!({"max_tokens": asked})).json();
        assert_eq!(json["usage"]["completion_tokens"], got, "{asked}");
        assert_eq!(json["usage"]["prompt_tokens"], 4);
        assert_eq!(json["choices"][0]["finish_reason"], "length");
    }
}

#[test]
fn a_prompt_beyond_the_context_is_told_so() {
    let server = Server::start();
    // 3 of the template, 61 words: 64 of 64. One less leaves room for one token.
    for stream in [false, true] {
        for words in [61, 62, 5_000] {
            let answer = server.chat(&"word ".repeat(words), &json!({"stream": stream}));
            assert_eq!(answer.error(), (400, "context_length_exceeded".into(), "messages".into()), "{words}");
            assert!(answer.body.contains("context of `chat` holds 64"), "{}", answer.body);
        }
    }
    let json = server.chat(&"word ".repeat(60), &json!({})).json();
    assert_eq!(json["usage"], json!({"prompt_tokens": 63, "completion_tokens": 1, "total_tokens": 64}));

    let body = json!({"model": "org/base", "prompt": "word ".repeat(32)});
    assert_eq!(server.post("/v1/completions", &body).error(), (400, "context_length_exceeded".into(), "prompt".into()));
}

#[test]
fn minimum_room_makes_the_context_smaller() {
    let server = Server::start();
    let ask = |room: u64| server.chat(&"word ".repeat(41), &json!({"minimum_room": room}));
    assert_eq!(ask(20).status, 200);
    assert_eq!(ask(21).error(), (400, "context_length_exceeded".into(), "messages".into()));
    assert_eq!(ask(u64::MAX).error().1, "context_length_exceeded");
}

#[test]
fn stop_strings_end_the_answer() {
    let server = Server::start();
    let json = server.chat("good morrow", &json!({"stop": "thought"})).json();
    assert_eq!(json["choices"][0]["message"]["content"], "You said: “good morrow” I have ");
    assert_eq!(json["choices"][0]["finish_reason"], "stop");
}

#[test]
fn text_survives_the_wire() {
    let server = Server::start();
    let whole = server.chat("odd", &json!({})).json();
    let whole = whole["choices"][0]["message"]["content"].as_str().expect("text").to_owned();
    assert!(whole.contains("<script>") && whole.contains("👩‍👩‍👧 שלום\n\n"), "{whole}");
    assert_eq!(text_of(&server.chat("odd", &json!({"stream": true})).events()), whole);
}

#[test]
fn a_failing_model_is_an_error_and_the_next_request_works() {
    let server = Server::start();
    for stream in [false, true] {
        for message in ["fail", "panic"] {
            let answer = server.chat(message, &json!({"stream": stream}));
            if answer.status == 200 {
                // A panic after the prompt was read: the stream has begun.
                assert!(answer.body.contains("\"code\":\"internal_error\""), "{}", answer.body);
                continue;
            }
            assert_eq!(answer.error(), (500, "internal_error".into(), "-".into()), "{message}");
        }
        let damaged = server.chat("damaged", &json!({"stream": stream}));
        assert_eq!(damaged.error(), (500, "model_damaged".into(), "-".into()));
        assert!(damaged.body.contains("the model's weights are damaged"), "{}", damaged.body);
        let late = server.chat("late", &json!({"stream": stream}));
        if stream {
            assert!(late.body.contains("once ") && !late.body.contains("[DONE]"), "{}", late.body);
            assert!(late.body.trim_end().ends_with("\"code\":\"internal_error\"}}"), "{}", late.body);
        } else {
            assert_eq!(late.error().0, 500);
        }
    }
    assert_eq!(server.chat("hello", &json!({})).status, 200);
}
