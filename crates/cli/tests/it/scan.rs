//! `tsumugi scan`, and the gate that every command which loads a model asks.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::{Value, json};
use tsumugi_base::testing::temporary_folder;

use crate::support::{binary, drama, tiny_model, tsumugi};

/// A pickle that would call `os.system('true')`.
const EVIL: &[u8] = b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R.";

#[test]
fn text_json_sarif_and_exit_codes() {
    let folder = temporary_folder();
    let path = folder.path();
    fs::create_dir(path.join("m")).unwrap();
    fs::write(path.join("m/a.txt"), "a text").unwrap();
    let scan = |arguments: &[&str]| tsumugi(path, &[&["scan", "m"], arguments].concat());
    scan(&[]).is("
        exit 0
        ---- stdout
        1 file, 6 B: nothing found; passes
    ");
    assert_eq!(scan(&["--json"]).json()["passed"], true);

    fs::write(path.join("m/model.pt"), EVIL).unwrap();
    scan(&[]).is("
        exit 1
        ---- stdout
        m/model.pt (pickle)
          critical  calls os.system('true'); os.system runs commands or code  [pickle-dangerous-import]  at @0x2
                    why: Loading a pickle imports and calls what it names; this name runs commands or code, opens files or connections, or loads other files that do.
                    do: do not load the file; ask its author for safetensors, or take it from another source

        2 files, 31 B: 1 critical; fails at medium
    ");
    let ran = scan(&["--json"]);
    let value: Value = serde_json::from_str(&ran.stdout).unwrap();
    let files = value["files"].as_array().unwrap();
    assert_eq!((ran.code, &value["passed"], files.len()), (1, &json!(false), 2));
    assert_eq!(files[1]["findings"][0]["rule"], "pickle-dangerous-import");
    let ran = scan(&["--sarif"]);
    let value: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &value["runs"][0]["results"][0]["level"]), (1, &json!("error")));

    let cut = scan(&["--max-opcodes", "1", "--fail-on", "critical"]);
    assert!(cut.code == 2 && cut.stderr.contains("was not looked at as a whole"), "{}", cut.stderr);
    let none = tsumugi(path, &["scan", "none"]);
    assert!(none.code == 2 && none.stderr.starts_with("error: cannot read none: no such file"), "{}", none.stderr);
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_an_error() {
    let folder = temporary_folder();
    let path = folder.path();
    fs::create_dir(path.join("m")).unwrap();
    let none = tsumugi(path, &["scan", "m"]);
    assert!(none.code == 2 && none.stderr.starts_with("error: no files"), "{}", none.stderr);
    assert!(none.stdout.contains("no files") && !none.stdout.contains("passes"), "{}", none.stdout);
    assert!(std::process::Command::new("mkfifo").arg(path.join("m/pipe")).status().unwrap().success());
    let pipe = tsumugi(path, &["scan", "m/pipe"]);
    assert!(pipe.code == 2 && pipe.stderr.contains("cannot read m/pipe: it is a pipe"), "{}", pipe.stderr);
    fs::write(path.join("m/a.txt"), "a text").unwrap();
    let beside = tsumugi(path, &["scan", "m"]);
    assert!(beside.code == 0 && beside.stdout.contains("pipes and devices skipped: 1"), "{}", beside.stdout);
    std::os::unix::fs::symlink("itself", path.join("m/itself")).unwrap();
    let unread = tsumugi(path, &["scan", "m"]);
    assert!(unread.code == 2 && unread.stderr.contains("m/itself was not looked at"), "{}", unread.stderr);
    fs::write(path.join("m/model.pt"), EVIL).unwrap();
    assert_eq!(tsumugi(path, &["scan", "m"]).code, 1);

    let other = tsumugi(path, &["scan", "m", "--cache", "m/a.txt"]);
    assert!(other.code == 2 && other.stderr.contains("no cache of scans"), "{}", other.stderr);
    assert_eq!(fs::read(path.join("m/a.txt")).unwrap(), b"a text");
}

#[test]
fn a_policy_sets_findings_aside_and_says_so() {
    let folder = temporary_folder();
    let path = folder.path();
    fs::create_dir(path.join("m")).unwrap();
    fs::write(path.join("m/model.pt"), EVIL).unwrap();
    fs::write(path.join("m/old.pt"), EVIL).unwrap();
    let policy = |until: &str| {
        let text = format!(
            "exclude = ['m/old.pt']\n[[suppress]]\nrule = 'pickle-dangerous-import'\npaths = ['m']\n\
             reason = 'a sample'\nuntil = {until}\n"
        );
        fs::write(path.join("policy.toml"), text).unwrap();
    };
    let scan = |arguments: &[&str]| tsumugi(path, &[&["scan", "m", "--policy", "policy.toml"], arguments].concat());
    policy("9999-12-31");
    scan(&[]).is("
        exit 0
        ---- stdout
        1 file, 25 B: nothing found; passes; suppressed by the policy: 1; left out by the policy: 1
    ");
    let said = scan(&["--json"]).json();
    assert_eq!((&said["suppressed"], &said["excluded"]), (&json!(1), &json!(1)));
    assert_eq!(said["files"][0]["suppressed"][0]["reason"], "a sample");
    let value: Value = serde_json::from_str(&scan(&["--sarif"]).stdout).unwrap();
    let suppression = &value["runs"][0]["results"][0]["suppressions"][0];
    assert_eq!(suppression["justification"], "a sample (until 9999-12-31)");
    assert_eq!(suppression["kind"], "external");

    policy("2020-01-01");
    let ended = scan(&[]);
    assert!(ended.code == 1 && ended.stdout.contains("(it was suppressed until 2020-01-01)"), "{}", ended.stdout);

    fs::write(path.join("policy.toml"), "fail-on = 'critical'\nseverity = {pickle-dangerous-import = 'high'}\n")
        .unwrap();
    assert_eq!(scan(&[]).code, 0);
    assert_eq!(scan(&["--fail-on", "high"]).code, 1, "the flag goes before the policy");
    fs::write(path.join("policy.toml"), "severity = {pickles = 'high'}\n").unwrap();
    scan(&[]).is("
        exit 2
        ---- stderr
        error: policy.toml: there is no rule `pickles`

        hint: docs/scan.md shows a policy, docs/reference/scan-rules.md has every rule
    ");
}

#[test]
fn a_deep_scan_finds_what_lies_in_the_middle() {
    let folder = temporary_folder();
    let path = folder.path();
    fs::write(path.join("weights.bin"), [&[0x55; 300_000][..], EVIL].concat()).unwrap();
    assert_eq!(tsumugi(path, &["scan", "weights.bin"]).code, 0);
    let ran = tsumugi(path, &["scan", "weights.bin", "--deep"]);
    assert!(ran.code == 1 && ran.stdout.contains("at @0x493e2"), "{}", ran.stdout);
}

#[cfg(unix)]
#[test]
fn unchanged_files_are_remembered() {
    let folder = temporary_folder();
    let path = folder.path();
    fs::create_dir(path.join("m")).unwrap();
    fs::write(path.join("m/a.pt"), EVIL).unwrap();
    fs::write(path.join("m/b.pt"), b"\x80\x02N.").unwrap();
    // What was written in this second may change again in it.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let scan = || {
        let ran = tsumugi(path, &["scan", "m", "--cache", "cache", "--json"]);
        let value: Value = serde_json::from_str(&ran.stdout).unwrap();
        (ran.code, value["remembered"].as_u64().unwrap(), value["files"].clone(), ran.stderr)
    };
    let first = scan();
    assert_eq!((first.0, first.1), (1, 0));
    let second = scan();
    assert_eq!((second.0, second.1, &second.2), (1, 2, &first.2), "the same report");
    fs::write(path.join("m/a.pt"), b"\x80\x02N.").unwrap();
    assert_eq!(scan().1, 1);
    let mut damaged = fs::read(path.join("cache")).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(path.join("cache"), damaged).unwrap();
    let after = scan();
    assert!(after.1 == 0 && after.3.starts_with("warning: cache: "), "{}", after.3);
}

#[test]
fn a_store_is_watched() {
    let folder = temporary_folder();
    let path = folder.path();
    fs::create_dir(path.join("store")).unwrap();
    let mut child = binary(path, &["scan", "store", "--watch=1", "--json"]).spawn().unwrap();
    fs::write(path.join("store/a.pt"), EVIL).unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let said: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&said["path"], &said["passed"]), (&json!("store/a.pt"), &json!(false)), "{line}");
    #[cfg(unix)]
    {
        std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1), "there was a finding");
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Every command that loads a model or its tokenizer, and a corpus as `c.toml` has it.
const LOADING: [&[&str]; 19] = [
    &["generate", "model", "--prompt", "a"],
    &["chat", "model"],
    &["serve", "model", "--port", "0"],
    &["embed", "model", "a"],
    &["rerank", "model", "a", "b"],
    &["perplexity", "model", "a.txt"],
    &["quantize", "model", "out.gguf", "--type", "Q8_0"],
    &["convert", "model", "out.gguf"],
    &["convert", "model", "out"],
    &["bench", "model"],
    &["tune", "sft", "model", "--data", "a.txt", "--out", "out"],
    &["pull", "./model"],
    &["tokenizer", "encode", "model", "a"],
    &["tokenizer", "decode", "model", "1"],
    &["tokenizer", "inspect", "model"],
    &["tokenizer", "compare", "model", "--files", "a.txt"],
    &["data", "pack", "a.txt", "--tokenizer", "model", "--out", "out"],
    &["data", "preview", "a.txt", "--tokenizer", "model"],
    &["data", "run", "c.toml", "--out", "out"],
];

