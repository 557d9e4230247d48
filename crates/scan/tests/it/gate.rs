//! The gate before loading, and the scans that are more than one look: deep, remembered, watched.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tsumugi_base::Hint;
use tsumugi_base::progress::{Event, Observer, Silent};
use tsumugi_base::rng::{Key, Stream};
use tsumugi_base::testing::temporary_folder;
use tsumugi_files::{
    Admitted, ElementType, FilesError, Gate as _, ModelFiles, OpenFolder, Refusal, TensorView, write_gguf,
    write_safetensors,
};
use tsumugi_scan::provenance::{Algorithm, Manifest, PrivateKey, Selection, sign};
use tsumugi_scan::{Limits, Policy, Reach, ScanGate, Scanner, Severity, scan_bytes};

use crate::samples::{call, call_4};

/// A safetensors file of one tensor of bytes.
fn write_weights(path: &Path, bytes: &[u8]) {
    let shape = [bytes.len()];
    let tensor = TensorView { name: "weights", element_type: ElementType::U8, shape: &shape, bytes };
    write_safetensors(path, &[tensor], &Default::default()).expect("it is written");
}

fn admit(path: &Path) -> Result<Admitted<ModelFiles>, Refusal> {
    admit_by(path, &Policy::default())
}

fn admit_by(path: &Path, policy: &Policy) -> Result<Admitted<ModelFiles>, Refusal> {
    match ModelFiles::admit(path, &ScanGate { way_out: "--anyway", policy }) {
        Ok(admitted) => Ok(admitted),
        Err(FilesError::Refused(refusal)) => Err(refusal),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_folder_with_anything_that_does_harm_is_refused() {
    let template = r#"{"chat_template": "{{ ''.__class__.__mro__ }}"}"#;
    for (name, content, rule) in [
        ("pytorch_model.bin", call_4("os", "system"), "critical: pickle-dangerous-import at @0x"),
        ("optimizer.pt", call("my.module", "Thing"), "medium: pickle-unknown-call"),
        ("tokenizer_config.json", template.into(), "critical: template-escape at chat_template@0x"),
        ("conf.yaml", b"a: !!python/object/apply:os.system ['x']".to_vec(), "high: unsafe-yaml"),
    ] {
        let folder = temporary_folder();
        write_weights(&folder.path().join("model.safetensors"), &[1; 100]);
        fs::write(folder.path().join("config.json"), "{}").expect("it is written");
        assert_eq!(admit(folder.path()).expect("nothing is wrong").tensors().expect("it is whole").len(), 1);
        fs::write(folder.path().join(name), content).expect("it is written");
        let refusal = admit(folder.path()).expect_err(name);
        assert_eq!(refusal.path, folder.path().join(name));
        assert!(refusal.to_string().contains(rule), "{refusal}");
        let hint = refusal.hint().expect("there is a way out");
        assert!(hint.contains("`tsumugi scan ") && hint.ends_with("`--anyway` loads it all the same"), "{hint}");
    }
}

#[test]
fn a_refusal_does_not_command_the_terminal() {
    let folder = temporary_folder();
    let path = folder.path().join("a.pkl");
    fs::write(&path, call("my\u{1b}[2J", "Thing")).expect("it is written");
    let gate = ScanGate { way_out: "--anyway", policy: &Policy::default() };
    let open = OpenFolder::of_file(&path).expect("it is there");
    let refusal = gate.check(&open).expect_err("it is unknown");
    assert!(refusal.reason.contains("Thing") && !refusal.reason.contains(char::is_control), "{refusal}");
}

/// A pair of keys in files, `name` and `name.pub`.
fn key(folder: &Path, name: &str) -> PrivateKey {
    let (key, _) = PrivateKey::generate(Algorithm::Ed25519).expect("there are random numbers");
    fs::write(folder.join(format!("{name}.pub")), key.public().pem()).expect("it is written");
    key
}

fn sign_model(model: &Path, key: &PrivateKey, signature: &Path) {
    let manifest = Manifest::of(model, Selection::default(), 1, &Silent).expect("it is there");
    let bundle = sign(&manifest, key, &[]).expect("it is signed");
    fs::write(signature, bundle.text()).expect("it is written");
}

fn policy(folder: &Path, text: &str) -> Policy {
    let path = folder.join("policy.toml");
    fs::write(&path, text).expect("it is written");
    Policy::read(&path).expect("it is a policy")
}

#[test]
fn a_policy_demands_a_signature_of_every_file() {
    let folder = temporary_folder();
    let (root, model) = (folder.path(), folder.path().join("model"));
    let [ours, theirs] = ["ours", "theirs"].map(|name| key(root, name));
    let policy = policy(root, "[signatures]\nrequired = true\nkeys = ['ours.pub']\n");
    let make = || {
        let _ = fs::remove_dir_all(&model);
        fs::create_dir(&model).expect("it is made");
        write_weights(&model.join("model.safetensors"), &[1; 100]);
        fs::write(model.join("config.json"), "{}").expect("it is written");
        fs::write(model.join("modules.json"), "[]").expect("it is written");
        for name in ["1_Pooling", "other"] {
            fs::create_dir(model.join(name)).expect("it is made");
            fs::write(model.join(name).join("config.json"), "{}").expect("it is written");
        }
        fs::write(model.join(".hidden"), "x").expect("it is written");
        sign_model(&model, &ours, &model.join("model.sig"));
    };
    make();
    assert!(admit_by(&model, &policy).is_ok(), "it is signed");
    // What is never opened is for `tsumugi verify` to judge.
    fs::write(model.join("other/config.json"), "[]").expect("it is written");
    fs::write(model.join(".hidden"), "y").expect("it is written");
    assert!(admit_by(&model, &policy).is_ok(), "all that is loaded is signed");
    let becomes_folder = |name: &str| {
        fs::remove_file(model.join(name)).expect("it was there");
        fs::create_dir(model.join(name)).expect("it is made");
    };
    let write = |name: &str, text: &str| fs::write(model.join(name), text).expect("it is written");
    let unsigned = "demands a signature, and there is no";
    let cases: [(&dyn Fn(), &str); 10] = [
        (&|| fs::remove_file(model.join("model.sig")).expect("it was there"), unsigned),
        (&|| write("config.json", "[]"), "config.json is not what was signed ("),
        (&|| write("more.py", ""), "more.py was not signed ("),
        (
            &|| fs::remove_file(model.join("config.json")).expect("it was there"),
            "config.json was signed, but is not there",
        ),
        (&|| becomes_folder("config.json"), "config.json was signed, but is not there"),
        (&|| becomes_folder("modules.json"), "modules.json was signed, but is not there"),
        (&|| becomes_folder("1_Pooling/config.json"), "1_Pooling/config.json was signed, but is not there"),
        (&|| sign_model(&model, &theirs, &model.join("model.sig")), "it was made with another key"),
        (&|| write("model.sig", "{}"), "it is no Sigstore bundle"),
        (&|| write("model.sig", ""), "its signature cannot be read: "),
    ];
    for (change, reason) in cases {
        make();
        change();
        let refusal = admit_by(&model, &policy).expect_err(reason);
        assert!(refusal.reason.contains(reason), "{reason}: {refusal}");
        assert_eq!(refusal.path, model, "{reason}");
        assert!(refusal.hint().is_some_and(|hint| !hint.contains("--anyway")), "{reason}: there is no way around it");
        assert!(admit(&model).is_ok(), "{reason}: without a policy nobody asks");
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_is_no_policy_and_no_signature() {
    let folder = temporary_folder();
    let (root, model) = (folder.path(), folder.path().join("model"));
    key(root, "ours");
    let policy = policy(root, "[signatures]\nrequired = true\nkeys = ['ours.pub']\n");
    fs::create_dir(&model).expect("it is made");
    write_weights(&model.join("model.safetensors"), &[1; 100]);
    let pipe = |path: &Path| std::process::Command::new("mkfifo").arg(path).status().is_ok_and(|made| made.success());
    if !pipe(&model.join("model.sig")) || !pipe(&root.join("pipe.toml")) {
        return; // no mkfifo on this machine
    }
    let refusal = admit_by(&model, &policy).expect_err("it is a pipe");
    assert!(refusal.reason.contains("no plain file"), "{refusal}");
    assert!(Policy::read(&root.join("pipe.toml")).is_err());
}

#[test]
fn a_signature_that_is_not_demanded_is_believed_or_refused() {
    let folder = temporary_folder();
    let (root, model) = (folder.path(), folder.path().join("model"));
    let ours = key(root, "ours");
    let policy = policy(root, "[signatures]\nrequired = false\nkeys = ['ours.pub']\n");
    fs::create_dir(&model).expect("it is made");
    write_weights(&model.join("model.safetensors"), &[1; 100]);
    assert!(admit_by(&model, &policy).is_ok(), "there is none");
    sign_model(&model, &ours, &model.join("model.sig"));
    assert!(admit_by(&model, &policy).is_ok());
    write_weights(&model.join("model.safetensors"), &[2; 100]);
    assert!(admit_by(&model, &policy).is_err());
}

/// What one file, or one of a signed folder's files, is signed by.
#[test]
fn a_file_is_signed_beside_it_or_in_its_folder() {
    use tsumugi_files::gguf::Metadata;
    let folder = temporary_folder();
    let (root, file) = (folder.path(), folder.path().join("models/a.gguf"));
    let ours = key(root, "ours");
    let policy = policy(root, "[signatures]\nrequired = true\nkeys = ['ours.pub']\n");
    fs::create_dir(root.join("models")).expect("it is made");
    let write = |path: &Path| {
        let tensor = TensorView { name: "a", element_type: ElementType::F32, shape: &[1], bytes: &[0; 4] };
        write_gguf(path, &Metadata::default(), &[tensor]).expect("it is written");
    };
    write(&file);
    write(&root.join("models/b.gguf"));
    let refusal = admit_by(&file, &policy).expect_err("it is not signed");
    assert!(refusal.path == file && refusal.reason.ends_with("a.gguf.sig"), "{refusal}");
    sign_model(&root.join("models"), &ours, &root.join("models/model.sig"));
    assert!(admit_by(&file, &policy).is_ok(), "with its folder");
    fs::remove_file(root.join("models/model.sig")).expect("it was there");
    sign_model(&file, &ours, &root.join("models/a.gguf.sig"));
    assert!(admit_by(&file, &policy).is_ok(), "alone");
    assert!(admit_by(&root.join("models/b.gguf"), &policy).is_err(), "the signature is of another file");
}

#[test]
fn a_policy_says_what_is_known_and_what_fails() {
    let folder = temporary_folder();
    let (root, model) = (folder.path(), folder.path().join("model"));
    fs::create_dir(&model).expect("it is made");
    write_weights(&model.join("model.safetensors"), &[1; 100]);
    fs::write(model.join("optimizer.pt"), call("my.module", "Thing")).expect("it is written");
    let suppress =
        "[[suppress]]\nrule = 'pickle-unknown-call'\npaths = ['optimizer.pt']\nreason = 'ours'\nuntil = 9999-01-01";
    for (text, passes) in [
        ("# nothing", false),
        (suppress, true),
        ("fail-on = 'high'", true),
        ("severity = {pickle-unknown-call = 'low'}", true),
        ("exclude = ['model']", false),
    ] {
        assert_eq!(admit_by(&model, &policy(root, text)).is_ok(), passes, "{text}");
    }
}

#[test]
fn what_is_only_worth_knowing_or_broken_is_left_to_the_reader() {
    let folder = temporary_folder();
    write_weights(&folder.path().join("model.safetensors"), &[1; 100]);
    fs::write(folder.path().join("modeling.py"), "import os").expect("it is written");
    fs::write(folder.path().join("config.json"), r#"{"auto_map": {"AutoModel": "modeling.Model"}}"#)
        .expect("it is written");
    let token = format!("token = \"ghp_{}\"", "aB3".repeat(12));
    fs::write(folder.path().join("notes.txt"), token).expect("it is written");
    assert!(admit(folder.path()).is_ok());
    fs::write(folder.path().join("model.safetensors"), b"\xFF").expect("it is written");
    let error = admit(folder.path()).expect("the reader tells what is wrong").tensors().expect_err("it is broken");
    assert!(matches!(error, FilesError::Safetensors(_)), "{error}");
}

#[test]
fn a_gguf_file_is_judged_by_its_templates() {
    use tsumugi_files::gguf::{Metadata, Value};
    let folder = temporary_folder();
    let path = folder.path().join("a.gguf");
    for (template, passes) in [("{{ messages }}", true), ("{{ ().__class__.__base__ }}", false)] {
        let mut metadata = Metadata::default();
        metadata.insert("tokenizer.chat_template", Value::String(template.into()));
        let tensor = TensorView { name: "a", element_type: ElementType::F32, shape: &[1], bytes: &[0; 4] };
        write_gguf(&path, &metadata, &[tensor]).expect("it is written");
        assert_eq!(admit(&path).is_ok(), passes, "{template}");
    }
}

fn found(bytes: &[u8], name: &str, reach: Reach) -> Vec<(&'static str, Option<u64>)> {
    let report = scan_bytes(bytes, name, &Limits { reach, ..Limits::default() });
    report.findings.iter().map(|finding| (finding.rule.id, finding.offset)).collect()
}

#[test]
fn what_hides_in_the_middle_of_weights_is_found_by_a_deep_scan_only() {
    const LENGTH: usize = 1 << 20;
    let mut random = Stream::new(Key::from_seed(7));
    let noise: Vec<u8> = (0..LENGTH / 8).flat_map(|_| random.next_u64().to_le_bytes()).collect();
    let folder = temporary_folder();
    let path = folder.path().join("model.safetensors");
    let token = format!(" ghp_{} ", "aB3".repeat(12));
    let cases: [(&[u8], &str); 4] = [
        (&call_4("os", "system"), "pickle-dangerous-import"),
        (&call("posix", "system"), "pickle-dangerous-import"),
        (b"\x7FELF\x02\x01\x01\0\0\0", "executable"),
        (token.as_bytes(), "secret"),
    ];
    write_weights(&path, &noise);
    let clean = fs::read(&path).expect("it is there");
    assert_eq!(found(&clean, "model.safetensors", Reach::Everything), [], "noise is no finding");
    for (payload, rule) in cases {
        // At a block's end, across it, and at the file's own end.
        for at in [100_003, (256 << 10) - 3, LENGTH - payload.len()] {
            let mut bytes = noise.clone();
            bytes[at..at + payload.len()].copy_from_slice(payload);
            write_weights(&path, &bytes);
            let bytes = fs::read(&path).expect("it is there");
            assert_eq!(found(&bytes, "model.safetensors", Reach::Headers), [], "{rule}");
            let found = found(&bytes, "model.safetensors", Reach::Everything);
            assert_eq!(found.len(), 1, "{rule} at {at}: {found:?}");
            assert_eq!(found[0].0, rule, "at {at}");
            let place = found[0].1.expect("it has a place") as usize - (bytes.len() - LENGTH);
            assert!(place >= at && place < at + payload.len(), "{rule} at {at}: {place}");
        }
    }
}

#[test]
fn a_deep_scan_of_a_pickle_says_each_thing_once_and_looks_into_what_it_unpacks() {
    let pickle = call_4("os", "system");
    assert_eq!(found(&pickle, "a.pkl", Reach::Everything), found(&pickle, "a.pkl", Reach::Headers));
    let packed = crate::samples::gzip(&[&[7; 1000][..], &pickle].concat());
    assert_eq!(found(&packed, "weights.gz", Reach::Headers), []);
    assert_eq!(found(&packed, "weights.gz", Reach::Everything).len(), 1);
}

/// A template in a vocabulary of any size is found; in a large one only the texts with braces are decoded.
#[test]
fn a_template_in_a_large_json_file() {
    let words: Vec<String> = (0..120_000).map(|word| format!("\"word{word}\\\\\"")).collect();
    for (template, is_bad) in [
        ("{{ x.__class__ }}", true),
        (r"{{ x['\u005f_class__'] }}", true),
        (r"\u007b\u007b x.__class__ }}", true),
        (r#"\"{{ messages }}\""#, false),
    ] {
        let json = format!("{{\"vocab\": [{}], \"a{{\": \"}}\", \"t\": \"{template}\"}}", words.join(","));
        assert!(json.len() > 1 << 20 && serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{template}");
        let rules: Vec<_> = found(json.as_bytes(), "tokenizer.json", Reach::Load);
        assert_eq!(rules.iter().any(|(rule, _)| *rule == "template-escape"), is_bad, "{template}: {rules:?}");
    }
}

/// Stops after a number of questions.
struct Patience(AtomicUsize);

impl Observer for Patience {
    fn event(&self, _: &Event) {}

    fn stop_requested(&self) -> bool {
        self.0.fetch_sub(1, Ordering::Relaxed) <= 1
    }
}

#[test]
fn a_watched_file_is_scanned_once_it_is_quiet_and_again_when_it_changed() {
    let folder = temporary_folder();
    let path = folder.path().join("a.pkl");
    fs::write(&path, b"N.").expect("it is written");
    let mut scanner = Scanner::new(Limits::default(), 1);
    let mut told = Vec::new();
    let paths = [folder.path().to_owned()];
    let interval = Duration::from_millis(1);
    scanner
        .watch(&paths, interval, &Silent, &mut |report| {
            told.push((report.files.len(), report.fails(Severity::Medium)));
            fs::write(&path, call("os", "system")).expect("it is written");
            told.len() < 2
        })
        .expect("the folder is there");
    assert_eq!(told, [(1, false), (1, true)]);

    let patience = Patience(AtomicUsize::new(40));
    let mut times = 0;
    let watching = scanner.watch(&paths, interval, &patience, &mut |_| {
        times += 1;
        true
    });
    assert!(watching.is_ok() && times == 1, "what does not change is looked at once: {times}");
}
