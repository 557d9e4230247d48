//! `tsumugi tokenizer ...`

use serde_json::{Value, json};
use tsumugi_base::testing::temporary_folder;

use crate::support::{drama, tsumugi};

#[test]
fn train_encode_decode_inspect() {
    let folder = temporary_folder();
    let path = folder.path();
    std::fs::write(path.join("drama.txt"), drama()).unwrap();
    let trained =
        tsumugi(path, &["tokenizer", "train", "drama.txt", "--vocabulary", "320", "--out", "t", "--json"]).json();
    assert_eq!(trained["vocabulary_size"], 320);
    assert!(trained["bytes_per_token"].as_f64().unwrap() > 2.0, "{trained}");
    assert!(path.join("t/tokenizer_config.json").is_file());

    let text = "ROMEO:\nWhat light? <|end|> naïve";
    let encoded = tsumugi(path, &["tokenizer", "encode", "t", text, "--json"]).json();
    let ids: Vec<u64> = serde_json::from_value(encoded["ids"].clone()).unwrap();
    assert!(ids.iter().all(|&id| id < 315), "control tokens in text stay text: {ids:?}");
    let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
    tsumugi(path, &["tokenizer", "encode", "t", text]).is(&format!("exit 0\n---- stdout\n{}", ids.join(" ")));
    let decode: Vec<&str> = ["tokenizer", "decode", "t/tokenizer.json", "--json"]
        .into_iter()
        .chain(ids.iter().map(String::as_str))
        .collect();
    assert_eq!(tsumugi(path, &decode).json(), json!({"text": text}));

    let inspected = tsumugi(path, &["tokenizer", "inspect", "t", "--file", "drama.txt", "--json"]).json();
    assert_eq!(inspected["vocabulary_size"], 320);
    assert_eq!(inspected["special_tokens"][0], json!({"id": 315, "content": "<|endoftext|>", "control": true}));
    assert_eq!(inspected["prefix"], json!([315]));
    assert_eq!(inspected["bytes_per_token"], trained["bytes_per_token"]);
    let shown = tsumugi(path, &["tokenizer", "inspect", "t"]);
    assert!(
        shown.stdout.starts_with("tokens         320\nspecial        315 <|endoftext|>, 316 <|system|>"),
        "{}",
        shown.stdout
    );
}

#[test]
fn rows_are_cut_and_filled_at_the_given_side() {
    let folder = temporary_folder();
    let path = folder.path();
    std::fs::write(path.join("lines.txt"), "abcdef\né\n\n").unwrap();
    tsumugi(path, &["tokenizer", "train", "lines.txt", "--kind", "bytes", "--out", "t"]);
    let rows = |flags: &[&str]| {
        let command = ["tokenizer", "encode", "t", "--file", "lines.txt", "--lines"];
        tsumugi(path, &[&command[..], flags].concat())
    };
    let all = rows(&["--json", "--offsets", "--truncate", "3", "--pad=4", "--side", "left"]).json();
    let all = &all["rows"];
    assert_eq!(all[0]["ids"], json!([256, 100, 101, 102]));
    assert_eq!(all[0]["offsets"], json!([[0, 0], [3, 4], [4, 5], [5, 6]]));
    assert_eq!(all[1]["ids"], json!([256, 256, 195, 169]));
    assert_eq!(all[1]["mask"], json!([0, 0, 1, 1]));
    assert_eq!(all[1]["offsets"], json!([[0, 0], [0, 0], [0, 1], [1, 2]]));
    assert_eq!(all[2]["mask"], json!([0, 0, 0, 0]));
    rows(&["--truncate", "2", "--pad"]).is("exit 0\n---- stdout\n97 98\n195 169\n256 256");
    rows(&["--truncate", "2"]).is("exit 0\n---- stdout\n97 98\n195 169");
    for multiple in ["0", "1048577", "100000000000"] {
        let refused = rows(&[&format!("--pad={multiple}"), "--json"]);
        assert_eq!(refused.code, 2);
        assert!(
            refused.stderr.contains(&format!("'{multiple}'")) && refused.stderr.contains("--pad"),
            "{}",
            refused.stderr
        );
    }
    let word_behind = ["tokenizer", "encode", "--pad", "t", "abc"];
    tsumugi(path, &word_behind).is("exit 0\n---- stdout\n97 98 99");
}

