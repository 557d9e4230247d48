//! `tsumugi tune ...`

use tsumugi_base::testing::temporary_folder;

use crate::support::{drama, tiny_model, tsumugi, tsumugi_with_input};

#[test]
fn a_base_model_becomes_a_chat_model() {
    let folder = temporary_folder();
    let path = folder.path();
    tiny_model(&path.join("base"), false);
    std::fs::write(path.join("base/README.md"), "---\nlicense: mit\n---\n").unwrap();
    std::fs::write(path.join("drama.txt"), drama()).unwrap();
    let tune = ["tune", "sft", "base", "--data", "drama.txt", "--steps", "3", "--batch", "2", "--out", "chat"];
    let said = tsumugi(path, &[&tune[..], &["--json"]].concat()).json();
    assert_eq!((&said["steps"], &said["finished"]), (&3.into(), &true.into()), "{said}");
    assert!(said["conversations"].as_u64().unwrap() > 5, "{said}");
    let card = std::fs::read_to_string(path.join("chat/README.md")).unwrap();
    assert_eq!(card, "---\nlicense: mit\n---\n", "the licence goes with what was learned from");
    let chat = tsumugi_with_input(path, &["chat", "chat", "--seed", "1"], "Who is there?\n");
    assert_eq!((chat.code, chat.stderr.as_str()), (0, ""));
    tsumugi(path, &tune).is("
        exit 0
        ---- stdout
        chat is finished: nothing to do
    ");
}

#[test]
fn what_cannot_be_tuned_is_refused() {
    let folder = temporary_folder();
    let path = folder.path();
    tiny_model(&path.join("base"), false);
    std::fs::write(path.join("drama.txt"), drama()).unwrap();
    let tune = |more: &[&str]| tsumugi(path, &[&["tune", "sft", "--out", "chat"], more].concat());
    tune(&["--data", "drama.txt"]).is("
        exit 2
        ---- stderr
        error: no model is given to begin with

        hint: `tsumugi tune sft MODEL --data FILE --out DIR`
    ");
    tune(&["base", "--model", "other", "--data", "drama.txt"]).is("
        exit 2
        ---- stderr
        error: two models are given to begin with: base and other

        hint: leave `--model` out
    ");
    std::fs::write(path.join("prose.txt"), "Once upon a time.\n\nThe end.\n").unwrap();
    let prose = tune(&["base", "--data", "prose.txt"]);
    assert!(prose.code == 2 && prose.stderr.starts_with("error: the text has no speeches: "), "{}", prose.stderr);
    assert!(prose.stderr.contains("\n\nhint: "), "{}", prose.stderr);
    std::fs::write(path.join("c.jsonl"), "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}\n").unwrap();
    let unanswered = tune(&["base", "--data", "c.jsonl"]);
    assert!(unanswered.stderr.starts_with("error: c.jsonl, line 1: no message has the role"), "{}", unanswered.stderr);
    assert!(!path.join("chat").exists(), "nothing half-written");
}