/// A model as these take it, and a corpus.
fn model_and_corpus(path: &Path) {
    tiny_model(&path.join("model"), true);
    fs::write(path.join("a.txt"), drama()).unwrap();
    fs::write(path.join("c.toml"), "[[source]]\nname = 'a'\npaths = ['a.txt']\n[pack]\ntokenizer = 'model'\n").unwrap();
}

/// With a file beside the weights that would run a command in Python.
#[test]
fn no_command_loads_what_would_do_harm() {
    let folder = temporary_folder();
    let path = folder.path();
    model_and_corpus(path);
    fs::write(path.join("model/extra.pkl"), EVIL).unwrap();
    for command in LOADING {
        let ran = tsumugi(path, command);
        let refusal = "extra.pkl is not admitted: calls os.system('true'); os.system runs commands or code (critical: ";
        assert!(ran.code == 2 && ran.stderr.contains(refusal), "{command:?}: {} {}", ran.code, ran.stderr);
        assert!(ran.stderr.contains("`--allow-unsafe` loads it all the same"), "{command:?}: {}", ran.stderr);
        let help = tsumugi(path, &[&command[..command.iter().position(is_argument).unwrap()], &["--help"]].concat());
        assert!(help.stdout.contains("--allow-unsafe"), "{command:?} has the way out that it names");
        assert!(!path.join("out").exists() && !path.join("out.gguf").exists(), "{command:?}: nothing is written");
    }
    let ran = tsumugi(path, &["generate", "model", "--prompt", "a", "--max-tokens", "2", "--allow-unsafe"]);
    assert!(ran.code == 0 && ran.stderr.starts_with("warning: model/extra.pkl: calls os.system"), "{}", ran.stderr);
}

