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
    Admitted, ElementType, FilesError, ModelFiles, Refusal, TensorView, write_gguf, write_safetensors,
};
use tsumugi_scan::{Limits, Reach, ScanGate, Scanner, Severity, scan_bytes};

use crate::samples::{call, call_4};

const GATE: ScanGate = ScanGate { way_out: "--anyway" };

/// A safetensors file of one tensor of bytes.
fn write_weights(path: &Path, bytes: &[u8]) {
    let shape = [bytes.len()];
    let tensor = TensorView { name: "weights", element_type: ElementType::U8, shape: &shape, bytes };
    write_safetensors(path, &[tensor], &Default::default()).expect("it is written");
}

fn admit(path: &Path) -> Result<Admitted<ModelFiles>, Refusal> {
    match ModelFiles::admit(path, &GATE) {
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
    let refusal = GATE.check_bytes(&call("my\u{1b}[2J", "Thing"), Path::new("a.pkl")).expect_err("it is unknown");
    assert!(refusal.reason.contains("Thing") && !refusal.reason.contains(char::is_control), "{refusal}");
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
