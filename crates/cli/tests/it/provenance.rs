//! `tsumugi keygen | sign | verify | bom | audit`.

use std::fs;

use tsumugi_base::testing::temporary_folder;

use crate::support::{tiny_model, tsumugi, tsumugi_with_input};

#[test]
fn a_model_is_signed_and_a_change_is_named() {
    let folder = temporary_folder();
    let path = folder.path();
    fs::create_dir(path.join("model")).unwrap();
    fs::write(path.join("model/config.json"), "{}").unwrap();
    tsumugi(path, &["keygen", "a.key"]).is("
        exit 0
        ---- stdout
        a.key: keep it secret, it signs
        a.key.pub: give it away, it verifies
    ");
    tsumugi(path, &["keygen", "a.key"]).is("
        exit 2
        ---- stderr
        error: cannot create a.key: it already exists

        hint: give another path, or remove what is there
    ");
    tsumugi(path, &["sign", "model", "--key", "a.key"]).is("
        exit 0
        ---- stdout
        model/model.sig: 1 file with ECDSA P-256
    ");
    let verified = tsumugi(path, &["verify", "model", "--key", "a.key.pub", "--json"]).json();
    assert_eq!((&verified["verified"], &verified["files"]), (&true.into(), &1.into()), "{verified}");
    fs::write(path.join("model/more.py"), "").unwrap();
    fs::write(path.join("model/config.json"), "[]").unwrap();
    let refused = tsumugi(path, &["verify", "model", "--key", "a.key.pub"]);
    let lines: Vec<&str> = refused.stdout.lines().collect();
    assert_eq!((refused.code, lines[0], lines[1]), (1, "config.json is not what was signed", "more.py was not signed"));
    assert!(lines[2].starts_with("not verified: signed by ECDSA P-256 key "), "{}", lines[2]);
}

#[test]
fn a_signature_elsewhere_and_another_kind_of_key() {
    let folder = temporary_folder();
    let path = folder.path();
    fs::write(path.join("m.gguf"), "GGUF").unwrap();
    assert_eq!(tsumugi(path, &["keygen", "e.key", "--kind", "ed25519"]).code, 0);
    assert_eq!(tsumugi(path, &["sign", "m.gguf", "--key", "e.key"]).code, 0);
    assert_eq!(tsumugi(path, &["verify", "m.gguf", "--key", "e.key.pub"]).code, 0, "m.gguf.sig");
    let sign = ["sign", "m.gguf", "--key", "e.key", "--signature", "s.sig"];
    assert_eq!(tsumugi(path, &sign).code, 0);
    let verify = ["verify", "m.gguf", "--key", "e.key.pub", "--signature", "s.sig"];
    assert_eq!(tsumugi(path, &verify).code, 0);
    fs::write(path.join("s.sig"), "{}").unwrap();
    tsumugi(path, &verify).is("
        exit 1
        ---- stdout
        the signature is not accepted: it is no Sigstore bundle: missing field `mediaType` at line 1 column 2
        not verified
    ");
    tsumugi(path, &["verify", "m.gguf", "--key", "e.key"]).is("
        exit 2
        ---- stderr
        error: e.key: there is no public key in it, as PEM has them

        hint: `tsumugi keygen FILE` makes a pair: FILE signs, FILE.pub verifies
    ");
    assert_eq!(tsumugi(path, &["verify", "m.gguf", "--key", "e.key.pub", "--signature", "no.sig"]).code, 2);
}

#[test]
fn empty_files_without_a_piece_are_named_and_a_model_is_not_left_out() {
    let folder = temporary_folder();
    let path = folder.path();
    fs::create_dir(path.join("model")).unwrap();
    fs::write(path.join("model/config.json"), "{}").unwrap();
    assert_eq!(tsumugi(path, &["keygen", "a.key"]).code, 0);
    tsumugi(path, &["sign", "model", "--key", "a.key", "--ignore", "."]).is("
        exit 2
        ---- stderr
        error: `.` cannot be left out: it is no file or folder in the model

        hint: name it as it is below the model's folder: `sub/notes.txt`
    ");
    assert_eq!(tsumugi(path, &["sign", "model", "--key", "a.key", "--pieces", "--ignore", "./x"]).code, 0);
    fs::write(path.join("model/added.py"), "").unwrap();
    let verify = ["verify", "model", "--key", "a.key.pub"];
    let verified = tsumugi(path, &verify);
    let note = "note: empty files, which a signature over pieces cannot hold: added.py";
    assert_eq!((verified.code, verified.stdout.lines().next()), (0, Some(note)));
    let verified = tsumugi(path, &[verify.as_slice(), &["--json"]].concat()).json();
    assert_eq!(verified["unsigned"], serde_json::json!(["added.py"]));
}

#[test]
fn a_bill_of_a_model() {
    let folder = temporary_folder();
    let path = folder.path();
    tiny_model(&path.join("model"), false);
    let bill = tsumugi(path, &["bom", "model"]).json();
    assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&"CycloneDX".into(), &"1.6".into()));
    assert_eq!(bill["metadata"]["component"]["type"], "machine-learning-model");
    assert_eq!(tsumugi(path, &["bom", "model", "--out", "bom.json", "--timestamp", "0"]).code, 0);
    let written = fs::read_to_string(path.join("bom.json")).unwrap();
    assert!(written.contains("\"timestamp\": \"1970-01-01T00:00:00Z\""), "{written}");
    assert_eq!(tsumugi(path, &["bom", "nothing.gguf"]).code, 2);
}

#[test]
fn configurations_are_judged() {
    let folder = temporary_folder();
    let path = folder.path();
    fs::write(path.join("start.sh"), "tsumugi serve m --address 0.0.0.0\n").unwrap();
    fs::write(path.join("good.sh"), "tsumugi serve m\n").unwrap();
    fs::write(path.join("other.txt"), "words\n").unwrap();
    let json = |arguments: &[&str]| {
        let ran = tsumugi(path, arguments);
        (ran.code, serde_json::from_str::<serde_json::Value>(&ran.stdout).unwrap())
    };
    let (code, report) = json(&["audit", "start.sh", "good.sh", "--json"]);
    let rule = &report["files"][0]["findings"][0]["rule"];
    assert_eq!((code, rule, &report["passed"]), (1, &"audit-exposed-server".into(), &false.into()));
    let (code, log) = json(&["audit", "start.sh", "--sarif", "--fail-on", "critical"]);
    assert_eq!((code, &log["runs"][0]["results"][0]["ruleId"]), (0, &"audit-exposed-server".into()));
    assert_eq!(tsumugi(path, &["audit", "good.sh"]).code, 0);
    assert_eq!(tsumugi(path, &["audit", "other.txt"]).code, 2, "what is not known is not clean");
    assert_eq!(tsumugi(path, &["audit", "start.sh", "other.txt"]).code, 1);
}

/// To open a pipe by its name waits for who writes into it.
#[test]
#[cfg(unix)]
fn pipes_in_place_of_files_are_refused() {
    let folder = temporary_folder();
    let path = folder.path();
    fs::create_dir(path.join("model")).unwrap();
    fs::write(path.join("model/config.json"), "{}").unwrap();
    assert_eq!(tsumugi(path, &["keygen", "a.key"]).code, 0);
    assert_eq!(tsumugi(path, &["sign", "model", "--key", "a.key"]).code, 0);
    assert!(std::process::Command::new("mkfifo").arg(path.join("pipe")).status().unwrap().success());
    for arguments in [
        ["verify", "model", "--key", "a.key.pub", "--signature", "pipe"].as_slice(),
        &["verify", "model", "--key", "pipe"],
        &["verify", "model", "--root", "pipe"],
        &["sign", "model", "--key", "pipe"],
        &["sign", "model", "--key", "a.key", "--certificate", "pipe"],
        &["audit", "pipe"],
        &["scan", "model", "--policy", "pipe"],
    ] {
        let ran = tsumugi(path, arguments);
        assert!(ran.code == 2 && ran.stderr.contains("pipe: it is no plain file"), "{arguments:?}: {}", ran.stderr);
    }
    let read = tsumugi_with_input(path, &["audit", "/dev/stdin"], "mlflow server --host 0.0.0.0\n");
    assert_eq!(read.code, 1, "a pipe that is open has its writer: {}", read.stderr);
}

#[test]
fn where_there_is_no_signature_one_is_told_whom_to_ask() {
    let folder = temporary_folder();
    let path = folder.path();
    fs::create_dir(path.join("model")).unwrap();
    fs::write(path.join("model/config.json"), "{}").unwrap();
    assert_eq!(tsumugi(path, &["keygen", "a.key"]).code, 0);
    tsumugi(path, &["verify", "model", "--key", "a.key.pub"]).is("
        exit 2
        ---- stderr
        error: there is no signature model/model.sig

        hint: get it from whoever published the model, or say where it is with `--signature FILE`; `tsumugi sign` makes one for a model of your own
    ");
    fs::write(path.join("policy.toml"), "[signatures]\nrequired = true\nkeys = ['a.key.pub']\n").unwrap();
    tsumugi(path, &["generate", "model", "--prompt", "a", "--policy", "policy.toml"]).is("
        exit 2
        ---- stderr
        error: model is not admitted: policy.toml demands a signature, and there is no model/model.sig

        hint: get the signature from whoever published the model and lay it there; `tsumugi sign` is for models of your own; `[signatures]` in policy.toml says who is believed, and with `required = false` that a model may have none
    ");
}
