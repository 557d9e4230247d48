//! `tsumugi embed` and `tsumugi rerank`

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tsumugi_base::testing::{repository_root, temporary_folder};

use crate::support::{tsumugi, tsumugi_with_input};

fn fixture(name: &str) -> String {
    let path: PathBuf = repository_root().join("crates/models/fixtures/encoders").join(name);
    path.to_str().unwrap().to_owned()
}

#[test]
fn texts_on_the_command_line_are_compared() {
    let (folder, model) = (temporary_folder(), fixture("bert"));
    let run =
        |texts: &[&str]| tsumugi(folder.path(), &[&["embed", model.as_str()], texts, &["--compute", "f32"]].concat());
    run(&["The cat sits outside.", "A dog!", "The cat sits outside."]).is("
        exit 0
        ---- stdout
         1.0000  0.8086  1.0000  The cat sits outside.
         0.8086  1.0000  0.8086  A dog!
         1.0000  0.8086  1.0000  The cat sits outside.
    ");
    run(&["The cat sits outside."]).is("
        exit 0
        ---- stdout
        0.14962 0.32217 -0.04444 0.04198 -0.21465 -0.52742 …  (24 numbers from 11 tokens; --json has all)
    ");
    let all = run(&["The cat sits outside.", "--json"]).json();
    assert_eq!((all["index"].as_u64(), all["embedding"].as_array().unwrap().len()), (Some(0), 24));
}

/// The same vectors in every form, and from every source of texts.
#[test]
fn texts_of_a_file_become_vectors_in_lines_or_in_a_file() {
    let (folder, model) = (temporary_folder(), fixture("roberta"));
    let path = folder.path();
    fs::write(path.join("a.txt"), "the cat\na dog\nmusic").unwrap();
    fs::write(path.join("a.jsonl"), "{\"body\":\"the cat\"}\n{\"body\":\"a dog\"}\n{\"body\":\"music\"}\n").unwrap();
    let lines = tsumugi(path, &["embed", &model, "--file", "a.txt"]);
    let vectors: Vec<f32> = lines
        .stdout
        .lines()
        .flat_map(|line| {
            let value: Value = serde_json::from_str(line).unwrap();
            serde_json::from_value::<Vec<f32>>(value["embedding"].clone()).unwrap()
        })
        .collect();
    assert_eq!((lines.code, vectors.len()), (0, 3 * 24), "{}", lines.stderr);
    assert_eq!(
        tsumugi_with_input(path, &["embed", &model, "--file", "-"], "the cat\na dog\nmusic\n").stdout,
        lines.stdout
    );

    let bytes = vectors.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    for out in ["a.npy", "a.safetensors", "out.jsonl"] {
        let arguments = ["embed", &model, "--file", "a.jsonl", "--field", "body", "--out", out, "--json"];
        let told = tsumugi(path, &arguments).json();
        assert_eq!(
            (told["texts"].as_u64(), told["dimensions"].as_u64(), told["tokens"].as_u64()),
            (Some(3), Some(24), Some(11))
        );
        let written = fs::read(path.join(out)).unwrap();
        match out {
            "out.jsonl" => assert_eq!(written, lines.stdout.as_bytes()),
            _ => assert!(written.ends_with(&bytes), "{out}"),
        }
    }
    tsumugi(path, &["embed", &model, "--file", "a.txt", "--out", "b.npy"]).is("
        exit 0
        ---- stdout
        3 vectors of 24 numbers in b.npy, from 11 tokens in [TIME], [RATE]
    ");
}

#[test]
fn vectors_and_scores_do_not_depend_on_where_weights_lie() {
    let folder = temporary_folder();
    let run = |command: &str, model: &str, weights: &str| {
        let model = fixture(model);
        let ran = tsumugi(folder.path(), &[command, &model, "the cat", "a dog", "music", "--weights", weights]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stdout
    };
    for (command, model) in [("embed", "bert"), ("embed", "roberta"), ("rerank", "bert-cross-encoder")] {
        assert_eq!(run(command, model, "mapped"), run(command, model, "packed"), "{command} {model}");
    }
}

#[test]
fn what_cannot_be_embedded_is_told() {
    let (folder, model) = (temporary_folder(), fixture("bert"));
    let path = folder.path();
    fs::write(path.join("a.txt"), "the cat\n\nmusic").unwrap();
    fs::write(path.join("a.jsonl"), "{\"body\":\"the cat\"}\n").unwrap();
    fs::write(path.join("none.txt"), "").unwrap();
    let error = |arguments: &[&str]| {
        let ran = tsumugi(path, &[&["embed", model.as_str()], arguments].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
        ran.stderr
    };
    fs::write(path.join("blank.jsonl"), "{\"text\":\"the cat\"}\n\n{\"text\":\" \"}\n").unwrap();
    assert!(error(&["--file", "a.txt"]).contains("error: a.txt, line 2: the text is empty\n\nhint: "));
    assert!(error(&["--file", "blank.jsonl"]).contains("error: blank.jsonl, line 3: the text is empty\n"));
    assert!(error(&["the cat", ""]).contains("error: text 2 is empty\n\nhint: "));
    assert!(error(&["--file", "a.jsonl"]).contains("a.jsonl, line 1: there is no text `text`\n\nhint: `--field KEY`"));
    assert!(error(&["--file", "none.txt"]).contains("none.txt"));
    assert!(error(&["a", "--out", "a.csv"]).contains("let it end in .npy, .safetensors or .jsonl"));
    assert!(error(&["a", "--prompt", "title"]).contains("no prompt `title`; it has `document`, `query`"));
    assert!(error(&["a", "--dimensions", "25"]).contains("those of `bert` have 24"));
    let long = tsumugi(path, &["embed", &model, &"cat ".repeat(30)]);
    assert!(long.stderr.contains("note: the text is longer than the 24 tokens"), "{}", long.stderr);
    tsumugi(path, &["generate", &model, "--prompt", "a"]).is("
        exit 2
        ---- stderr
        error: [MODEL]: `bert` is an encoder: it reads texts, but writes none

        hint: `tsumugi embed` and `tsumugi rerank` take such a model
    "
    .replace("[MODEL]", &model)
    .as_str());
}

#[test]
fn passages_come_in_the_order_of_their_scores() {
    let (folder, model) = (temporary_folder(), fixture("bert-cross-encoder"));
    let path = folder.path();
    let query = "Is Paris a city?";
    let ran = tsumugi(
        path,
        &["rerank", &model, query, "play", "Paris is the city of music.", "a dog", "--json", "--compute", "f32"],
    );
    let ran = ran.json();
    let results = ran["results"].as_array().unwrap();
    let scores: Vec<f64> = results.iter().map(|result| result["score"].as_f64().unwrap()).collect();
    assert!(scores.len() == 3 && scores.is_sorted_by(|a, b| a >= b), "{ran}");
    let golden: Value = serde_json::from_slice(&fs::read(format!("{model}/golden.json")).unwrap()).unwrap();
    let paris = results.iter().find(|result| result["index"] == 1).unwrap();
    assert!((paris["score"].as_f64().unwrap() - golden["pairs"][0]["score"].as_f64().unwrap()).abs() < 1e-5);
    let top = tsumugi(path, &["rerank", &model, query, "play", "Paris is the city of music.", "a dog", "--top", "1"]);
    assert_eq!(top.stdout.lines().count(), 1, "{}", top.stdout);
    assert!(top.stdout.trim_end().ends_with(results[0]["text"].as_str().unwrap()));

    let error = tsumugi(path, &["rerank", &fixture("bert"), query, "play"]);
    assert!(error.code == 2 && error.stderr.contains("there is no classifier"), "{}", error.stderr);
    let error = tsumugi(path, &["rerank", &model, " ", "play"]);
    assert!(error.code == 2 && error.stderr.contains("error: the query is empty"), "{}", error.stderr);
}
