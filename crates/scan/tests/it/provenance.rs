//! Signatures: those of `model-signing` are accepted here, ours say what they should, and whatever was changed is named.

use std::fs;
use std::path::{Path, PathBuf};

use tsumugi_base::progress::Silent;
use tsumugi_base::run_record::seconds_of_day;
use tsumugi_base::testing::{mutations, temporary_folder};
use tsumugi_files::OpenFolder;
use tsumugi_scan::provenance::{
    Algorithm, Bundle, Certificate, CertificateError, HashError, KeyError, Manifest, PrivateKey, Problem, PublicKey,
    Selection, SignError, Trust, Verdict, VerifyOptions, certificates_from_pem, roots_from_pem, sign, verify,
    verify_open,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/provenance").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(fixture(name)).unwrap()
}

fn public(name: &str) -> PublicKey {
    PublicKey::from_pem(read(name).as_bytes()).unwrap()
}

fn private(name: &str) -> PrivateKey {
    PrivateKey::from_pem(read(name).as_bytes()).unwrap()
}

fn certificates(names: &[&str]) -> Vec<Certificate> {
    names.iter().flat_map(|name| certificates_from_pem(read(name).as_bytes()).unwrap()).collect()
}

fn keys(names: &[&str]) -> Trust {
    Trust { keys: names.iter().map(|name| public(name)).collect(), ..Trust::default() }
}

fn roots(name: &str, day: &str) -> Trust {
    Trust { roots: certificates(&[name]), seconds: seconds_of_day(day).unwrap(), ..Trust::default() }
}

fn at_own_name() -> VerifyOptions {
    VerifyOptions { own_name: Some("model.sig".into()), follow_links: false, threads: 2 }
}

fn verified(model: &Path, signature: &str, trust: &Trust) -> Verdict {
    verify(model, signature, trust, &at_own_name(), &Silent).unwrap()
}

/// Why a signature over the model of the fixtures is not accepted.
fn refusal(signature: &str, trust: &Trust) -> String {
    match verified(&fixture("model"), signature, trust).problems.as_slice() {
        [Problem::Signature(reason)] => reason.clone(),
        other => panic!("{other:?}"),
    }
}

/// A copy of the model of the fixtures, and our signature over it.
fn signed(selection: Selection) -> (tempfile::TempDir, String) {
    let folder = temporary_folder();
    fs::create_dir(folder.path().join("sub")).unwrap();
    for name in ["a.txt", "sub/b.txt", "sub-c.txt"] {
        fs::copy(fixture("model").join(name), folder.path().join(name)).unwrap();
    }
    let manifest = Manifest::of(folder.path(), selection, 2, &Silent).unwrap();
    let signature = sign(&manifest, &private("p256.pem"), &[]).unwrap().text();
    (folder, signature)
}

#[test]
fn signatures_of_model_signing_are_accepted() {
    let model = fixture("model");
    for (signature, trust) in [
        ("key.sig", keys(&["p256.pub"])),
        ("key.sig", keys(&["ed25519.pub", "p256.pub"])),
        ("key-p384.sig", keys(&["p384.pub"])),
        ("pieces.sig", keys(&["p256.pub"])),
        ("certificate.sig", roots("root.pem", "2030-01-01")),
    ] {
        let verdict = verified(&model, &read(signature), &trust);
        assert_eq!((verdict.problems.as_slice(), verdict.accepted), ([].as_slice(), 3), "{signature}");
        assert!(verdict.signer.is_some());
    }
    let verdict = verified(&model, &read("certificate.sig"), &roots("root.pem", "2030-01-01"));
    assert_eq!(verdict.signer.as_deref(), Some("CN=Test Signer"));
    let unknown = refusal(&read("blake3.sig"), &keys(&["p256.pub"]));
    assert_eq!(unknown, "files are hashed with `blake3`, and only SHA-256 is known here");
}

