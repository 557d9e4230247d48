//! Small vocabularies of every kind, made by the libraries that define the formats, and the ids that these give
//! (`tools/goldens/make_tokenizer_goldens.py`).

use std::path::PathBuf;

use serde_json::Value;
use tsumugi_tokenizer::Tokenizer;

pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

pub fn fixture_text(name: &str) -> String {
    std::fs::read_to_string(fixture(name)).expect("it is in the repository")
}

fn golden(name: &str) -> Value {
    serde_json::from_str(&fixture_text(&format!("goldens/{name}.json"))).expect("JSON")
}

pub fn golden_texts() -> Vec<String> {
    serde_json::from_value(golden("texts")).expect("texts")
}

/// A list of the golden, one for each text; none where the definition and we differ on purpose.
fn of_texts(golden: &Value, list: &str) -> Vec<(String, Value)> {
    let values = golden[list].as_array().expect("a list").iter().cloned();
    golden_texts().into_iter().zip(values).filter(|(_, value)| !value.is_null()).collect()
}

fn check(name: &str, tokenizer: &Tokenizer) {
    let golden = golden(name);
    for (text, ids) in of_texts(&golden, "ids") {
        assert_eq!(Value::from(tokenizer.encode(&text)), ids, "{name}: ids of {text:?}");
    }
    for (text, decoded) in of_texts(&golden, "decoded") {
        assert_eq!(tokenizer.decode(&tokenizer.encode(&text)), decoded.as_str().expect("text"), "{name}: {text:?}");
    }
    if golden.get("ids_with_control").is_some() {
        for (text, ids) in of_texts(&golden, "ids_with_control") {
            assert_eq!(Value::from(tokenizer.encode_with_special(&text)), ids, "{name}: ids with control of {text:?}");
        }
    }
    if golden.get("frame").is_some() {
        assert_eq!(Value::from([tokenizer.prefix(), tokenizer.suffix()].concat()), golden["frame"], "{name}");
    }
}

#[test]
fn ids_are_those_of_hugging_face() {
    for name in
        ["byte_level", "byte_level_prefix_space", "patterns", "word_piece", "unigram", "word_level", "byte_fallback"]
    {
        check(name, &Tokenizer::from_json(&fixture_text(&format!("{name}.json"))).expect("it reads"));
    }
}

#[test]
fn ids_are_those_of_sentencepiece() {
    for name in ["spm_bpe", "spm_unigram", "spm_unigram_bytes"] {
        let bytes = std::fs::read(fixture(&format!("{name}.model"))).expect("it is in the repository");
        check(name, &Tokenizer::from_sentencepiece(&bytes).expect("it reads"));
    }
}

/// Unigram and WordLevel match any token of their vocabulary in text, control tokens too, if they are let.
#[test]
fn control_tokens_of_the_vocabulary_stay_text() {
    for name in ["byte_level", "word_piece", "unigram", "word_level", "byte_fallback"] {
        let tokenizer = Tokenizer::from_json(&fixture_text(&format!("{name}.json"))).expect("it reads");
        let control: Vec<&str> =
            tokenizer.special_tokens().iter().filter(|token| token.control).map(|token| &*token.content).collect();
        assert!(!control.is_empty(), "{name}");
        for text in [control.concat(), control.join(" "), format!("a {} b", control.join("\u{10FFFF}\u{10FFFE}0 "))] {
            let ids = tokenizer.encode(&text);
            let made: Vec<u32> =
                ids.into_iter().filter(|&id| tokenizer.is_special(id) && Some(id) != tokenizer.unknown()).collect();
            assert!(made.is_empty(), "{name}: {made:?} of {text:?}");
        }
    }
}
