//! `tsumugi data ...`

use tsumugi_base::testing::temporary_folder;

use crate::support::{drama, tiny_model, tsumugi};

#[test]
fn pack_says_what_it_made_and_does_it_once() {
    let folder = temporary_folder();
    let path = folder.path();
    tiny_model(&path.join("model"), false);
    std::fs::write(path.join("a.txt"), drama()).unwrap();
    std::fs::write(path.join("b.txt"), "Another document.").unwrap();
    let pack = ["data", "pack", "a.txt", "b.txt", "--tokenizer", "model", "--out", "tokens", "--json"];
    let first = tsumugi(path, &pack).json();
    assert_eq!(first["documents"], 2);
    assert!(path.join("tokens/index.json").is_file());
    assert_eq!(tsumugi(path, &pack).json(), first);
    let deep = ["data", "pack", "a.txt", "b.txt", "--tokenizer", "model", "--out", "new/folders/tokens", "--json"];
    assert_eq!(tsumugi(path, &deep).json()["tokens"], first["tokens"], "folders above --out are made");
    tsumugi(path, &["data", "pack", "b.txt", "--tokenizer", "model", "--out", "tokens"]).is("
        exit 2
        ---- stderr
        error: tokens already holds tokens made from another text

        hint: name another folder, or remove this one
    ");
    for inside in ["a.txt/x", "a.txt/x/y"] {
        let ran = tsumugi(path, &["data", "pack", "b.txt", "--tokenizer", "model", "--out", inside]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
        assert!(ran.stderr.contains("a.txt is a file, not a folder\n\nhint: "), "{}", ran.stderr);
    }
}

#[test]
fn preview_marks_the_answer_and_the_token_that_ends_it() {
    let folder = temporary_folder();
    let path = folder.path();
    tiny_model(&path.join("model"), true);
    let line = r#"{"messages":[{"role":"system","content":"You are ROMEO."},{"role":"user","content":"Who?","name":"JULIET"},{"role":"assistant","content":"I."}]}"#;
    std::fs::write(path.join("c.jsonl"), format!("{line}\n{line}\n")).unwrap();
    let ran = tsumugi(path, &["data", "preview", "c.jsonl", "--tokenizer", "model", "--count", "1"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let marked = "<|endoftext|><|system|>You are ROMEO.<|end|><|user|>JULIET:\nWho?<|end|><|assistant|>⟦I.<|end|>⟧\n";
    assert!(ran.stdout.starts_with(marked), "{}", ran.stdout);
    // Trained: `I`, `.` and the token that ends the turn.
    assert!(ran.stdout.contains("\n3 of "), "{}", ran.stdout);
    std::fs::write(path.join("drama.txt"), drama()).unwrap();
    let ran = tsumugi(path, &["data", "preview", "drama.txt", "--tokenizer", "model", "--count", "1"]);
    assert!(ran.stdout.contains("<|assistant|>⟦It is the light of 0 candles, my lord.<|end|>⟧"), "{}", ran.stdout);
}

#[test]
fn a_line_that_is_no_conversation_is_named() {
    let folder = temporary_folder();
    let path = folder.path();
    tiny_model(&path.join("model"), true);
    std::fs::write(path.join("c.jsonl"), "{\"messages\":[]}\n{\"mesages\":[]}\n").unwrap();
    tsumugi(path, &["data", "preview", "c.jsonl", "--tokenizer", "model"]).is("
        exit 2
        ---- stderr
        error: c.jsonl, line 2: missing field `messages` at line 1 column 14

        hint: look at it: `sed -n 2p c.jsonl`
    ");
    // Torn, as by a download that ended early.
    let line = r#"{"messages":[{"role":"user","content":"Who?"},{"role":"assistant","content":"I."}]}"#;
    std::fs::write(path.join("torn.jsonl"), format!("{line}\n{line}\n{}", &line[..40])).unwrap();
    for command in [
        &["data", "preview", "torn.jsonl", "--tokenizer", "model"][..],
        &["tune", "sft", "model", "--data", "torn.jsonl", "--out", "run"],
    ] {
        let ran = tsumugi(path, command);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
        assert!(ran.stderr.starts_with("error: torn.jsonl, line 3: EOF while parsing"), "{}", ran.stderr);
    }
}