#[test]
fn the_hash_of_the_whole_is_that_of_model_signing() {
    let selection = Selection::default();
    for threads in [1, 3] {
        let manifest = Manifest::of(&fixture("model"), selection.clone(), threads, &Silent).unwrap();
        let names: Vec<&str> = manifest.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["a.txt", "sub/b.txt", "sub-c.txt"], "in the order of parts, not of bytes");
        let root: String = manifest.root().iter().map(|byte| format!("{byte:02x}")).collect();
        // From key.sig.
        assert_eq!(root, "d878f568e93ae89d0e59fbe204d29843bf3116c6d72275e7cd8b0ebabb8a284b");
    }
}

#[test]
fn keys_of_openssl_sign_and_verify() {
    for (name, algorithm) in [("p256", Algorithm::P256), ("p384", Algorithm::P384), ("ed25519", Algorithm::Ed25519)] {
        let (key, given) = (private(&format!("{name}.pem")), public(&format!("{name}.pub")));
        assert_eq!((key.public(), given.algorithm()), (&given, algorithm));
        assert_eq!(given.pem(), read(&format!("{name}.pub")), "the bytes that openssl writes");
        let signature = key.sign(b"message").unwrap();
        assert!(given.verifies(b"message", &signature));
        assert!(!given.verifies(b"massage", &signature));
        let (made, pem) = PrivateKey::generate(algorithm).unwrap();
        assert_eq!(PrivateKey::from_pem(pem.as_bytes()).unwrap().public(), made.public());
        assert!(!made.public().verifies(b"message", &signature));
    }
}

#[test]
fn what_is_no_key_is_told() {
    let private = |name: &str| PrivateKey::from_pem(read(name).as_bytes()).unwrap_err();
    assert_eq!(private("locked.pem"), KeyError::Locked);
    assert_eq!(private("p521.pem"), KeyError::Unknown);
    assert_eq!(private("p256.pub"), KeyError::NoKey { wanted: "private" });
    let public = |name: &str| PublicKey::from_pem(read(name).as_bytes()).unwrap_err();
    assert_eq!(public("p521.pub"), KeyError::Unknown);
    assert_eq!(public("p256.pem"), KeyError::NoKey { wanted: "public" });
    for mutation in mutations(read("p256.pem").as_bytes(), 1, 300) {
        if let Ok(key) = PrivateKey::from_pem(&mutation.bytes) {
            assert_eq!(key.public().pem(), read("p256.pub"), "{}", mutation.number);
        }
    }
}

#[test]
fn every_difference_is_named() {
    let (folder, signature) = signed(Selection::default());
    let trust = keys(&["p256.pub"]);
    let at = |name: &str| folder.path().join(name);
    assert!(verified(folder.path(), &signature, &trust).is_accepted());
    fs::write(at("a.txt"), "One\n").unwrap();
    fs::rename(at("sub/b.txt"), at("sub/d.txt")).unwrap();
    fs::write(at("model.sig"), &signature).unwrap();
    fs::create_dir(at(".git")).unwrap();
    fs::write(at(".git/config"), "x").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("a.txt", at("link.txt")).unwrap();
    let verdict = verified(folder.path(), &signature, &trust);
    let mut named: Vec<(&str, Option<&str>)> =
        verdict.problems.iter().map(|problem| (problem.kind(), problem.file())).collect();
    named.retain(|(kind, _)| *kind != "not a file");
    assert_eq!(named, [("changed", Some("a.txt")), ("missing", Some("sub/b.txt")), ("extra", Some("sub/d.txt"))],);
    assert_eq!(verdict.problems.len(), 3 + usize::from(cfg!(unix)));
    assert_eq!((verdict.accepted, verdict.ignored), (1, vec![".git".to_owned()]));
}

