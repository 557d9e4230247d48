//! API keys, `Host` and `Origin`, and the headers that protect the page.

use std::io::Write;

use serde_json::json;
use tsumugi_serve::Options;

use crate::client::{Answer, JSON, Server, chat_body};
use crate::mock::MockModel;

#[test]
fn another_host_is_refused_on_loopback() {
    let server = Server::start();
    let port = server.address.port();
    let get = |host: &str| server.send("GET", "/v1/models", &format!("Host: {host}\r\n"), b"").status;
    for good in [
        "localhost".to_owned(),
        format!("localhost:{port}"),
        "127.0.0.1:9".into(),
        "[::1]:80".into(),
        "x.localhost".into(),
    ] {
        assert_eq!(get(&good), 200, "{good}");
    }
    for bad in ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost@evil.example", "", "0.0.0.0"]
    {
        assert_eq!(get(bad), 403, "{bad}");
    }
    assert_eq!(server.send("GET", "/", "Host: localhost\r\nHost: evil.example\r\n", b"").status, 400);
    let absolute = server.send("GET", "http://evil.example/v1/models", "Host: localhost\r\n", b"");
    assert_eq!(absolute.error().0, 403);
    let mut socket = server.connect();
    socket.write_all(b"GET /v1/models HTTP/1.1\r\nConnection: close\r\n\r\n").expect("write");
    assert_eq!(Answer::read(&mut socket).error().0, 400);
}

#[test]
fn a_name_that_is_made_to_resolve_to_us_is_refused_without_a_key() {
    let everywhere = || Options { address: std::net::Ipv4Addr::UNSPECIFIED.into(), ..Options::default() };
    let get = |server: &Server, headers: &str| server.send("GET", "/v1/models", headers, b"").status;
    let open = Server::with(everywhere(), MockModel::new("chat", 64));
    for good in ["192.168.0.1:8080", "[fe80::1]", "localhost:8080"] {
        assert_eq!(get(&open, &format!("Host: {good}\r\n")), 200, "{good}");
    }
    let refused = open.send("GET", "/v1/models", "Host: evil.example\r\n", b"");
    assert_eq!(refused.error(), (403, "forbidden".into(), "-".into()));
    assert!(refused.body.contains("--api-key"), "{}", refused.body);
    let keyed = Options { api_keys: vec!["key".into()], ..everywhere() };
    let keyed = Server::with(keyed, MockModel::new("chat", 64));
    assert_eq!(get(&keyed, "Host: llm.example\r\nAuthorization: Bearer key\r\n"), 200);
    assert_eq!(get(&keyed, "Host: llm.example\r\n"), 401);
}

#[test]
fn another_origin_is_refused() {
    let server = Server::start();
    let host = server.address.to_string();
    let post = |origin: &str| {
        let headers = format!("{JSON}Origin: {origin}\r\n");
        server.send("POST", "/v1/chat/completions", &headers, chat_body("hello", &json!({})).to_string().as_bytes())
    };
    assert_eq!(post(&format!("http://{host}")).status, 200);
    let other_port = format!("http://127.0.0.1:{}", server.address.port().wrapping_add(1));
    for bad in
        ["null", "https://evil.example", "http://localhost", &other_port, "file://", &format!("ftp://{host}"), &host]
    {
        assert_eq!(post(bad).error(), (403, "forbidden".into(), "-".into()), "{bad}");
    }
    assert_eq!(server.send("GET", "/v1/models", "Origin: https://evil.example\r\n", b"").status, 403);
}

#[test]
fn keys_are_asked_for_where_models_are() {
    let options = Options { api_keys: vec!["one-key".into(), "another".into()], ..Options::default() };
    let server = Server::with(options, MockModel::new("chat", 64));
    let get = |path: &str, header: &str| server.send("GET", path, header, b"");
    for path in ["/v1/models", "/v1/nothing", "/tsumugi/info"] {
        let answer = get(path, "");
        assert_eq!(answer.error(), (401, "invalid_api_key".into(), "-".into()), "{path}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    for wrong in
        ["Bearer one-ke", "Bearer ", "Bearer", "Basic one-key", "one-key", "Bearer one-key another", "Bearer \u{e9}"]
    {
        assert_eq!(get("/v1/models", &format!("Authorization: {wrong}\r\n")).status, 401, "{wrong}");
    }
    for right in ["Bearer one-key", "bearer another", "Bearer  one-key"] {
        assert_eq!(get("/v1/models", &format!("Authorization: {right}\r\n")).status, 200, "{right}");
    }
    for open in ["/", "/health", "/assets/page.js"] {
        assert_eq!(get(open, "").status, 200, "{open}");
    }
    assert_eq!(server.chat("hello", &json!({})).status, 401);
}

#[test]
fn every_answer_carries_the_headers_that_protect_the_page() {
    let server = Server::start();
    for path in ["/", "/assets/page.js", "/health", "/nothing", "/v1/models"] {
        let answer = server.get(path);
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    assert_eq!(server.get("/v1/models").header("cache-control"), Some("no-store"));
}

#[test]
fn the_page_and_its_information_are_served() {
    let options = Options {
        suggested_system_messages: vec!["You are ROMEO.".into()],
        opening_prompts: vec!["Good morrow".into()],
        ..Options::default()
    };
    let server = Server::with(options, MockModel::new("chat", 64));
    let page = server.get("/");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.body.contains("<!doctype html>"), "{}", page.body);
    // Whatever the page names is there, and it names nothing outside.
    for asset in page.body.split(['"', '\'']).filter(|text| text.starts_with("/assets/")) {
        assert_eq!(server.get(asset).status, 200, "{asset}");
    }
    for outside in ["http://", "https://", "//cdn", "<style", "onclick", "<script>"] {
        assert!(!page.body.contains(outside), "{outside}");
    }
    let info = server.get("/tsumugi/info").json();
    let chat =
        json!({"id": "chat", "context_length": 64, "chat": true, "suggested_system_messages": ["You are ROMEO."]});
    assert_eq!(info["models"][0], chat);
    assert_eq!(info["models"][1]["suggested_system_messages"], json!([]), "a base model has no system message");
    assert_eq!(info["opening_prompts"], json!(["Good morrow"]));
    assert_eq!((&info["sampling"]["temperature"], &info["sampling"]["top_p"]), (&json!(0.8), &json!(0.95)));
    assert_eq!(server.send("HEAD", "/", "", b"").status, 200);
}