#[test]
fn no_command_loads_what_is_not_signed_where_a_policy_demands_it() {
    let folder = temporary_folder();
    let path = folder.path();
    model_and_corpus(path);
    assert_eq!(tsumugi(path, &["keygen", "a.key"]).code, 0);
    fs::write(path.join("policy.toml"), "[signatures]\nrequired = true\nkeys = ['a.key.pub']\n").unwrap();
    for command in LOADING {
        let ran = tsumugi(path, &[command, &["--policy", "policy.toml", "--allow-unsafe"]].concat());
        let refusal = "model is not admitted: policy.toml demands a signature, and there is no ./model/model.sig\n";
        let refusal = if command[0] == "pull" { refusal.to_owned() } else { refusal.replace("./", "") };
        assert!(ran.code == 2 && ran.stderr.contains(&refusal), "{command:?}: {} {}", ran.code, ran.stderr);
        assert!(!path.join("out").exists() && !path.join("out.gguf").exists(), "{command:?}: nothing is written");
    }
    let inspect = ["tokenizer", "inspect", "model/tokenizer.json", "--policy", "policy.toml"];
    let ran = tsumugi(path, &inspect);
    assert!(ran.code == 2 && ran.stderr.contains("there is no model/tokenizer.json.sig"), "{}", ran.stderr);

    assert_eq!(tsumugi(path, &["sign", "model", "--key", "a.key"]).code, 0);
    assert_eq!(tsumugi(path, &inspect).code, 0, "it is one of the folder's files");
    let generate = ["generate", "model", "--prompt", "a", "--max-tokens", "2", "--policy", "policy.toml"];
    assert_eq!(tsumugi(path, &generate).code, 0);
    fs::write(path.join("model/more.txt"), "more").unwrap();
    tsumugi(path, &generate).is("
        exit 2
        ---- stderr
        error: model is not admitted: more.txt was not signed (policy.toml demands what model/model.sig says)

        hint: `tsumugi verify model --key FILE` shows all; fetch the model again
    ");
    let ran = binary(path, &generate[..6]).env("TSUMUGI_POLICY", "policy.toml").output().unwrap();
    assert_eq!(ran.status.code(), Some(2), "a policy of the environment counts everywhere");
    fs::write(path.join("policy.toml"), "signatures = 1").unwrap();
    let ran = tsumugi(path, &generate);
    assert!(ran.code == 2 && ran.stderr.contains("for '--policy <FILE>': policy.toml: "), "{}", ran.stderr);
    let ran = binary(path, &generate[..6]).env("TSUMUGI_POLICY", "policy.toml").output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    let place = "invalid value 'policy.toml' in the environment variable TSUMUGI_POLICY: policy.toml: ";
    assert!(ran.status.code() == Some(2) && said.contains(place) && !said.contains("--policy"), "{said}");
}

/// Words of a command line that are not the command's own name.
fn is_argument(word: &&str) -> bool {
    word.contains(['.', '-']) || matches!(*word, "model" | "a")
}

#[test]
fn a_vocabulary_that_is_a_program_is_refused() {
    let folder = temporary_folder();
    fs::write(folder.path().join("tokenizer.model"), EVIL).unwrap();
    let ran = tsumugi(folder.path(), &["tokenizer", "inspect", "tokenizer.model"]);
    assert!(ran.code == 2 && ran.stderr.contains("tokenizer.model is not admitted"), "{}", ran.stderr);
}

/// Readers of training data take texts and tables, in which nothing can be run; everything else is an error.
#[test]
fn training_data_that_is_no_text_is_refused() {
    let folder = temporary_folder();
    let path = folder.path();
    let is_refused = |arguments: &[&str]| {
        let ran = tsumugi(path, arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.stdout);
        assert!(ran.stderr.starts_with("error: ") && !ran.stderr.contains("panic"), "{arguments:?}: {}", ran.stderr);
        assert!(!Path::new(&path.join("out")).join("model.safetensors").exists());
    };
    tiny_model(&path.join("model"), true);
    for name in ["a.txt", "a.jsonl", "a.npy", "a.pkl"] {
        fs::write(path.join(name), EVIL).unwrap();
        is_refused(&["train", "--data", name, "--depth", "2", "--steps", "1", "--out", "out"]);
        is_refused(&["tune", "sft", "model", "--data", name, "--out", "out"]);
    }
}
