//! `tsumugi chat`: what a pipe sees of it. What a session does is tested beside it.

use tsumugi_base::testing::temporary_folder;
use tsumugi_infer::text::chat_file;

use crate::support::{tiny_model, tsumugi, tsumugi_with_input};

#[test]
fn lines_are_answered_and_commands_are_done() {
    let folder = temporary_folder();
    let path = folder.path();
    tiny_model(&path.join("model"), true);
    let input = "Who is there?\n/save out.jsonl\n/reset\n/nonsense\n/quit\nnot read\n";
    let chat = ["chat", "model", "--system", "You are ROMEO.", "--name", "JULIET", "--seed", "1", "--temperature", "0"];
    let ran = tsumugi_with_input(path, &chat, input);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    let rest = "(saved to out.jsonl)\n(a new conversation)\n(there is no command /nonsense; /help lists them)\n";
    assert!(ran.stdout.ends_with(rest), "{}", ran.stdout);
    let saved: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path.join("out.jsonl")).unwrap()).unwrap();
    assert_eq!(saved["messages"][0]["content"], "You are ROMEO.");
    assert_eq!(saved["messages"][1]["name"], "JULIET");
    assert_eq!(saved["messages"][2]["role"], "assistant");
    assert_eq!(
        tsumugi_with_input(path, &["chat", "model", "--seed", "1"], input).code,
        0,
        "out.jsonl is there: said, not fatal"
    );
}

#[test]
fn the_system_message_that_the_model_suggests_is_used_and_said() {
    let folder = temporary_folder();
    let path = folder.path();
    tiny_model(&path.join("model"), true);
    let suggested = chat_file(&["You are ROMEO.".into(), "You are JULIET.".into()]);
    std::fs::write(path.join("model/chat.json"), suggested).unwrap();
    let said = "(system: You are ROMEO.; `--system TEXT` or /system sets another)\n";
    let ran = tsumugi_with_input(path, &["chat", "model", "--seed", "1"], "/system\n");
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("(system: You are ROMEO.)\n", said));
    for (system, expected) in [("Be kind.", "(system: Be kind.)\n"), ("", "(no system message)\n")] {
        let ran = tsumugi_with_input(path, &["chat", "model", "--system", system], "/system\n");
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), (expected, ""));
    }
}

#[test]
fn a_long_conversation_goes_on_without_its_oldest_turns() {
    let folder = temporary_folder();
    let path = folder.path();
    tiny_model(&path.join("model"), true);
    let ran = tsumugi_with_input(path, &["chat", "model", "--seed", "1"], &"What light is this, my lady?\n".repeat(6));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    assert!(ran.stdout.contains("no longer fit and w"), "{}", ran.stdout);
}

#[test]
fn a_base_model_is_refused_with_what_it_can_do() {
    let folder = temporary_folder();
    let path = folder.path();
    tiny_model(&path.join("model"), false);
    tsumugi(path, &["chat", "model"]).is("
        exit 2
        ---- stderr
        error: model is a base model: it has no chat template

        hint: continue a text with `tsumugi generate model`, or tune it first: `tsumugi tune sft`
    ");
}

/// A person reads why; a script looks at the exit code.
#[test]
fn a_message_in_a_pipe_that_cannot_be_answered_is_a_failure() {
    let folder = temporary_folder();
    let path = folder.path();
    tiny_model(&path.join("model"), true);
    let long = format!("{}\n", "word ".repeat(500));
    let ran = tsumugi_with_input(path, &["chat", "model", "--seed", "1"], &long);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(
        ran.stdout.contains("tokens") && ran.stderr.starts_with("error: a message was not answered"),
        "{}",
        ran.stderr
    );
    let ran = tsumugi_with_input(path, &["chat", "model", "--seed", "1"], "Who is there?\n");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}
