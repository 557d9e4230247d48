//! `tsumugi generate`

use tsumugi_base::testing::temporary_folder;

use crate::support::{tiny_model, tsumugi};

#[test]
fn the_same_seed_gives_the_same_text() {
    let folder = temporary_folder();
    let path = folder.path();
    tiny_model(&path.join("model"), false);
    let generate = |seed: &str, threads: &str| {
        let arguments = [
            "generate",
            "model",
            "--prompt",
            "ROMEO:",
            "--max-tokens",
            "12",
            "--json",
            "--seed",
            seed,
            "--threads",
            threads,
        ];
        tsumugi(path, &arguments).json()
    };
    let first = generate("1", "1");
    assert_eq!(first["text"], generate("1", "2")["text"]);
    assert_ne!(first["text"], generate("2", "1")["text"]);
    assert_eq!(first["seed"], 1);
    assert!(first["completion_tokens"].as_u64().unwrap() <= 12);
    assert!(["length", "stop"].contains(&first["finish_reason"].as_str().unwrap()));

    let text = tsumugi(path, &["generate", "model", "--prompt", "ROMEO:", "--max-tokens", "12", "--seed", "1", "-v"]);
    assert_eq!(text.code, 0);
    assert_eq!(text.stdout, format!("{}\n", first["text"].as_str().unwrap()));
    assert!(text.stderr.contains(" tokens read in ") && text.stderr.contains("tokens/s"), "{}", text.stderr);
}

#[test]
fn a_prompt_longer_than_the_context_is_refused() {
    let folder = temporary_folder();
    let path = folder.path();
    tiny_model(&path.join("model"), false);
    let ran = tsumugi(path, &["generate", "model", "--prompt", &"zq ".repeat(100)]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.contains("but the context of `model` holds 64"), "{}", ran.stderr);
    assert!(ran.stderr.contains("\n\nhint: shorten the prompt"), "{}", ran.stderr);
}

#[test]
fn a_text_that_fills_the_context_says_so() {
    let folder = temporary_folder();
    let path = folder.path();
    tiny_model(&path.join("model"), false);
    let generate = |count: &str| {
        tsumugi(path, &["generate", "model", "--prompt", "ROMEO:", "--temperature", "0", "--max-tokens", count])
    };
    let full = generate("100");
    assert_eq!(full.code, 0);
    assert!(
        full.stderr.contains("note: the context of 64 tokens is full, so the text is cut off\n"),
        "{}",
        full.stderr
    );
    // As many as were asked for is what was asked for.
    assert!(!generate("5").stderr.contains("note: the context"));
}
