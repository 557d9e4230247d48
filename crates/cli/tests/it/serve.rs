//! `tsumugi serve`: that it starts, answers, and ends. What it answers is tested in its crate too, but there
//! by a model without weights.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use serde_json::{Value, json};
use tsumugi_base::testing::{repository_root, temporary_folder};
use tsumugi_infer::text::chat_file;

use crate::support::{binary, tiny_model, tsumugi};

/// A running `tsumugi serve`; dropping it kills it.
struct Serving {
    child: Child,
    said: Value,
    address: String,
}

impl Serving {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let arguments = [&["serve", "--port", "0", "--json"], arguments].concat();
        let mut child = binary(folder, &arguments).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let address = said["url"].as_str().unwrap().trim_start_matches("http://").trim_end_matches('/').to_owned();
        Self { child, said, address }
    }

    /// The body of an answer with status 200. HTTP/1.0, so that a stream comes without chunks.
    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let head = format!("{method} {path} HTTP/1.0\r\nHost: {}\r\nContent-Type: application/json\r\n", self.address);
        write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.split(' ').nth(1) == Some("200"), "{answer}");
        body.to_owned()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        serde_json::from_str(&self.ask("POST", path, &body.to_string())).unwrap()
    }

    /// The events of a streamed answer, without `[DONE]`.
    fn stream(&self, path: &str, mut body: Value) -> Vec<Value> {
        body["stream"] = true.into();
        body["stream_options"] = json!({"include_usage": true});
        let answer = self.ask("POST", path, &body.to_string());
        let mut events: Vec<&str> =
            answer.trim_end().split("\n\n").map(|event| event.trim_start_matches("data: ")).collect();
        assert_eq!(events.pop(), Some("[DONE]"));
        events.into_iter().map(|event| serde_json::from_str(event).unwrap()).collect()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_says_where_answers_and_ends_at_a_signal() {
    let folder = temporary_folder();
    tiny_model(&folder.path().join("model"), true);
    let mut serving = Serving::start(folder.path(), &["model"]);
    assert_eq!(serving.said["models"], json!(["model"]));
    let body = json!({"model": "model", "max_tokens": 3, "messages": [{"role": "user", "content": "hi"}]});
    assert!(serving.post("/v1/chat/completions", &body)["choices"][0]["finish_reason"].is_string());

    #[cfg(unix)]
    {
        let killed = std::process::Command::new("kill").args(["-TERM", &serving.child.id().to_string()]).status();
        assert!(killed.unwrap().success());
        assert_eq!(serving.child.wait().unwrap().code(), Some(0));
    }
}

/// The body of a chat whose answer has several characters, and that answer.
fn talkative(serving: &Serving) -> (Value, Value) {
    for seed in 0..50 {
        let messages = json!([{"role": "user", "content": "What light is this?"}]);
        let body = json!({"model": "model", "messages": messages, "seed": seed, "max_tokens": 16, "temperature": 1.0});
        let answer = serving.post("/v1/chat/completions", &body);
        if answer["choices"][0]["message"]["content"].as_str().unwrap().chars().count() >= 8 {
            return (body, answer);
        }
    }
    panic!("50 short answers");
}

#[test]
fn a_real_model_streams_what_it_answers_whole_and_heeds_stop_strings() {
    let folder = temporary_folder();
    tiny_model(&folder.path().join("model"), true);
    let serving = Serving::start(folder.path(), &["model"]);
    let (body, whole) = talkative(&serving);
    let text = whole["choices"][0]["message"]["content"].as_str().unwrap();
    let usage = &whole["usage"];
    let count = |name: &str| usage[name].as_u64().unwrap();
    assert!(count("prompt_tokens") > 5 && (1..=16).contains(&count("completion_tokens")), "{usage}");
    assert_eq!(count("total_tokens"), count("prompt_tokens") + count("completion_tokens"));

    let streamed = |body: &Value| {
        let events = serving.stream("/v1/chat/completions", body.clone());
        let deltas = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
        let reason = events.iter().find_map(|event| event["choices"][0]["finish_reason"].as_str());
        (deltas.collect::<String>(), reason.unwrap().to_owned(), events.last().unwrap()["usage"].clone())
    };
    let reason = whole["choices"][0]["finish_reason"].as_str().unwrap();
    assert_eq!(streamed(&body), (text.to_owned(), reason.to_owned(), usage.clone()));

    let stop: String = text.chars().skip(3).take(2).collect();
    let mut stopping = body;
    stopping["stop"] = json!([stop]);
    let expected = &text[..text.find(&stop).unwrap()];
    let stopped = serving.post("/v1/chat/completions", &stopping);
    assert_eq!(stopped["choices"][0]["message"]["content"], expected);
    assert_eq!(stopped["choices"][0]["finish_reason"], "stop");
    assert!(stopped["usage"]["completion_tokens"].as_u64() <= Some(count("completion_tokens")));
    assert_eq!(streamed(&stopping), (expected.to_owned(), "stop".into(), stopped["usage"].clone()));
}

#[test]
fn a_port_in_use_is_said() {
    let folder = temporary_folder();
    tiny_model(&folder.path().join("model"), true);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let ran = tsumugi(folder.path(), &["serve", "model", "--port", &port.to_string()]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.starts_with(&format!("error: cannot listen on 127.0.0.1:{port}: ")), "{}", ran.stderr);
    assert!(ran.stderr.contains("\n\nhint: another program listens on port"), "{}", ran.stderr);
}

#[test]
fn a_base_model_can_be_served_too_beside_a_chat_model_that_suggests_who_answers() {
    let folder = temporary_folder();
    tiny_model(&folder.path().join("base"), false);
    tiny_model(&folder.path().join("chat"), true);
    std::fs::write(folder.path().join("chat/chat.json"), chat_file(&["You are ROMEO.".into()])).unwrap();
    let serving = Serving::start(folder.path(), &["base", "chat", "--context", "48"]);
    assert_eq!(serving.said["models"], json!(["base", "chat"]));
    let body = json!({"model": "base", "prompt": "ROMEO:", "max_tokens": 4, "temperature": 0});
    let answer = serving.post("/v1/completions", &body);
    let events = serving.stream("/v1/completions", body);
    let text: String = events.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect();
    assert_eq!(answer["choices"][0]["text"], text);
    let info: Value = serde_json::from_str(&serving.ask("GET", "/tsumugi/info", "")).unwrap();
    let expected = [
        json!({"id": "base", "context_length": 48, "chat": false, "suggested_system_messages": []}),
        json!({"id": "chat", "context_length": 48, "chat": true, "suggested_system_messages": ["You are ROMEO."]}),
    ];
    assert_eq!(info["models"], json!(expected));
}

#[test]
fn an_encoder_beside_a_chat_model_gives_the_vectors_that_embed_prints() {
    let folder = temporary_folder();
    tiny_model(&folder.path().join("chat"), true);
    let encoder = repository_root().join("crates/models/fixtures/encoders/bert");
    let encoder = encoder.to_str().unwrap();
    let serving = Serving::start(folder.path(), &["chat", encoder]);
    assert_eq!(serving.said["models"], json!(["chat", "bert"]));
    let texts = ["The cat sits outside.", "A dog!"];
    let answer = serving.post("/v1/embeddings", &json!({"model": "bert", "input": texts}));
    let served: Vec<Value> = answer["data"].as_array().unwrap().iter().map(|item| item["embedding"].clone()).collect();
    let printed = tsumugi(folder.path(), &["embed", encoder, texts[0], texts[1], "--json"]);
    let printed: Vec<Value> =
        printed.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["embedding"].clone()).collect();
    assert_eq!(served, printed);
    assert!(answer["usage"]["prompt_tokens"].as_u64().unwrap() > 10, "{}", answer["usage"]);
    let body = json!({"model": "chat", "max_tokens": 3, "messages": [{"role": "user", "content": "hi"}]});
    assert!(serving.post("/v1/chat/completions", &body)["choices"][0]["finish_reason"].is_string());
}

#[test]
fn two_models_of_one_name_are_refused() {
    let folder = temporary_folder();
    tiny_model(&folder.path().join("model"), false);
    tsumugi(folder.path(), &["serve", "model", "model", "--port", "0"]).is("
        exit 2
        ---- stderr
        error: two models are both named `model`

        hint: rename one of the folders: the folder's name is the model's
    ");
}
