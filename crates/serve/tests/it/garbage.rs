//! No bytes, however sent, may panic the server or keep it from the next client.

use std::io::Write;
use std::time::Duration;

use serde_json::json;
use tsumugi_base::rng::{Key, Stream};

use crate::client::{Answer, JSON, Server, chat_body, request};

fn good_request(server: &Server) -> Vec<u8> {
    let more = json!({
        "stream": true, "temperature": 0.5, "stop": ["x"], "max_tokens": 3, "stream_options": {"include_usage": true},
    });
    request(server.address, "POST", "/v1/chat/completions", JSON, chat_body("hello", &more).to_string().as_bytes())
}

#[test]
fn mutated_requests_never_harm() {
    let server = Server::start();
    let good = good_request(&server);
    let mut random = Stream::new(Key::from_seed(7));
    for round in 0..400 {
        let mut bytes = good.clone();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len() as u64) as usize;
            match random.below(4) {
                0 => bytes[at] = random.next_u64() as u8,
                1 => bytes.truncate(at.max(1)),
                2 => bytes.insert(at, b"{}[]\",:\r\n\0"[random.below(10) as usize]),
                _ => {
                    let again = bytes[at..].to_vec();
                    bytes.extend(again);
                }
            }
        }
        let answer = server.raw(&bytes);
        let harmless = answer.is_empty() || answer.starts_with(b"HTTP/1.1 ");
        assert!(harmless, "round {round}: {:?}", String::from_utf8_lossy(&answer));
        assert!(!answer.starts_with(b"HTTP/1.1 500"), "round {round}: {:?}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(server.chat("hello", &json!({})).status, 200);
}

#[test]
fn noise_never_harms() {
    let server = Server::start();
    let mut random = Stream::new(Key::from_seed(8));
    for length in [0_usize, 1, 2, 7, 64, 1000, 100_000] {
        let noise: Vec<u8> = (0..length).map(|_| random.next_u64() as u8).collect();
        let answer = server.raw(&noise);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{:?}", String::from_utf8_lossy(&answer));
    }
    let fixed: [&[u8]; 9] = [
        b"\r\n\r\n\r\n",
        b"GET",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", // a TLS greeting
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ];
    for bytes in fixed {
        let answer = server.raw(bytes);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{:?}", String::from_utf8_lossy(&answer));
    }
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(2_000_000));
    let answer = server.raw(long.as_bytes());
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{:?}", String::from_utf8_lossy(&answer));
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn a_request_that_comes_in_pieces_is_answered() {
    let server = Server::start();
    let mut socket = server.connect();
    for piece in good_request(&server).chunks(17) {
        socket.write_all(piece).expect("write");
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(Answer::read(&mut socket).events().last().map(|event| event["choices"].clone()), Some(json!([])));
}

#[test]
fn slow_and_broken_clients_do_not_hold_up_others() {
    let server = Server::start();
    let good = good_request(&server);
    let stuck: Vec<_> = (0..50)
        .map(|i| {
            let mut socket = server.connect();
            socket.write_all(&good[..good.len() * i / 50]).expect("write");
            socket
        })
        .collect();
    assert_eq!(server.chat("hello", &json!({})).status, 200);
    drop(stuck);
    assert_eq!(server.get("/health").json()["running"], 0);
}
