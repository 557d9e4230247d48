//! Starting, the queue, clients that leave, stopping.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::scope;
use std::time::Duration;

use serde_json::json;
use tsumugi_base::Hint;
use tsumugi_serve::{Model, Options, ServeError, serve};

use crate::client::{Answer, JSON, Server, chat_body, eventually, request};
use crate::generation::text_of;
use crate::mock::MockModel;

fn slow() -> MockModel {
    MockModel { pause: Duration::from_millis(5), ..MockModel::new("chat", 1_000_000) }
}

fn refused(options: Options, names: &[&str]) -> ServeError {
    let models = names.iter().map(|name| Model::Text(Arc::new(MockModel::new(name, 64)))).collect();
    serve(options, models, |_| panic!("it must not start"), || true).expect_err("it must not start")
}

#[test]
fn a_port_in_use_says_what_to_do() {
    let server = Server::start();
    let port = server.address.port();
    let error = refused(Options { port, ..Options::default() }, &["chat"]);
    assert!(matches!(error, ServeError::Listen { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot listen on 127.0.0.1:{port}: ")), "{text}");
    let hint = error.hint().expect("a hint");
    assert!(hint.contains(&format!("port {port}")) && hint.contains("--port"), "{hint}");
}

#[test]
fn what_cannot_be_served_is_refused_before_it_starts() {
    assert!(matches!(refused(Options::default(), &[]), ServeError::NoModels));
    let twice = refused(Options::default(), &["a", "b", "a"]);
    assert!(matches!(&twice, ServeError::DuplicateModel { name } if name == "a"), "{twice:?}");
    let keys = |key: &str| Options { api_keys: vec!["good".into(), key.into()], ..Options::default() };
    for bad in ["", "two words", "schlüssel"] {
        let error = refused(keys(bad), &["a"]);
        assert!(matches!(error, ServeError::BadApiKey { position: 2, count: 2, .. }), "{error:?}");
        assert!(bad.is_empty() || !error.to_string().contains(bad), "a key must not be repeated: {error}");
    }
    let elsewhere = Options { address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), ..Options::default() };
    let error = refused(elsewhere, &["a"]);
    assert!(error.hint().is_some_and(|hint| hint.contains("192.0.2.1")), "{error}");
}

#[test]
fn a_client_that_leaves_stops_the_model() {
    let server = Server::with(Options::default(), slow());
    // A byte more than the request, which the server never reads, must not hide that the client left.
    for (stream, more) in [(true, ""), (false, ""), (true, "\n"), (false, "x")] {
        eventually("an idle server", || server.get("/health").json()["running"] == 0);
        let before = server.chat.cancelled.load(Ordering::SeqCst);
        let body = chat_body("forever", &json!({"stream": stream})).to_string();
        let mut socket = server.connect();
        socket
            .write_all(&request(server.address, "POST", "/v1/chat/completions", JSON, body.as_bytes()))
            .and_then(|()| socket.write_all(more.as_bytes()))
            .expect("write");
        if stream {
            let mut first = [0; 200];
            socket.read_exact(&mut first).expect("the stream begins");
        } else {
            eventually("the request running", || server.get("/health").json()["running"] == 1);
        }
        drop(socket);
        eventually(&format!("the cancellation (stream: {stream})"), || {
            server.chat.cancelled.load(Ordering::SeqCst) == before + 1
        });
    }
    eventually("an idle server", || server.get("/health").json()["running"] == 0);
}

#[test]
fn a_client_that_leaves_while_its_prompt_is_read_stops_the_model() {
    let server = Server::start();
    for (stream, left) in [(true, 1), (false, 2)] {
        let body = chat_body("ponder", &json!({"stream": stream})).to_string();
        let mut socket = server.connect();
        socket
            .write_all(&request(server.address, "POST", "/v1/chat/completions", JSON, body.as_bytes()))
            .expect("write");
        eventually("the request running", || server.get("/health").json()["running"] == 1);
        drop(socket);
        eventually("the cancellation", || server.chat.cancelled.load(Ordering::SeqCst) == left);
        eventually("an idle server", || server.get("/health").json()["running"] == 0);
    }
}

#[test]
fn a_full_queue_says_so_and_a_client_that_leaves_makes_room() {
    let server = Server::with(Options { max_waiting: 2, ..Options::default() }, slow());
    let send = |text: &str| {
        let mut socket = server.connect();
        let body = chat_body(text, &json!({"stream": true})).to_string();
        socket
            .write_all(&request(server.address, "POST", "/v1/chat/completions", JSON, body.as_bytes()))
            .expect("write");
        socket
    };
    let load = |running: u32, waiting: u32| {
        let health = server.get("/health").json();
        health["running"] == running && health["waiting"] == waiting
    };
    let first = send("forever");
    eventually("one running", || load(1, 0));
    let second = send("forever");
    eventually("one waiting", || load(1, 1));
    let third = send("forever");
    eventually("two waiting", || load(1, 2));

    let answer = server.chat("hello", &json!({}));
    assert_eq!(answer.error(), (503, "server_busy".into(), "-".into()));
    assert_eq!(answer.header("retry-after"), Some("2"));

    drop(second);
    eventually("room", || load(1, 1));
    drop((first, third));
    eventually("an idle server", || load(0, 0));
    assert_eq!(server.chat("hello", &json!({})).status, 200);
}

#[test]
fn many_clients_all_get_their_own_answer() {
    let server = Server::with(Options::default(), MockModel::new("chat", 4096));
    let server = &server;
    scope(|scope| {
        for client in 0..16 {
            scope.spawn(move || {
                for turn in 0..4 {
                    let text = format!("client {client} turn {turn}");
                    let stream = turn % 2 == 1;
                    let answer = server.chat(&text, &json!({"stream": stream}));
                    assert_eq!(answer.status, 200);
                    let said = match stream {
                        true => text_of(&answer.events()),
                        false => answer.json()["choices"][0]["message"]["content"].as_str().unwrap_or("").to_owned(),
                    };
                    assert!(said.starts_with(&format!("You said: “{text}” I have")), "{text}: {said}");
                }
            });
        }
    });
    assert_eq!(server.chat.finished.load(Ordering::SeqCst), 64);
}

/// However many say nothing, or half of a header, who asks is answered; it costs the oldest of them its connection.
#[test]
fn silent_connections_keep_nobody_from_being_answered() {
    let server = Server::with(Options { max_connections: 4, ..Options::default() }, MockModel::new("chat", 64));
    let mut silent: Vec<_> = (0..4).map(|_| server.connect()).collect();
    silent[1].write_all(b"GET /health HTTP/1.1\r\nHost: ").expect("write");
    for _ in 0..2 {
        assert_eq!(server.get("/health").status, 200);
    }
    for socket in &mut silent[..1] {
        assert_eq!(socket.read(&mut [0]).expect("the oldest is closed, not forgotten"), 0);
    }
    let newest = silent.last_mut().expect("one of four");
    newest.write_all(&request(server.address, "GET", "/health", "", b"")).expect("the newest is still open");
    assert_eq!(Answer::read(newest).status, 200);
}

#[test]
fn a_keep_alive_connection_serves_many_requests() {
    let server = Server::start();
    let mut socket = server.connect();
    for _ in 0..3 {
        socket.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("write");
        let mut seen = Vec::new();
        while !seen.ends_with(b"}") {
            let mut byte = [0];
            socket.read_exact(&mut byte).expect("read");
            seen.push(byte[0]);
        }
        assert!(seen.starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&seen));
    }
}

#[test]
fn stopping_ends_a_running_answer_within_seconds() {
    let mut server = Server::with(Options::default(), slow());
    let body = chat_body("forever", &json!({"stream": true})).to_string();
    let mut running = server.connect();
    running.write_all(&request(server.address, "POST", "/v1/chat/completions", JSON, body.as_bytes())).expect("write");
    eventually("the request running", || server.get("/health").json()["running"] == 1);
    let mut waiting = server.connect();
    waiting.write_all(&request(server.address, "POST", "/v1/chat/completions", JSON, body.as_bytes())).expect("write");
    eventually("the other waiting", || server.get("/health").json()["waiting"] == 1);
    let _idle = server.connect();

    let took = server.stop();
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert_eq!(crate::client::Answer::read(&mut waiting).error(), (503, "server_stopping".into(), "-".into()));
    let mut rest = String::new();
    running.read_to_string(&mut rest).expect("the stream ends");
    assert!(rest.contains("server_stopping"), "{}", &rest[rest.len().saturating_sub(300)..]);
}

#[test]
fn an_idle_server_stops_at_once() {
    let mut server = Server::start();
    assert_eq!(server.get("/health").json(), json!({"status": "ok", "running": 0, "waiting": 0}));
    let took = server.stop();
    assert!(took < Duration::from_secs(1), "{took:?}");
}
