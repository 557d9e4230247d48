//! `pull`, from servers on loopback. (What the hub crate does with them is tested there.)

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use tsumugi_base::testing::temporary_folder;

use crate::support::{Ran, binary, tiny_model, tsumugi};

/// Gives every file of `folder` by its name, whatever the address looks like; else 404.
fn serve_files(folder: &Path) -> String {
    let (listener, folder) = (TcpListener::bind("127.0.0.1:0").unwrap(), folder.to_owned());
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            lines.find(|line| line.as_ref().map_or(true, String::is_empty));
            let name = first.split([' ', '/', '?']).rev().nth(2).unwrap().to_owned();
            let (status, body) = fs::read(folder.join(name)).map_or((404, Vec::new()), |body| (200, body));
            let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            // A client that goes away is judged by its own output.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    url
}

#[test]
fn the_catalogue_is_listed_with_sizes_and_licences() {
    let folder = temporary_folder();
    tsumugi(folder.path(), &["pull"]).is("
        exit 0
        ---- stdout
        all-minilm-l6-v2     87.3 MiB        sentence embeddings: BERT, 22.7 M parameters, 384 wide, float32; Apache-2.0
        gemma3-270m         241.4 MiB        base model: Gemma 3, 268 M parameters, GGUF Q4_K_M; the Gemma Terms of Use
        smollm2-135m         93.8 MiB        chat model: SmolLM2, 135 M parameters, GGUF Q4_1; Apache-2.0
    ");
    let listed = tsumugi(folder.path(), &["pull", "--json"]).json();
    assert_eq!(listed["catalogue"][2]["name"], "smollm2-135m");
    assert_eq!(
        (&listed["catalogue"][2]["path"], listed["pulled"].as_array().unwrap().len()),
        (&serde_json::Value::Null, 0)
    );
    assert!(!folder.path().join("store").exists(), "looking makes nothing");
}

#[test]
fn what_was_pulled_is_listed_and_a_second_pull_fetches_nothing() {
    let folder = temporary_folder();
    tiny_model(&folder.path().join("files"), false);
    let address = format!("{}/a/model.safetensors", serve_files(&folder.path().join("files")));
    let first = tsumugi(folder.path(), &["pull", &address, "--json"]).json();
    assert_eq!(first["fetched_bytes"], first["bytes"]);
    assert!(Path::new(first["path"].as_str().unwrap()).ends_with("model.safetensors"), "{first}");
    let again = tsumugi(folder.path(), &["pull", &address]);
    assert_eq!(again.stdout.trim(), first["path"].as_str().unwrap().replace(folder.path().to_str().unwrap(), "[DIR]"));
    assert!(again.stderr.contains("was here already"), "{}", again.stderr);
    let listed = tsumugi(folder.path(), &["pull", "--json"]).json();
    assert_eq!(listed["pulled"][0]["source"], address);
    assert!(tsumugi(folder.path(), &["pull"]).stdout.contains(&format!("{address} ")));
}

#[test]
fn a_path_is_checked_and_printed() {
    let folder = temporary_folder();
    tiny_model(&folder.path().join("model"), false);
    tsumugi(folder.path(), &["pull", "model"]).is("
        exit 0
        ---- stdout
        model
        ---- stderr
        model is here already: a model folder (llama), 20 tensors, 50.3 KiB
    ");
    let weights = tsumugi(folder.path(), &["pull", "model/model.safetensors", "--json"]).json();
    assert_eq!((&weights["kind"], &weights["fetched_bytes"]), (&"a safetensors file".into(), &0.into()));
    fs::write(folder.path().join("broken.gguf"), "GGUF").unwrap();
    let broken = tsumugi(folder.path(), &["pull", "broken.gguf"]);
    assert!(broken.code == 2 && broken.stderr.contains("broken.gguf"), "{}", broken.stderr);
}

#[test]
fn a_path_that_is_no_model_is_refused_with_a_next_step() {
    let folder = temporary_folder();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("notes.txt", "text");
    write("cut.safetensors", "1234");
    for path in ["empty", "configured", "holder/chat"] {
        fs::create_dir_all(folder.path().join(path)).unwrap();
    }
    write("configured/config.json", r#"{"model_type": "llama"}"#);
    write("holder/chat/config.json", "{}");
    for (path, reason, hint) in [
        ("notes.txt", "notes.txt is a file, but a model is a folder", "hint: give"),
        ("cut.safetensors", "4 bytes are too few for a safetensors file", "hint: the file is cut short"),
        ("empty", "empty has no weights", "hint: give the folder"),
        ("configured", "configured has no weights", "hint: give the folder"),
        ("holder", "holder is no model, but a folder that holds models", "hint: give the one in it: holder/chat"),
    ] {
        let refused = tsumugi(folder.path(), &["pull", path]);
        assert_eq!((refused.code, refused.stdout.as_str()), (2, ""), "{path}");
        assert!(refused.stderr.contains(reason) && refused.stderr.contains(hint), "{path}: {}", refused.stderr);
    }
}

fn with_hub(folder: &Path, endpoint: &str, arguments: &[&str]) -> Ran {
    Ran::of(binary(folder, arguments).env("HF_ENDPOINT", endpoint).output().unwrap(), folder)
}

#[test]
fn failures_say_what_to_do() {
    let folder = temporary_folder();
    tsumugi(folder.path(), &["pull", "smollm-135m"]).is("
        exit 2
        ---- stderr
        error: `smollm-135m` is no path that exists, and not in the catalogue

        hint: did you mean `smollm2-135m`? `tsumugi pull` lists all
    ");
    tsumugi(folder.path(), &["pull", "gemma3-270m"]).is("
        exit 2
        ---- stderr
        gemma3-270m comes under the Gemma Terms of Use (https://ai.google.dev/gemma/terms)
        error: gemma3-270m comes under the Gemma Terms of Use, which must be accepted first

        hint: read https://ai.google.dev/gemma/terms; if you accept it: `tsumugi pull gemma3-270m --accept-licence`
    ");
    tsumugi(folder.path(), &["pull", "http://models.example/a.gguf"]).is("
        exit 2
        ---- stderr
        error: http://models.example/a.gguf is not encrypted: what comes from there could be anybody's

        hint: use https, or allow it with `--allow-http`
    ");
    let endpoint = serve_files(folder.path());
    let ran = with_hub(folder.path(), &endpoint, &["pull", "hf:org/name"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.starts_with("error: there is no hf:org/name that anybody may read"), "{}", ran.stderr);
}