#[test]
fn every_byte_of_a_piece_counts() {
    let folder = temporary_folder();
    let path = folder.path().join("weights.bin");
    let bytes: Vec<u8> = (0..5000_u32).map(|number| number as u8).collect();
    fs::write(&path, &bytes).unwrap();
    fs::write(folder.path().join("empty"), "").unwrap();
    let selection = Selection { piece_bytes: Some(2048), ..Selection::default() };
    let manifest = Manifest::of(folder.path(), selection, 2, &Silent).unwrap();
    let ranges: Vec<_> = manifest.files.iter().filter_map(|file| file.range.clone()).collect();
    assert_eq!(ranges, [0..2048, 2048..4096, 4096..5000]);
    let signature = sign(&manifest, &private("ed25519.pem"), &[]).unwrap().text();
    let trust = keys(&["ed25519.pub"]);
    let verdict = verified(folder.path(), &signature, &trust);
    assert_eq!(
        (verdict.problems, verdict.unsigned),
        (vec![], vec!["empty".to_owned()]),
        "it has no piece, and is named"
    );
    fs::write(folder.path().join("added.txt"), "").unwrap();
    let verdict = verified(folder.path(), &signature, &trust);
    assert_eq!(verdict.unsigned, ["added.txt", "empty"]);
    for wrong in [bytes[..4096].to_vec(), [bytes.as_slice(), &[0]].concat(), [&[1], &bytes[1..]].concat(), vec![]] {
        fs::write(&path, &wrong).unwrap();
        let problems = verified(folder.path(), &signature, &trust).problems;
        assert_eq!(problems, [Problem::Changed("weights.bin".into())], "{} bytes", wrong.len());
    }
}

#[test]
fn a_model_of_one_file() {
    let folder = temporary_folder();
    let path = folder.path().join("model.gguf");
    fs::write(&path, "GGUF").unwrap();
    let manifest = Manifest::of(&path, Selection::default(), 1, &Silent).unwrap();
    assert_eq!((manifest.model.as_str(), manifest.files[0].name.as_str()), ("model.gguf", "."));
    let signature = sign(&manifest, &private("p256.pem"), &[]).unwrap().text();
    let trust = keys(&["p256.pub"]);
    assert!(verified(&path, &signature, &trust).is_accepted());
    let open = OpenFolder::open(folder.path()).unwrap();
    assert!(verify_open(&open, &signature, &trust, &at_own_name(), &Silent).unwrap().is_accepted());
    fs::write(&path, "GGML").unwrap();
    assert_eq!(verified(&path, &signature, &trust).problems, [Problem::Changed(".".into())]);
    assert_eq!(Problem::Changed(".".into()).to_string(), "the file is not what was signed");
}

#[test]
fn open_files_are_checked_through_their_handles() {
    let (folder, signature) = signed(Selection::default());
    let trust = keys(&["p256.pub"]);
    let open = OpenFolder::open(folder.path()).unwrap();
    tsumugi_base::io::write_atomic(&folder.path().join("a.txt"), b"other").unwrap();
    let check = |open: &OpenFolder| verify_open(open, &signature, &trust, &at_own_name(), &Silent).unwrap();
    let verdict = check(&open);
    assert_eq!(
        (verdict.problems.as_slice(), verdict.accepted),
        ([].as_slice(), 2),
        "what was opened is what was signed"
    );
    fs::write(folder.path().join("extra.py"), "x").unwrap();
    fs::remove_file(folder.path().join("sub-c.txt")).unwrap();
    let problems = check(&OpenFolder::open(folder.path()).unwrap()).problems;
    assert_eq!(
        problems,
        [Problem::Changed("a.txt".into()), Problem::Missing("sub-c.txt".into()), Problem::Extra("extra.py".into())],
    );
}

#[test]
fn an_empty_file_that_was_added_is_told() {
    let (folder, signature) = signed(Selection::default());
    fs::write(folder.path().join("added.txt"), "").unwrap();
    let verdict = verified(folder.path(), &signature, &keys(&["p256.pub"]));
    assert_eq!((verdict.problems, verdict.unsigned), (vec![Problem::Extra("added.txt".into())], vec![]));
}

#[test]
fn what_is_loaded_is_not_left_out() {
    let mut selection = Selection::default();
    selection.ignored.push("a.txt".into());
    let (folder, signature) = signed(selection);
    fs::write(folder.path().join("model.sig"), &signature).unwrap();
    let trust = keys(&["p256.pub"]);
    let verdict = verified(folder.path(), &signature, &trust);
    assert_eq!((verdict.problems, verdict.ignored), (vec![], vec!["a.txt".to_owned()]));
    let open = OpenFolder::open(folder.path()).unwrap();
    let verdict = verify_open(&open, &signature, &trust, &at_own_name(), &Silent).unwrap();
    assert_eq!(verdict.problems, [Problem::LeftOut("a.txt".into())], "the signature itself is none");
    assert_eq!(verdict.problems[0].to_string(), "a.txt would be loaded, and the signature leaves it out");
}

