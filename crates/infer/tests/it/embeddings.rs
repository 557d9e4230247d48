//! Embeddings and scores of pairs against what `transformers` computed, from the text on.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tsumugi_base::Hint;
use tsumugi_base::testing::{asset, repository_root, temporary_folder};
use tsumugi_infer::text::{CrossEncoder, EmbedError, Embedder, EmbedderOptions, LoadError, Pooling, cosine};
use tsumugi_models::Precision;
use tsumugi_models::llama::Llama;

use crate::support::{VOCABULARY, admit, decoder, write_chat_model};

fn fixture(name: &str) -> PathBuf {
    repository_root().join("crates/models/fixtures/encoders").join(name)
}

fn golden(name: &str) -> Value {
    serde_json::from_slice(&fs::read(fixture(name).join("golden.json")).unwrap()).unwrap()
}

fn load(folder: &Path) -> Result<Embedder, LoadError> {
    let options = EmbedderOptions { threads: Some(2), precision: Precision::Float32, ..EmbedderOptions::default() };
    Embedder::load(&admit(folder), options)
}

fn worst(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// What loading gives of the BERT of the fixtures with some of its files changed.
fn load_changed(changes: &[(&str, Option<Value>)]) -> Result<Embedder, LoadError> {
    let folder = temporary_folder();
    fs::create_dir(folder.path().join("1_Pooling")).unwrap();
    for file in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "modules.json",
        "1_Pooling/config.json",
        "sentence_bert_config.json",
        "config_sentence_transformers.json",
    ] {
        fs::copy(fixture("bert").join(file), folder.path().join(file)).unwrap();
    }
    for (file, content) in changes {
        match content {
            Some(content) => fs::write(folder.path().join(file), content.to_string()).unwrap(),
            None => fs::remove_file(folder.path().join(file)).unwrap(),
        }
    }
    load(folder.path())
}

#[test]
fn embeddings_equal_transformers_from_the_text_on() {
    for (name, pooling) in [("bert", Pooling::Mean), ("roberta", Pooling::First)] {
        let embedder = load(&fixture(name)).unwrap();
        assert_eq!((embedder.pooling(), embedder.max_tokens()), ((pooling, true), 24));
        let golden = golden(name);
        let cases = golden["texts"].as_array().unwrap();
        let texts: Vec<&str> = cases.iter().map(|case| case["text"].as_str().unwrap()).collect();
        let found = embedder.embed(&texts, "").unwrap();
        let tokens: usize = cases.iter().map(|case| case["ids"].as_array().unwrap().len()).sum();
        assert_eq!((found.tokens, found.truncated.len()), (tokens, 0));
        for (vector, case) in found.rows().zip(cases) {
            let expected: Vec<f32> = serde_json::from_value(case["embedding"].clone()).unwrap();
            let off = worst(vector, &expected);
            assert!(off < 5e-6, "{name}, {}: off by {off}", case["text"]);
        }
    }
}

#[test]
fn pairs_have_the_scores_of_transformers() {
    for name in ["bert-cross-encoder", "xlm-roberta-cross-encoder"] {
        let model = CrossEncoder::load(&admit(&fixture(name)), Some(2), Precision::Float32).unwrap();
        for case in golden(name)["pairs"].as_array().unwrap() {
            let [query, passage] = ["query", "passage"].map(|key| case[key].as_str().unwrap());
            let found = model.score(query, &[passage]).unwrap();
            assert_eq!(found.tokens, case["ids"].as_array().unwrap().len(), "{query}");
            let (score, expected) = (f64::from(found.values[0]), case["score"].as_f64().unwrap());
            assert!((score - expected).abs() < 5e-6, "{name}, {query}: {score} is not {expected}");
        }
        assert_eq!(model.score("a", &["b", " "]), Err(EmbedError::EmptyText { index: 1 }));
        assert_eq!(model.score("", &["b"]), Err(EmbedError::EmptyQuery));
    }
}