#[test]
fn rows_are_as_the_files_of_the_model_say_where_no_flag_does() {
    let folder = temporary_folder();
    let path = folder.path();
    std::fs::write(path.join("lines.txt"), "abcdef\nab\n").unwrap();
    tsumugi(path, &["tokenizer", "train", "lines.txt", "--kind", "bytes", "--out", "t"]);
    let file = path.join("t/tokenizer.json");
    let mut stored: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    stored["padding"] = json!({"strategy": "BatchLongest", "direction": "Left", "pad_to_multiple_of": 4, "pad_id": 42,
        "pad_type_id": 0, "pad_token": "*"});
    stored["truncation"] = json!({"direction": "Left", "max_length": 3, "strategy": "LongestFirst", "stride": 0});
    std::fs::write(path.join("stored.json"), stored.to_string()).unwrap();
    let rows = |model: &str, flags: &[&str]| {
        let command = ["tokenizer", "encode", model, "--file", "lines.txt", "--lines"];
        tsumugi(path, &[&command[..], flags].concat())
    };
    rows("stored.json", &[]).is("exit 0\n---- stdout\n97 98 99 100 101 102\n97 98");
    rows("stored.json", &["--truncate", "stored", "--pad"]).is("exit 0\n---- stdout\n42 100 101 102\n42 42 97 98");
    rows("stored.json", &["--pad=3", "--side", "right", "--pad-token", "<|user|>"])
        .is("exit 0\n---- stdout\n97 98 99 100 101 102\n97 98 258 258 258 258");
    // A lone vocabulary that names none, and no length.
    std::fs::copy(&file, path.join("lone.json")).unwrap();
    let refused = rows("lone.json", &["--pad"]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("--pad-token '<|endoftext|>'"), "{}", refused.stderr);
    rows("lone.json", &["--pad", "--pad-token", "7"]).is("exit 0\n---- stdout\n97 98 99 100 101 102\n97 98 7 7 7 7");
    assert!(rows("lone.json", &["--pad", "--pad-token", "no token"]).stderr.contains("an id below 261"));
    assert!(rows("lone.json", &["--truncate", "stored"]).stderr.contains("give the length"));
}

#[test]
fn too_little_memory_for_the_vocabulary_is_refused() {
    let folder = temporary_folder();
    std::fs::write(folder.path().join("abc.txt"), "abcabc").unwrap();
    let train = ["tokenizer", "train", "abc.txt", "--vocabulary", "32768", "--memory", "64M", "--out", "t"];
    let ran = tsumugi(folder.path(), &train);
    assert!(ran.stderr.contains("give at least 91M"), "{}", ran.stderr);
    assert!(!folder.path().join("t").exists());
    assert_eq!(tsumugi(folder.path(), &train.map(|word| if word == "64M" { "91M" } else { word })).code, 0);
    // Bytes and characters need none.
    let ran =
        tsumugi(folder.path(), &["tokenizer", "train", "abc.txt", "--kind", "bytes", "--memory", "1G", "--out", "b"]);
    assert!(ran.stderr.contains("`--memory` has no effect"), "{}", ran.stderr);
}

#[test]
fn bytes_and_characters_are_tokenizers_too() {
    let folder = temporary_folder();
    let path = folder.path();
    std::fs::write(path.join("abc.txt"), "abcabc").unwrap();
    let kind =
        |kind, out| tsumugi(path, &["tokenizer", "train", "abc.txt", "--kind", kind, "--out", out, "--json"]).json();
    assert_eq!(kind("bytes", "bytes")["vocabulary_size"], 261);
    // Three characters, the replacement character, five control tokens.
    assert_eq!(kind("characters", "characters")["vocabulary_size"], 9);
}

#[test]
fn a_flag_that_would_change_nothing_is_refused() {
    let folder = temporary_folder();
    std::fs::write(folder.path().join("abc.txt"), "abcabc").unwrap();
    let train = ["tokenizer", "train", "abc.txt", "--kind", "bytes", "--vocabulary", "300", "--out", "t"];
    tsumugi(folder.path(), &train).is("
        exit 2
        ---- stderr
        error: `--vocabulary` has no effect on a tokenizer of bytes or characters

        hint: leave it out, or use `--kind bpe`
    ");
}

#[test]
fn what_is_there_is_not_overwritten() {
    let folder = temporary_folder();
    let path = folder.path();
    std::fs::write(path.join("abc.txt"), "abcabc").unwrap();
    let train = ["tokenizer", "train", "abc.txt", "--kind", "bytes", "--out", "t"];
    assert_eq!(tsumugi(path, &train).code, 0);
    tsumugi(path, &train).is("
        exit 2
        ---- stderr
        error: t/tokenizer.json is already there

        hint: name another folder with `--out`, or remove this file
    ");
}

#[test]
fn an_id_out_of_range_is_refused() {
    let folder = temporary_folder();
    let path = folder.path();
    std::fs::write(path.join("abc.txt"), "abcabc").unwrap();
    assert_eq!(tsumugi(path, &["tokenizer", "train", "abc.txt", "--kind", "bytes", "--out", "t"]).code, 0);
    tsumugi(path, &["tokenizer", "decode", "t", "97", "300"]).is("
        exit 2
        ---- stderr
        error: there is no token 300: t has 261 tokens

        hint: ids go from 0 to 260
    ");
}
