//! `tsumugi convert` and `tsumugi quantize`.

use std::path::Path;

use tsumugi_base::testing::temporary_folder;
use tsumugi_models::family;

use crate::support::{Ran, binary, tiny_model, tiny_model_of, tsumugi};

/// What is in a folder, hidden or not.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_folder_becomes_a_file_and_a_folder_again_and_answers_the_same() {
    let folder = temporary_folder();
    let path = folder.path();
    tiny_model(&path.join("model"), true);
    std::fs::write(path.join("model/README.md"), "---\nlicense: apache-2.0\n---\n# A model\n").unwrap();
    let written = tsumugi(path, &["convert", "model", "m.gguf", "--json"]).json();
    assert_eq!((&written["out"], &written["bits_per_weight"]), (&"m.gguf".into(), &32.0.into()), "{written}");
    assert_eq!((&written["relative_error"], &written["notes"]), (&0.0.into(), &serde_json::json!([])), "{written}");
    assert_eq!(written["types"][0]["element_type"], "F32");
    // Folders above it are made.
    let back = tsumugi(path, &["convert", "m.gguf", "deep/back"]);
    assert_eq!(back.code, 0, "{}", back.stderr);
    assert!(back.stdout.contains("deep/back: 32.00 bits per weight"), "{}", back.stdout);
    let bytes = |name: &str| std::fs::read(path.join(name)).unwrap();
    assert!(bytes("model/model.safetensors") == bytes("deep/back/model.safetensors"));
    assert_eq!(bytes("deep/back/README.md"), b"---\nlicense: apache-2.0\n---\n", "the licence goes with the weights");
    let licences = |model: &str| tsumugi(path, &["bom", model]).json()["metadata"]["component"]["licenses"].clone();
    assert_eq!(licences("m.gguf"), serde_json::json!([{"license": {"id": "Apache-2.0"}}]));
    assert_eq!(licences("m.gguf"), licences("deep/back"));
    let answer = |model: &str| {
        let ran =
            tsumugi(path, &["generate", model, "--prompt", "What light", "--max-tokens", "8", "--compute", "f32"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stdout
    };
    assert_eq!(answer("model"), answer("m.gguf"));
    assert_eq!(answer("model"), answer("deep/back"));
    assert_eq!(names(path), ["deep", "m.gguf", "model"]);
}

/// A model whose rows are no whole blocks of 256, but for one matrix.
#[test]
fn what_falls_back_to_another_type_is_told_with_the_bits_of_a_weight() {
    let folder = temporary_folder();
    let path = folder.path();
    let mut spec = family::find("llama").unwrap().tiny();
    (spec.width, spec.head_width, spec.feed_forward_width, spec.layers) = (96, 24, 512, 1);
    tiny_model_of(spec, &path.join("model"), false);
    let written = tsumugi(path, &["quantize", "model", "m.gguf", "--type", "q2_k", "--json"]).json();
    let notes: Vec<&str> = written["notes"].as_array().unwrap().iter().map(|note| note.as_str().unwrap()).collect();
    // The embedding is the head too, which has Q8_0 where its rows are no whole blocks; the rows of `ffn_down` are.
    let [to_q4_0, other, bits] = notes[..] else { panic!("{notes:?}") };
    assert!(to_q4_0.starts_with("4 tensors with ") && to_q4_0.contains(": Q4_0 instead of Q2_K, "), "{to_q4_0}");
    assert!(to_q4_0.ends_with("because rows of 96 numbers are no whole number of blocks of 256"), "{to_q4_0}");
    assert!(other.starts_with("2 tensors with ") && other.contains(": Q4_0 instead of Q3_K, "), "{other}");
    let said = format!("so there are {:.2} bits per weight", written["bits_per_weight"].as_f64().unwrap());
    assert!(bits.starts_with(&said), "{bits}");
    let plain = tsumugi(path, &["quantize", "model", "n.gguf", "--type", "Q2_K"]);
    assert!(plain.stderr.contains(&format!("note: {to_q4_0}")), "{}", plain.stderr);
    let whole = tsumugi(path, &["quantize", "model", "o.gguf", "--type", "Q8_0", "--json"]).json();
    assert_eq!(whole["notes"], serde_json::json!([]));
}

#[test]
fn a_model_without_a_vocabulary_is_converted_and_that_is_said() {
    let folder = temporary_folder();
    let path = folder.path();
    tiny_model(&path.join("model"), false);
    std::fs::remove_file(path.join("model/tokenizer.json")).unwrap();
    for (from, to) in [("model", "m.gguf"), ("m.gguf", "back")] {
        let ran = tsumugi(path, &["convert", from, to]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(
            ran.stderr.contains("note: the model has no vocabulary, and neither has what was written"),
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn names_and_places_that_cannot_be_are_refused_before_anything_is_written() {
    let folder = temporary_folder();
    let path = folder.path();
    tiny_model(&path.join("model"), false);
    tsumugi(path, &["quantize", "model", "small.bin"]).is("
        exit 2
        ---- stderr
        error: small.bin would not be read as a model: its name does not end in .gguf, or is that of one part of several

        hint: give a name that ends in .gguf: small.gguf
    ");
    let refused = |arguments: &[&str], said: &str, hint: &str| {
        let ran = tsumugi(path, arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
        assert!(ran.stderr.contains(said) && ran.stderr.contains(hint), "{}", ran.stderr);
    };
    refused(&["convert", "model", "M.GGUF"], "M.GGUF would not be read", "M.gguf");
    refused(&["convert", "model", "m-00001-of-00002.gguf"], "one part of several", "model.gguf");
    refused(&["convert", "model", "model"], "is the model itself", "give another path");
    refused(&["convert", "nothing", "m.gguf"], "nothing", "hint: ");
    refused(&["quantize", "model", "m.gguf", "--type", "Q9_K"], "Q9_K", "Q4_K_M");
    std::fs::create_dir(path.join("full")).unwrap();
    std::fs::write(path.join("full/kept.txt"), "mine").unwrap();
    refused(&["convert", "model", "full"], "cannot create full: it already exists", "give another path, or remove");
    refused(&["convert", "model", "full/kept.txt/m.gguf"], "kept.txt", "hint: ");
    std::fs::create_dir(path.join("folder.gguf")).unwrap();
    refused(&["quantize", "model", "folder.gguf"], "it is a folder", "hint: ");
    assert_eq!(names(path), ["folder.gguf", "full", "model"]);
    assert_eq!(names(&path.join("full")), ["kept.txt"]);
}

/// A model large enough that a signal comes before it is written: some 40 MB, which a debug build quantizes in seconds.
fn slow_model(path: &Path) {
    let mut spec = family::find("llama").unwrap().tiny();
    (spec.width, spec.head_width, spec.feed_forward_width, spec.layers) = (256, 64, 1024, 8);
    tiny_model_of(spec, &path.join("model"), false);
}

/// Starts a command, and ends it by a signal when it has begun to write.
fn interrupted(path: &Path, arguments: &[&str], signal: &str) -> Ran {
    let mut child = binary(path, arguments).spawn().unwrap();
    while !names(path).iter().any(|name| name.starts_with('.')) {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was interrupted");
        std::thread::yield_now();
    }
    let sent = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    Ran::of(child.wait_with_output().unwrap(), path)
}

#[test]
fn interrupted_or_killed_nothing_is_in_the_way_of_the_next_run() {
    let folder = temporary_folder();
    let path = folder.path();
    slow_model(path);
    let commands: [&[&str]; 2] = [
        &["quantize", "model", "m.gguf", "--type", "Q3_K_M", "--threads", "1"],
        &["convert", "model", "bf16", "--type", "bf16", "--threads", "1"],
    ];
    for command in commands {
        let ran = interrupted(path, command, "-INT");
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains("stopped: ") && ran.stderr.contains("nothing was written"), "{}", ran.stderr);
        assert_eq!(names(path), ["model"], "after an interruption");
        interrupted(path, command, "-KILL");
        assert!(!names(path).iter().any(|name| name == command[2]), "after a kill");
        let again = tsumugi(path, command);
        assert_eq!(again.code, 0, "{}", again.stderr);
        assert_eq!(names(path), [command[2], "model"], "a killed run's leftovers are removed");
        let out = path.join(command[2]);
        if out.is_dir() { std::fs::remove_dir_all(out).unwrap() } else { std::fs::remove_file(out).unwrap() }
    }
}