/// Six hundred texts are several batches.
#[test]
fn a_text_has_the_same_bits_alone_and_among_others_with_any_threads() {
    let words = ["the cat ", "paris ", "dog, ", "music? "];
    let texts: Vec<String> = (0..600).map(|index| words[index % 4].repeat(1 + index % 9)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let of = |threads| {
        let options = EmbedderOptions { threads: Some(threads), ..EmbedderOptions::default() };
        Embedder::load(&admit(&fixture("bert")), options).unwrap()
    };
    let all = of(1).embed(&texts, "").unwrap();
    assert_eq!(of(3).embed(&texts, "").unwrap(), all);
    let one = of(2);
    for (text, vector) in texts.iter().zip(all.rows()).step_by(37) {
        assert!(one.embed(&[text], "").unwrap().values == vector, "{text}");
    }
    let pairs = CrossEncoder::load(&admit(&fixture("bert-cross-encoder")), Some(2), Precision::Stored).unwrap();
    let together = pairs.score("is a cat out?", &texts).unwrap().values;
    for (index, text) in texts.iter().enumerate().step_by(37) {
        assert_eq!(pairs.score("is a cat out?", &[text]).unwrap().values, [together[index]]);
    }
}

#[test]
fn long_texts_are_cut_and_told_and_empty_ones_refused() {
    let embedder = load(&fixture("bert")).unwrap();
    let (long, longer) = ("cat ".repeat(22), "cat ".repeat(30));
    let found = embedder.embed(&[&long, &longer, "cat"], "").unwrap();
    assert_eq!((found.truncated, found.tokens), (vec![1], 24 + 24 + 3));
    assert!(found.values[..24] == found.values[24..48]);
    assert_eq!(embedder.embed(&["cat", "\t \n"], ""), Err(EmbedError::EmptyText { index: 1 }));
    assert_eq!(embedder.embed(&["cat", ""], "query: "), Err(EmbedError::EmptyText { index: 1 }));
    assert!(embedder.embed(&[], "").unwrap().values.is_empty());

    let pairs = CrossEncoder::load(&admit(&fixture("bert-cross-encoder")), Some(1), Precision::Stored).unwrap();
    let scores = pairs.score("dog", &["cat", &"cat ".repeat(40)]).unwrap();
    assert_eq!((scores.truncated, scores.tokens), (vec![1], 5 + pairs.max_tokens()));
}

#[test]
fn prompts_are_those_of_the_model() {
    let embedder = load(&fixture("bert")).unwrap();
    assert_eq!(embedder.prompt(None), Ok(""));
    let prompt = embedder.prompt(Some("query")).unwrap();
    assert_eq!(embedder.embed(&["cat"], prompt), embedder.embed(&["the dog is: cat"], ""));
    let error = embedder.prompt(Some("title")).unwrap_err();
    assert!(error.to_string().ends_with("has no prompt `title`; it has `document`, `query`"), "{error}");

    let prompts = json!({"prompts": {"query": "the dog is: "}, "default_prompt_name": "query"});
    let embedder = load_changed(&[("config_sentence_transformers.json", Some(prompts))]).unwrap();
    assert_eq!(embedder.prompt(None), Ok("the dog is: "));
}

#[test]
fn the_files_of_a_model_say_how_it_is_used_or_are_refused() {
    let error = |changes: &[(&str, Option<Value>)]| {
        let error = load_changed(changes).err().expect("it is refused");
        assert!(!error.to_string().contains('\n'), "one line: {error}");
        error.to_string()
    };
    const POOLING: &str = "1_Pooling/config.json";
    let pooling = |key: &str| Some(json!({key: true, "pooling_mode_mean_tokens": false}));
    let cases: [(&str, Option<Value>, &str); 11] = [
        (POOLING, None, "it is not there, but modules.json says"),
        (POOLING, pooling("pooling_mode_max_tokens"), "`pooling_mode_max_tokens` is not supported"),
        (POOLING, Some(json!({})), "it names no pooling"),
        (POOLING, Some(json!({"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true})), "several poolings"),
        (POOLING, Some(json!({"pooling_mode_mean_tokens": true, "include_prompt": false})), "`include_prompt`"),
        ("modules.json", Some(json!({})), "it is no list of modules"),
        ("modules.json", Some(json!([{"type": "a.Dense", "path": "2_Dense"}])), "`a.Dense` in `2_Dense`"),
        ("sentence_bert_config.json", Some(json!({"max_seq_length": 0})), "`max_seq_length` is 0"),
        ("config_sentence_transformers.json", Some(json!({"prompts": 3})), "`prompts` is no map"),
        (
            "config_sentence_transformers.json",
            Some(json!({"default_prompt_name": "q"})),
            "`default_prompt_name` is `q`",
        ),
        ("tokenizer.json", None, "there is no tokenizer.json"),
    ];
    for (file, content, expected) in cases {
        let error = error(&[(file, content)]);
        assert!(error.contains(expected), "{file}: {error}");
    }
    let last = load_changed(&[(POOLING, pooling("pooling_mode_lasttoken"))]).unwrap();
    assert_eq!(last.pooling(), (Pooling::Last, true));

    // A folder of transformers alone: the mean, and as long as the context.
    let plain = load_changed(&[("modules.json", None), ("sentence_bert_config.json", None)]).unwrap();
    assert_eq!((plain.pooling(), plain.max_tokens()), ((Pooling::Mean, false), 32));
    let (plain, unit) =
        (plain.embed(&["a cat"], "").unwrap(), load(&fixture("bert")).unwrap().embed(&["a cat"], "").unwrap());
    assert!((cosine(&plain.values, &unit.values) - 1.0).abs() < 1e-6);
    assert!((cosine(&plain.values, &plain.values) - 1.0).abs() < 1e-12 && worst(&plain.values, &unit.values) > 0.01);
}

#[test]
fn fewer_dimensions_are_the_first_ones_of_length_one() {
    let whole = load(&fixture("bert")).unwrap().embed(&["a dog"], "").unwrap().values;
    let options = |dimensions| EmbedderOptions {
        precision: Precision::Float32,
        dimensions: Some(dimensions),
        ..EmbedderOptions::default()
    };
    let cut = Embedder::load(&admit(&fixture("bert")), options(5)).unwrap().embed(&["a dog"], "").unwrap();
    assert_eq!(cut.dimensions, 5);
    assert!((cosine(&cut.values, &whole[..5]) - 1.0).abs() < 1e-6);
    assert!((cut.values.iter().map(|number| number * number).sum::<f32>() - 1.0).abs() < 1e-6);
    let error = Embedder::load(&admit(&fixture("bert")), options(25)).err().unwrap();
    assert!(error.to_string().contains("vectors of 25 numbers were asked for, but those of `bert` have 24"), "{error}");
}

#[test]
fn what_scores_no_pairs_is_told() {
    let error = CrossEncoder::load(&admit(&fixture("bert")), None, Precision::Stored).err().unwrap();
    assert!(error.to_string().ends_with("no single score of two texts: there is no classifier"), "{error}");
    assert!(error.hint().unwrap().contains("cross-encoder"));
}

/// A decoder's last position has seen the whole text: what comes before a change is the same, what comes after is not.
#[test]
fn decoders_give_embeddings_too() {
    let folder = temporary_folder();
    write_chat_model(folder.path(), &decoder(Llama::sized(VOCABULARY, 64, 40, 2, 4, 2), 1));
    let of = |pooling, text: &str| {
        let options = EmbedderOptions { pooling: Some(pooling), ..EmbedderOptions::default() };
        Embedder::load(&admit(folder.path()), options).unwrap().embed(&[text], "").unwrap().values
    };
    assert_eq!(of(Pooling::First, "one two"), of(Pooling::First, "one tree"));
    assert_ne!(of(Pooling::Last, "one two"), of(Pooling::Last, "ane two"));
    assert_ne!(of(Pooling::Mean, "one two"), of(Pooling::Last, "one two"));
}

/// all-MiniLM-L6-v2 (Apache-2.0) in numpy, from its weights in float32: the first numbers of two embeddings, and cosines.
#[test]
fn minilm_gives_the_published_vectors() {
    let Some(folder) = asset("models/all-minilm-l6-v2") else { return };
    for precision in [Precision::Float32, Precision::Stored] {
        let options = EmbedderOptions { precision, ..EmbedderOptions::default() };
        let embedder = Embedder::load(&admit(&folder), options).unwrap();
        assert_eq!((embedder.pooling(), embedder.max_tokens()), ((Pooling::Mean, true), 256));
        let texts = [
            "The cat sits outside",
            "Paris is the capital of France.",
            "A man is playing guitar",
            "The new movie is awesome",
            "The feline rests outdoors",
        ];
        let found = embedder.embed(&texts, "").unwrap();
        let rows: Vec<&[f32]> = found.rows().collect();
        let begins: [[f32; 6]; 2] = [
            [0.13919, 0.00303, 0.04701, 0.03957, -0.04800, -0.00681],
            [0.10070, 0.03715, 0.02823, -0.04167, 0.06719, -0.04774],
        ];
        for (row, begin) in rows.iter().zip(&begins) {
            assert!(worst(&row[..6], begin) < 1e-5, "{:?}", &row[..6]);
        }
        for (a, b, expected) in [(0, 2, 0.0363), (0, 3, -0.0247), (0, 4, 0.5958), (2, 4, -0.0707)] {
            let found = cosine(rows[a], rows[b]);
            assert!((found - expected).abs() < 1e-4, "{} and {}: {found} is not {expected}", texts[a], texts[b]);
        }
    }
}
