//! `tsumugi data ...`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tsumugi_base::rng::{Key, Stream};
use tsumugi_base::testing::temporary_folder;

use crate::support::{binary, drama, tiny_model, tsumugi};

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

/// Sources and a recipe with every kind of step.
fn corpus(path: &Path) {
    let mut random = Stream::new(Key::from_seed(5));
    let mut lines = String::new();
    for number in 0..3000 {
        let words: Vec<String> = (0..1 + random.below(60)).map(|_| format!("w{}", random.below(500))).collect();
        let text = if number % 11 == 0 { "the same everywhere".into() } else { words.join(" ") };
        lines.push_str(&format!("{}\n", serde_json::json!({ "text": text })));
    }
    lines.insert_str(lines.len() / 2, "\n{broken\n");
    std::fs::write(path.join("lines.jsonl"), &lines).unwrap();
    std::fs::write(path.join("play.txt"), drama()).unwrap();
    tiny_model(&path.join("model"), false);
    let recipe = "shard-bytes = 32768\n[[source]]\nname = 'lines'\npaths = ['lines.jsonl']\n\
                  [[source]]\nname = 'play'\npaths = ['play.txt']\nsplit = 'paragraphs'\nweight = 2.0\n\
                  [[stage]]\nkind = 'length'\nwords-min = 3\n[[stage]]\nkind = 'exact-duplicates'\n\
                  [mix]\nrepeats-max = 1.5\n[pack]\ntokenizer = 'model'\n";
    std::fs::write(path.join("corpus.toml"), recipe).unwrap();
}

/// Every file below a folder, but for the record of when it ran.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(
                files(&path).into_iter().map(|(name, bytes)| (Path::new(path.file_name().unwrap()).join(name), bytes)),
            ),
            false if path.ends_with("run.json") => {}
            false => drop(found.insert(path.file_name().unwrap().into(), std::fs::read(&path).unwrap())),
        }
    }
    found
}

/// How many finished files are below a folder: how far a run is.
fn progress(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_finished = |path: &Path| !path.to_string_lossy().contains("partial");
    entries
        .map(|entry| entry.path())
        .map(|path| if path.is_dir() { progress(&path) } else { usize::from(is_finished(&path)) })
        .sum()
}

