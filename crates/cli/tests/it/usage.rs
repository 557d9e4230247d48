//! Help, typing errors, streams.

use std::io::Read;
use std::time::{Duration, Instant};

use tsumugi_base::testing::temporary_folder;

use crate::support::{binary, tiny_tokenizer, tsumugi};

#[test]
fn a_mistyped_command_suggests_the_near_one() {
    let folder = temporary_folder();
    tsumugi(folder.path(), &["generatte", "x"]).is("
        exit 2
        ---- stderr
        error: unrecognized subcommand 'generatte'

        hint: a similar subcommand exists: 'generate'

        Usage: tsumugi <COMMAND>

        For more information, try '--help'.
    ");
}

#[test]
fn help_is_a_word_as_well_as_a_flag() {
    let folder = temporary_folder();
    for (word, flag) in [
        (&["help"][..], &["--help"][..]),
        (&["help", "train"], &["train", "--help"]),
        (&["help", "tune", "sft"], &["tune", "sft", "--help"]),
        (&["help", "tokenizer"], &["tokenizer", "--help"]),
    ] {
        let (by_word, by_flag) = (tsumugi(folder.path(), word), tsumugi(folder.path(), flag));
        assert_eq!((by_word.code, &by_word.stdout, &by_word.stderr), (by_flag.code, &by_flag.stdout, &by_flag.stderr));
        assert_eq!(by_word.code, 0, "{word:?}");
    }
    for (word, unknown) in [(&["help", "trian"][..], "trian"), (&["help", "train", "extra"], "extra")] {
        let ran = tsumugi(folder.path(), word);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
        assert!(ran.stderr.starts_with(&format!("error: unrecognized subcommand '{unknown}'")), "{}", ran.stderr);
    }
    let of_help = tsumugi(folder.path(), &["help", "help"]);
    assert!(of_help.code == 0 && of_help.stdout.contains("Usage: tsumugi help [COMMAND]..."), "{}", of_help.stdout);
}

#[test]
fn a_mistyped_flag_and_a_bad_value_are_usage_errors() {
    let folder = temporary_folder();
    let ran = tsumugi(folder.path(), &["generate", "x", "--prompt", "a", "--temprature", "1"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("hint: a similar argument exists: '--temperature'"), "{}", ran.stderr);
    let ran = tsumugi(folder.path(), &["generate", "x", "--prompt", "a", "--top-p", "1.5"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("invalid value '1.5' for '--top-p <P>': it must be above 0 and at most 1"),
        "{}",
        ran.stderr
    );
}

#[test]
fn what_the_api_would_refuse_is_refused_here_too() {
    let folder = temporary_folder();
    for (flag, value, expected) in [
        ("--temperature", "2.5", "'2.5' for '--temperature <T>': it must be between 0 and 2"),
        ("--repetition-penalty", "11", "'11' for '--repetition-penalty <F>': it must be above 0 and at most 10"),
    ] {
        for command in [&["serve", "x"][..], &["chat", "x"], &["generate", "x", "--prompt", "a"]] {
            let ran = tsumugi(folder.path(), &[command, &[flag, value]].concat());
            assert_eq!(ran.code, 2);
            assert!(ran.stderr.contains(expected), "{}", ran.stderr);
        }
    }
    let ran = tsumugi(folder.path(), &["generate", "x", "--prompt", "a", "--stop", ""]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("every answer would end at once"), "{}", ran.stderr);
}

#[test]
fn help_and_version_go_to_standard_output() {
    let folder = temporary_folder();
    for arguments in [&["--help"][..], &["tokenizer", "--help"], &["tokenizer", "train", "--help"]] {
        let ran = tsumugi(folder.path(), arguments);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        assert!(ran.stdout.contains("Usage: tsumugi"), "{}", ran.stdout);
    }
    tsumugi(folder.path(), &["--version"]).is(&format!("exit 0\n---- stdout\ntsumugi {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn help_starts_in_under_30_ms() {
    let folder = temporary_folder();
    let time = || {
        let start = Instant::now();
        assert!(binary(folder.path(), &["--help"]).output().unwrap().status.success());
        start.elapsed()
    };
    // The least of many: the machine may be busy with other tests.
    let least = (0..40).map(|_| time()).min().unwrap();
    assert!(least < Duration::from_millis(30), "{least:?}");
}

#[test]
fn a_reader_that_has_had_enough_is_no_error() {
    let folder = temporary_folder();
    std::fs::write(folder.path().join("text.txt"), "so long a text ".repeat(100_000)).unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), tiny_tokenizer().to_json()).unwrap();
    let mut child =
        binary(folder.path(), &["tokenizer", "encode", "tokenizer.json", "--file", "text.txt"]).spawn().unwrap();
    let mut some = [0; 8];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap()), (Some(0), String::new()));
}

#[test]
fn the_families_are_listed() {
    let folder = temporary_folder();
    let ran = tsumugi(folder.path(), &["models", "--json"]).json();
    assert_eq!(ran["families"][0]["model_type"], "gpt2");
    assert_eq!(ran["families"].as_array().unwrap().len(), tsumugi_models::ALL.len() + tsumugi_models::bert::ALL.len());
    assert_eq!(ran["catalogue"][0]["name"], "all-minilm-l6-v2");
    let text = tsumugi(folder.path(), &["models"]).stdout;
    assert!(text.starts_with("gpt2 ") && text.contains("\n\nall-minilm-l6-v2 "), "{text}");
}