#[test]
fn names_that_are_left_out_lie_in_the_model() {
    let manifest = |name: &str| {
        let selection = Selection { ignored: vec![name.into()], ..Selection::default() };
        Manifest::of(&fixture("model"), selection, 1, &Silent)
    };
    for name in ["./a.txt", "a.txt", "a.txt/", ".//a.txt"] {
        let manifest = manifest(name).unwrap();
        assert_eq!((manifest.selection.ignored.as_slice(), manifest.files.len()), (["a.txt".into()].as_slice(), 2));
    }
    for name in [".", "./", "", "/", "..", "sub/..", "../model/a.txt", "/a.txt"] {
        assert!(matches!(manifest(name), Err(HashError::Ignored { .. })), "{name}");
    }
}

#[test]
fn what_nobody_would_accept_is_not_signed() {
    let good = Manifest::of(&fixture("model"), Selection::default(), 1, &Silent).unwrap();
    let refused = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = good.clone();
        change(&mut manifest);
        match sign(&manifest, &private("p256.pem"), &[]) {
            Err(SignError::Manifest { reason }) => reason,
            other => panic!("{other:?}"),
        }
    };
    assert!(sign(&good, &private("p256.pem"), &[]).is_ok());
    assert_eq!(refused(&|manifest| manifest.files.push(manifest.files[0].clone())), "it names `a.txt` twice");
    assert_eq!(refused(&|manifest| manifest.selection.ignored.push("./".into())), "it leaves out the whole model");
    assert_eq!(
        refused(&|manifest| manifest.files[0].name = "../a.txt".into()),
        "`../a.txt`: it is no name of a file in a model"
    );
    assert_eq!(refused(&|manifest| manifest.files[0].range = Some(0..4)), "its pieces are not those that it says");
}

#[test]
fn a_root_that_cannot_be_read_is_an_error() {
    let leaf = &certificates(&["signer.pem", "middle.pem"]);
    let seconds = seconds_of_day("2030-01-01").unwrap();
    let good = certificates(&["root.pem"]);
    assert!(leaf[0].trusted(&leaf[1..], &good, seconds).is_ok());
    // Version 2, which has no extensions: one of the two parsers takes it.
    let mut der = good[0].der().to_vec();
    let at = der.windows(5).position(|bytes| bytes == [0xa0, 3, 2, 1, 2]).unwrap();
    der[at + 4] = 1;
    let broken = Certificate::from_der(&der).unwrap();
    let error = leaf[0].trusted(&leaf[1..], &[good[0].clone(), broken], seconds).unwrap_err();
    assert!(matches!(&error, CertificateError::Root { subject, .. } if subject == "CN=Test Root"), "{error}");
    // Whoever reads a file of roots learns it at once.
    let pem = |der: &[u8]| {
        let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    };
    assert_eq!(roots_from_pem(pem(good[0].der()).as_bytes()).unwrap(), good);
    assert_eq!(roots_from_pem((pem(good[0].der()) + &pem(&der)).as_bytes()).unwrap_err(), error);
}

#[cfg(unix)]
#[test]
fn links_are_refused_or_followed() {
    let (folder, signature) = signed(Selection::default());
    let at = |name: &str| folder.path().join(name);
    fs::rename(at("a.txt"), at(".gitignore")).unwrap();
    std::os::unix::fs::symlink(".gitignore", at("a.txt")).unwrap();
    let error = Manifest::of(folder.path(), Selection::default(), 1, &Silent).unwrap_err();
    assert!(matches!(error, HashError::NotAFile { .. }), "{error}");
    let trust = keys(&["p256.pub"]);
    assert!(!verified(folder.path(), &signature, &trust).is_accepted());
    let options = VerifyOptions { follow_links: true, threads: 1, ..VerifyOptions::default() };
    let verdict = verify(folder.path(), &signature, &trust, &options, &Silent).unwrap();
    assert_eq!((verdict.problems.as_slice(), verdict.accepted), ([].as_slice(), 3));
}