/// `kill -9` after so many more files as a seeded generator chooses, or some microseconds after the start.
#[test]
fn a_corpus_run_that_is_killed_again_and_again_leaves_the_same_bytes() {
    let folder = temporary_folder();
    let path = folder.path();
    corpus(path);
    let whole = tsumugi(path, &["data", "run", "corpus.toml", "--out", "whole", "--threads", "2", "--json"]).json();
    assert_eq!(whole["summary"]["faults"], 3, "the broken line, and the halves of that which it cuts");
    let mut random = Stream::new(Key::from_seed(21));
    let (mut killed, mut finished) = (0, false);
    while !finished {
        assert!(killed < 300, "it never comes to an end");
        let threads = ["1", "2", "3"][killed % 3];
        let arguments = ["data", "run", "corpus.toml", "--out", "killed", "--threads", threads];
        let mut child = binary(path, &arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        if random.below(4) == 0 {
            std::thread::sleep(Duration::from_micros(random.below(30_000)));
        } else {
            let enough = progress(&path.join("killed")) + 1 + random.below(6) as usize;
            while progress(&path.join("killed")) < enough && child.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        finished = path.join("killed/manifest.json").exists();
        killed += usize::from(!finished);
    }
    // As if it was killed between its last file and the removal of what only a run at work needs.
    std::fs::create_dir_all(path.join("killed/work/pass-0")).unwrap();
    std::fs::write(path.join("killed/work/pass-0/00000.json"), "{}").unwrap();
    let ran = tsumugi(path, &["data", "run", "corpus.toml", "--out", "killed"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "killed is finished: nothing to do\n"), "{}", ran.stderr);
    assert!(killed >= 3, "it was killed {killed} times only: too short a run to prove anything");
    let (expected, found) = (files(&path.join("whole")), files(&path.join("killed")));
    assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>(), "after {killed} kills");
    assert!(expected == found, "the bytes differ after {killed} kills");
}

#[test]
fn a_corpus_says_what_it_dropped_and_could_not_read() {
    let folder = temporary_folder();
    let path = folder.path();
    corpus(path);
    std::fs::write(path.join("play.txt"), "ROMEO:\nIs the day so young?\n\nToo short.\n").unwrap();
    std::fs::write(path.join("lines.jsonl"), "{\"text\":\"a b c\"}\n{\"text\":\"a b c\"}\nnone\n").unwrap();
    let ran = tsumugi(path, &["data", "run", "corpus.toml", "--strict"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("error: lines.jsonl, byte 34: a line that is no JSON: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: without --strict it is counted"), "{}", ran.stderr);
    let ran = tsumugi(path, &["data", "run", "corpus.toml"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("1. length            too_few_words            1      2\n2. exact-duplicates  exact_duplicate          1      3\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("runs/corpus: 2 of 4 documents, "), "{}", ran.stdout);
    assert!(ran.stdout.ends_with("1 could not be read\n"), "{}", ran.stdout);
    let recipe = std::fs::read_to_string(path.join("corpus.toml")).unwrap();
    std::fs::write(path.join("corpus.toml"), recipe.replace("words-min = 3", "words-min = 2")).unwrap();
    let ran = tsumugi(path, &["data", "run", "corpus.toml"]);
    assert!(ran.stderr.contains("runs/corpus holds a run with other settings: stage (there "), "{}", ran.stderr);
    let ran = tsumugi(path, &["data", "run", "corpus.toml", "--out", "new", "--memory", "3XB"]);
    assert!(ran.stderr.contains("its unit is none of"), "{}", ran.stderr);
}

/// A disk that grows by a few pages each time that it is full, until the run ends. Needs the right to mount, as users have in a
/// namespace of their own on most machines.
#[test]
#[cfg(target_os = "linux")]
fn a_corpus_run_on_a_full_disk_goes_on_when_there_is_room_to_the_same_bytes() {
    const SCRIPT: &str = "
        mount -t tmpfs -o size=16k none disk || exit 77
        size=16 full=0
        until \"$0\" data run corpus.toml --out disk/run --threads 2 > log 2>&1; do
            grep -q 'the disk is full' log && grep -q '^hint: ' log || { cat log; exit 3; }
            full=$((full + 1)) size=$((size + 24))
            [ $full -lt 500 ] || exit 2
            mount -o remount,size=${size}k disk || exit 77
        done
        cp -r disk/run copy && echo $full";
    let folder = temporary_folder();
    let path = folder.path();
    corpus(path);
    tsumugi(path, &["data", "run", "corpus.toml", "--out", "whole", "--threads", "1"]);
    std::fs::create_dir(path.join("disk")).unwrap();
    let unshare = ["--user", "--map-root-user", "--mount", "sh", "-c", SCRIPT, env!("CARGO_BIN_EXE_tsumugi")];
    let ran = Command::new("unshare").args(unshare).current_dir(path).output();
    let Some(ran) = ran.ok().filter(|ran| matches!(ran.status.code(), Some(0 | 2 | 3))) else {
        return eprintln!("SKIPPED: a run on a full disk, for this user may not mount one");
    };
    let said = String::from_utf8_lossy(&ran.stdout);
    let full: usize = said.trim().parse().unwrap_or_else(|_| panic!("{said}{}", String::from_utf8_lossy(&ran.stderr)));
    assert!(full >= 10, "the disk was full {full} times only");
    assert!(files(&path.join("whole")) == files(&path.join("copy")), "the bytes differ after {full} full disks");
}

#[test]
fn a_corpus_of_nothing_is_no_success_each_time() {
    let folder = temporary_folder();
    let path = folder.path();
    std::fs::write(path.join("none.jsonl"), "none\n").unwrap();
    std::fs::write(path.join("r.toml"), "[[source]]\nname = 'a'\npaths = ['none.jsonl']\n").unwrap();
    for _ in 0..2 {
        let ran = tsumugi(path, &["data", "run", "r.toml", "--out", "out"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
        let said = "error: out: no document was read from 1 files; 1 parts could not be read\n\nhint: out/faults.jsonl says why\n";
        assert!(ran.stderr.ends_with(said), "{}", ran.stderr);
    }
}

#[test]
fn a_classifier_is_trained_on_what_can_be_read() {
    let folder = temporary_folder();
    let path = folder.path();
    let lines = |word: &str| -> String {
        (0..60).map(|number| format!("{{\"text\":\"{word} {word}{number} and so on\"}}\n")).collect()
    };
    std::fs::write(path.join("good.jsonl"), lines("proof") + "none\n{\"body\":\"x\"}\n").unwrap();
    std::fs::write(path.join("bad.jsonl"), lines("casino")).unwrap();
    let train = ["data", "classifier", "train", "--positive", "good.jsonl", "--negative", "bad.jsonl", "--out", "c"];
    let ran = tsumugi(path, &train);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.ends_with("; 2 could not be read\n"), "{}", ran.stdout);
    assert!(ran.stderr.contains("warning: left out: good.jsonl, byte ") && ran.stderr.contains("no field `text`"));
    let ran = tsumugi(path, &[&train[..], &["--strict"]].concat());
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.starts_with("error: good.jsonl, byte "), "{}", ran.stderr);
    let ran = tsumugi(path, &["data", "classifier", "score", "c", "good.jsonl"]);
    assert_eq!((ran.code, ran.stdout.lines().count()), (0, 60), "{}", ran.stderr);
}
