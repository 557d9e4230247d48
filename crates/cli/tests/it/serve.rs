//! `tsumugi serve`: that it starts, answers, and ends. What it answers is tested in its crate.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use tsumugi_base::testing::temporary_folder;

use crate::support::{binary, tiny_model, tsumugi};

#[test]
fn it_says_where_answers_and_ends_at_a_signal() {
    let folder = temporary_folder();
    tiny_model(&folder.path().join("model"), true);
    let mut child = binary(folder.path(), &["serve", "model", "--port", "0", "--json"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let said: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(said["models"], serde_json::json!(["model"]));
    let address = said["url"].as_str().unwrap().trim_start_matches("http://").trim_end_matches('/').to_owned();

    let body = r#"{"model":"model","max_tokens":3,"messages":[{"role":"user","content":"hi"}]}"#;
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n");
    write!(stream, "{head}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\"finish_reason\""), "{answer}");

    #[cfg(unix)]
    {
        let killed = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    #[cfg(not(unix))]
    child.kill().unwrap();
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
fn a_base_model_can_be_served_too() {
    let folder = temporary_folder();
    tiny_model(&folder.path().join("model"), false);
    tsumugi(folder.path(), &["serve", "model", "model", "--port", "0"]).is("
        exit 2
        ---- stderr
        error: two models are both named `model`

        hint: rename one of the folders: the folder's name is the model's
    ");
}