#[test]
fn certificates_must_lead_to_a_root_be_valid_and_may_sign() {
    let manifest = Manifest::of(&fixture("model"), Selection::default(), 1, &Silent).unwrap();
    let by = |names: &[&str]| sign(&manifest, &private("p256.pem"), &certificates(names)).unwrap().text();
    let ours = by(&["signer.pem", "middle.pem"]);
    let root = |day: &str| roots("root.pem", day);
    assert!(verified(&fixture("model"), &ours, &root("2030-01-01")).is_accepted());
    for (signature, trust, reason) in [
        (&ours, root("2130-01-01"), "the certificate of CN=Test Signer expired on 2125-01-01"),
        (&ours, root("2025-01-01"), "the certificate of CN=Test Signer is valid only from 2026-01-01 on"),
        (
            &ours,
            roots("other-root.pem", "2030-01-01"),
            "the certificate of CN=Test Signer was not signed by its issuer",
        ),
        (&ours, keys(&["p256.pub"]), "it was made with a certificate, of CN=Test Signer, and no root is trusted"),
        (
            &by(&["signer.pem"]),
            root("2030-01-01"),
            "the certificate of CN=Test Signer does not lead to a root that is trusted",
        ),
        (
            &by(&["expired.pem", "middle.pem"]),
            root("2030-01-01"),
            "the certificate of CN=Test Expired expired on 2027-01-01",
        ),
        (
            &by(&["server.pem", "middle.pem"]),
            root("2030-01-01"),
            "the certificate of CN=Test Server is not for signing code or models",
        ),
        (
            &by(&["no-usage.pem", "middle.pem"]),
            root("2030-01-01"),
            "the certificate of CN=Test Plain does not say that it may sign (`digitalSignature`, or code signing)",
        ),
        (
            &by(&["root.pem"]),
            root("2030-01-01"),
            "the certificate of CN=Test Root is one of an authority, which signs certificates and nothing else",
        ),
    ] {
        assert_eq!(refusal(signature, &trust), reason);
    }
    let expired = by(&["expired.pem", "middle.pem"]);
    assert!(verified(&fixture("model"), &expired, &root("2026-06-01")).is_accepted(), "while it was valid");
}

#[test]
fn another_key_and_another_statement_are_told() {
    let trust = keys(&["ed25519.pub"]);
    let reason = refusal(&read("key.sig"), &trust);
    assert!(reason.starts_with("it was made with another key, of the hash "), "{reason}");
    let text = read("key.sig").replace("\"hint\":", "\"id\":");
    let reason = refusal(&text, &trust);
    assert_eq!(reason, "it is not one of this statement: one of the two was changed", "no hash says which key");
    for (text, reason) in [
        ("", "it is no Sigstore bundle: EOF while parsing a value at line 1 column 0"),
        ("{}", "it is no Sigstore bundle: missing field `mediaType` at line 1 column 2"),
    ] {
        assert_eq!(refusal(text, &keys(&["p256.pub"])), reason);
    }
}

#[test]
fn no_broken_signature_is_accepted() {
    for (name, trust) in [("key.sig", keys(&["p256.pub"])), ("certificate.sig", roots("root.pem", "2030-01-01"))] {
        let original = read(name);
        let envelope = |text: &str| {
            let bundle: serde_json::Value = serde_json::from_str(&Bundle::from_text(text).unwrap().text()).unwrap();
            bundle["dsseEnvelope"].clone()
        };
        let mut accepted = 0;
        for mutation in mutations(original.as_bytes(), 7, 3000) {
            let Ok(text) = String::from_utf8(mutation.bytes) else { continue };
            if verified(&fixture("model"), &text, &trust).is_accepted() {
                accepted += 1;
                // A change of what nobody reads (a space, a word for the key's hash) leaves what is signed alone.
                assert!(envelope(&text) == envelope(&original), "{name}: {}", mutation.number);
            }
        }
        assert!(accepted < 300, "{accepted}");
    }
}
