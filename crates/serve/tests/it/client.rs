//! A server for a test and a small HTTP client, both on the loopback address.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tsumugi_serve::{Model, Options, ServeError, serve};

use crate::mock::{MockModel, MockVectors};

/// Longer than anything here takes; a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running server; dropping it stops it and checks that it stopped well.
pub struct Server {
    pub address: SocketAddr,
    pub chat: Arc<MockModel>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

impl Server {
    /// Three models: `chat` (context 64), `org/base` (no chat template, context 32) and `vectors`.
    pub fn start() -> Self {
        Self::with(Options::default(), MockModel::new("chat", 64))
    }

    pub fn with(options: Options, chat: MockModel) -> Self {
        let base = MockModel { has_chat_template: false, ..MockModel::new("org/base", 32) };
        let chat = Arc::new(chat);
        let vectors = Model::Vectors(Arc::new(MockVectors));
        let models = vec![Model::Text(chat.clone()), Model::Text(Arc::new(base)), vectors];
        let options = Options { port: 0, ..options };
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, ready) = channel();
        let asked = stop.clone();
        let thread = std::thread::spawn(move || {
            let on_ready = move |ready| sender.send(ready).expect("the test waits for it");
            serve(options, models, on_ready, move || asked.load(Ordering::SeqCst))
        });
        let address = ready.recv_timeout(PATIENCE).expect("the server starts").address;
        Self { address, chat, stop, thread: Some(thread) }
    }

    /// Stops it and returns how long that took.
    pub fn stop(&mut self) -> Duration {
        let start = Instant::now();
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server does not panic").expect("the server stops without an error");
        }
        start.elapsed()
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("time-out");
        stream.set_write_timeout(Some(PATIENCE)).expect("time-out");
        stream
    }

    /// Sends bytes as they are and reads until the server closes.
    pub fn raw(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        // A server that refuses early may close before everything is written.
        let _ = stream.write_all(request);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    }

    pub fn send(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(&request(self.address, method, path, headers, body)).expect("write");
        Answer::read(&mut stream)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "", b"")
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, JSON, body.to_string().as_bytes())
    }

    /// Asks `chat` one thing, with more fields.
    pub fn chat(&self, text: &str, more: &Value) -> Answer {
        self.post("/v1/chat/completions", &chat_body(text, more))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

/// The header that a JSON request needs.
pub const JSON: &str = "Content-Type: application/json\r\n";

pub fn chat_body(text: &str, more: &Value) -> Value {
    let mut body = json!({ "model": "chat", "messages": [{ "role": "user", "content": text }] });
    for (field, value) in more.as_object().expect("an object") {
        body[field] = value.clone();
    }
    body
}

/// A request that asks the server to close afterwards; a `Host` in `headers` replaces the right one.
pub fn request(address: SocketAddr, method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let host = if headers.contains("Host:") { String::new() } else { format!("Host: {address}\r\n") };
    let head = format!(
        "{method} {path} HTTP/1.1\r\n{host}{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("an answer");
        Self::parse(&bytes)
    }

    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {text:?}"));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let body = if chunked { unchunk(body) } else { body.to_owned() };
        Self { status, head: head.to_owned(), body }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// Status, `code` and `param` of an error in the API's shape.
    #[track_caller]
    pub fn error(&self) -> (u16, String, String) {
        let json = self.json();
        let error = json["error"].as_object().unwrap_or_else(|| panic!("no error in {json}"));
        let keys: Vec<&str> = error.keys().map(String::as_str).collect();
        assert_eq!(keys, ["message", "type", "param", "code"]);
        assert!(error["message"].as_str().is_some_and(|message| message.len() > 10), "{json}");
        let text = |key: &str| error[key].as_str().unwrap_or("-").to_owned();
        (self.status, text("code"), text("param"))
    }

    /// The events of a stream; the last must be `[DONE]`, which is left out.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        assert!(self.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream")), "{}", self.head);
        let mut events: Vec<&str> = self.body.split_terminator("\n\n").collect();
        assert_eq!(events.pop(), Some("data: [DONE]"));
        events
            .into_iter()
            .map(|event| serde_json::from_str(event.strip_prefix("data: ").expect("data")).expect("JSON"))
            .collect()
    }
}

fn unchunk(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a chunk's size");
        body.push_str(&after[..size]);
        if size == 0 {
            return body;
        }
        rest = &after[size + 2..];
    }
    panic!("the stream was cut off after {body:?}");
}

/// Waits until something is so.
#[track_caller]
pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}
