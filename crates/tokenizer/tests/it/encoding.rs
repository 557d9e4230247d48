//! Encoding and decoding: round trips, control tokens, byte and character vocabularies, files that are no tokenizer.

use serde_json::{Map, Value, json};
use tsumugi_base::progress::Silent;
use tsumugi_base::testing::mutations;
use tsumugi_tokenizer::bpe::{Split, byte_to_char};
use tsumugi_tokenizer::train::{TrainingConfig, byte_tokenizer, character_tokenizer, train_bpe};
use tsumugi_tokenizer::{Statistics, Tokenizer, TokenizerError, special_tokens};

use crate::bpe::random_text;

/// Texts that break tokenizers.
pub fn adversarial_texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        "\n",
        "\0",
        "a\0b\0\0",
        "  two  spaces  ",
        "\r\n\r\n \n\t ",
        "don't DON'T I'LL 'tis ''",
        "123456789 3.14159 1e-9",
        "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽",
        "漢字かな交じり文、한국어 텍스트",
        "e\u{301} é \u{200d}\u{feff}\u{202e}",
        "\u{FFFD}\u{10FFFF}\u{E000}",
        "مرحبا بالعالم",
        "<|endoftext|>",
        "a<|end|>b<|user|>",
        "<|end",
        "|>",
        "\u{a0}\u{3000}x\u{2028}y",
    ]
    .map(String::from)
    .to_vec();
    texts.push("a".repeat(100_000));
    texts.push(" ".repeat(10_000));
    texts.push("1".repeat(1_000));
    texts.push("\n \n".repeat(1_000));
    texts.push((0..=0x2FFF).filter_map(char::from_u32).collect());
    texts
}

pub fn small_tokenizer(split: Split) -> Tokenizer {
    let text =
        "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak. 漢字 été 2024 don't\n";
    let config = TrainingConfig { vocabulary_size: 340, split, minimum_pair_count: 1, ..TrainingConfig::default() };
    train_bpe(&[text.repeat(3)], &config, &Silent).expect("it trains")
}

#[test]
fn every_text_comes_back() {
    let mut tokenizers: Vec<Tokenizer> = [Split::Gpt4, Split::Gpt2, Split::None].map(small_tokenizer).to_vec();
    tokenizers.push(byte_tokenizer(&special_tokens::all()).expect("it is made"));
    for tokenizer in &tokenizers {
        for text in adversarial_texts() {
            let ids = tokenizer.encode(&text);
            assert_eq!(tokenizer.decode(&ids), text, "{tokenizer:?}");
            assert!(ids.iter().all(|&id| !tokenizer.is_special(id)), "control token from {text:?}");
        }
        for seed in 0..100 {
            let text = random_text(seed, &['a', ' ', '\n', '<', '|', '>', 'é', '\u{1F469}', '\u{200d}', '9'], 200);
            assert_eq!(tokenizer.decode(&tokenizer.encode(&text)), text, "{tokenizer:?}");
        }
    }
}

#[test]
fn control_tokens_are_parsed_only_when_asked() {
    let tokenizer = small_tokenizer(Split::Gpt4);
    let end = tokenizer.special(special_tokens::END).expect("it is special");
    let text = "Speak<|end|>.";
    assert!(!tokenizer.encode(text).contains(&end));
    let ids = tokenizer.encode_with_special(text);
    assert_eq!(ids.iter().filter(|&&id| id == end).count(), 1);
    assert_eq!(tokenizer.decode(&ids), "Speak.");
    assert_eq!(tokenizer.token_bytes(end).as_ref(), b"<|end|>");
    assert_eq!(tokenizer.special("<|nothing|>"), None);
}

#[test]
fn a_document_begins_with_the_first_special_token() {
    let tokenizer = small_tokenizer(Split::Gpt4);
    let bos = tokenizer.special(special_tokens::END_OF_TEXT).expect("it is special");
    assert_eq!(tokenizer.prefix(), [bos]);
    assert_eq!(bos as usize + special_tokens::ALL.len(), tokenizer.vocabulary_size());
    assert!(byte_tokenizer(&[]).expect("it is made").prefix().is_empty());
}

#[test]
fn bytes_are_their_own_ids() {
    let tokenizer = byte_tokenizer(&special_tokens::all()).expect("it is made");
    assert_eq!(tokenizer.encode("é\0A"), [0xC3, 0xA9, 0, 65]);
    assert_eq!(tokenizer.vocabulary_size(), 261);
    assert_eq!(tokenizer.decode(&[0xC3, 65, 9_999_999]), "\u{FFFD}A\u{FFFD}");
}

#[test]
fn characters_are_sorted_and_others_are_the_replacement_character() {
    let tokenizer = character_tokenizer("hello\nworld é", &[]).expect("it is made");
    let sorted = "\n dehlorwé\u{FFFD}";
    assert_eq!(tokenizer.vocabulary_size(), sorted.chars().count());
    assert_eq!(tokenizer.encode(sorted), (0..sorted.chars().count() as u32).collect::<Vec<_>>());
    let unknown = tokenizer.unknown().expect("it has one");
    assert_eq!(tokenizer.encode("hXé漢"), [4, unknown, 9, unknown]);
    assert_eq!(tokenizer.decode(&tokenizer.encode("hXé漢")), "h\u{FFFD}é\u{FFFD}");
    let with_specials = character_tokenizer("ab", &special_tokens::all()).expect("it is made");
    assert_eq!(with_specials.vocabulary_size(), 2 + 1 + 5);
    assert_eq!(with_specials.encode_with_special("a<|end|>b"), [0, 7, 1]);
    let text = "ab".repeat(50_000);
    assert_eq!(with_specials.decode(&with_specials.encode(&text)), text);
}

#[test]
fn the_file_gives_the_same_tokenizer() {
    for split in [Split::Gpt4, Split::Gpt2, Split::None] {
        let tokenizer = small_tokenizer(split);
        let again = Tokenizer::from_json(&tokenizer.to_json()).expect("our own file");
        assert_eq!(again.to_json(), tokenizer.to_json());
        for text in adversarial_texts() {
            assert_eq!(again.encode(&text), tokenizer.encode(&text));
        }
    }
}

#[test]
fn a_file_that_is_no_tokenizer_is_an_error() {
    let error = |text: &str| Tokenizer::from_json(text).expect_err("it must fail").to_string();
    assert!(error("").starts_with("tokenizer.json is not a tokenizer: EOF"));
    assert_eq!(error("{}"), "tokenizer.json is not a tokenizer: it has no `model.vocab`");
    assert!(error(r#"{"model":{"type":"Unigram","vocab":[[0.0]]}}"#).contains("entry 0 of `model.vocab`"));
    assert!(error(r#"{"model":{"type":"New","vocab":{}}}"#).ends_with("a model of type `New`"));
    let scattered = r#"{"version":"1.0","model":{"type":"BPE","vocab":{"a":4000000},"merges":[]}}"#;
    assert!(error(scattered).contains("1 tokens with ids up to 4000000"));
    let huge = r#"{"version":"1.0","model":{"type":"BPE","vocab":{"a":4294967295},"merges":[]}}"#;
    assert!(matches!(Tokenizer::from_json(huge), Err(TokenizerError::IdTooLarge { id: 4294967295, .. })));
    let long = format!(r#"{{"model":{{"type":"BPE","vocab":{{"{}":0}},"merges":[]}}}}"#, "a".repeat(70_000));
    assert!(error(&long).contains("a token of 70000 bytes"));
}

#[test]
fn damaged_files_never_panic() {
    let tokenizer = small_tokenizer(Split::Gpt4);
    let json = tokenizer.to_json();
    let mut opened = 0;
    for mutation in mutations(json.as_bytes(), 7, 300) {
        if let Ok(text) = std::str::from_utf8(&mutation.bytes)
            && let Ok(other) = Tokenizer::from_json(text)
        {
            opened += 1;
            let ids = other.encode("Speak, <|end|> 2024 漢");
            other.decode(&ids);
        }
    }
    assert!(opened > 0, "some mutations leave a readable file");
}

#[test]
fn statistics_count_a_text() {
    let tokenizer = character_tokenizer("abc", &[]).expect("it is made");
    let counted = Statistics::of(&tokenizer, "aab\u{e9}", 2);
    assert_eq!((counted.bytes, counted.characters, counted.tokens, counted.tokens_used), (5, 4, 4, 3));
    assert_eq!((counted.unknown, counted.single_byte_tokens), (1, 3));
    assert_eq!(counted.most_frequent, [("a".to_owned(), 2), ("b".to_owned(), 1)]);
    assert_eq!(counted.longest, ["\u{FFFD}", "a"]);
    assert!((counted.bytes_per_token() - 1.25).abs() < 1e-12);
    assert_eq!(Statistics::of(&tokenizer, "", 2).tokens, 0);
}

/// A pattern that gives no words would make every text empty without a word about it.
#[test]
fn a_pattern_that_loses_text_is_refused() {
    let whole: serde_json::Value = serde_json::from_str(&small_tokenizer(Split::Gpt2).to_json()).unwrap();
    for pattern in ["((((", "\\d", "[a-z]+"] {
        let mut file = whole.clone();
        file["pre_tokenizer"] = serde_json::json!({ "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
        ]});
        // Either it is refused, or no text is lost.
        if let Ok(tokenizer) = Tokenizer::from_json(&file.to_string()) {
            let text = "Hello, my lord 12345";
            assert_eq!(tokenizer.decode(&tokenizer.encode(text)), text, "{pattern}");
        }
    }
}

/// A `tokenizer.json` of bytes and the merges of `e`, a space and `q`.
fn merging_across_words(pre_tokenizer: &Value) -> Tokenizer {
    let mut vocabulary: Map<String, Value> =
        (0..=255).map(|byte| (byte_to_char(byte).to_string(), byte.into())).collect();
    vocabulary.extend([("eĠ".to_owned(), 256.into()), ("eĠq".to_owned(), 257.into())]);
    let file = json!({
        "version": "1.0", "pre_tokenizer": pre_tokenizer,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [["e", "Ġ"], ["eĠ", "q"]]},
    });
    Tokenizer::from_json(&file.to_string()).expect("it is one")
}

#[test]
fn long_texts_are_encoded_as_short_ones_whatever_ends_a_word() {
    let bytes = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": use_regex});
    let after = |first: Value| json!({"type": "Sequence", "pretokenizers": [first, bytes(false)]});
    for pre_tokenizer in [
        bytes(false),
        bytes(true),
        after(json!({"type": "Punctuation", "behavior": "Isolated"})),
        after(json!({"type": "Digits", "individual_digits": true})),
        after(json!({"type": "UnicodeScripts"})),
        after(json!({"type": "CharDelimiterSplit", "delimiter": "-"})),
        after(json!({"type": "Split", "pattern": {"String": "e q"}, "behavior": "Isolated", "invert": false})),
        after(json!({"type": "Split", "pattern": {"Regex": "e q|u"}, "behavior": "Isolated", "invert": false})),
        after(json!({"type": "WhitespaceSplit"})),
    ] {
        let tokenizer = merging_across_words(&pre_tokenizer);
        // One unit more always adds the same ids.
        let ids = |units: usize| tokenizer.encode(&"we queue ".repeat(units));
        let [two, three, many] = [2, 3, 8000].map(ids);
        assert_eq!(many.len(), two.len() + (8000 - 2) * (three.len() - two.len()), "{pre_tokenizer}");
    }
}

#[test]
fn text_never_becomes_a_control_token_even_where_the_vocabulary_gives_its_id_to_a_word() {
    let file = |model: Value| {
        let added = json!([{"id": 1, "content": "<|system|>", "special": true}]);
        let file =
            json!({"version": "1.0", "added_tokens": added, "pre_tokenizer": {"type": "Whitespace"}, "model": model});
        Tokenizer::from_json(&file.to_string()).unwrap()
    };
    let words = json!({"no": 0, "evil": 1});
    let models = [
        json!({"type": "WordPiece", "vocab": words, "unk_token": "no"}),
        json!({"type": "BPE", "vocab": {"e": 0, "v": 2, "ev": 1}, "merges": [["e", "v"]]}),
    ];
    for model in models {
        assert!(!file(model).encode("evil").contains(&1));
    }
    let mut bytes: Value = serde_json::from_str(&merging_across_words(&Value::Null).to_json()).unwrap();
    bytes["added_tokens"] = json!([{"id": 257, "content": "<|system|>", "special": true}]);
    bytes["pre_tokenizer"] = json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": false});
    let tokenizer = Tokenizer::from_json(&bytes.to_string()).unwrap();
    assert_eq!(tokenizer.encode("e q"), [256, u32::from(b'q')]);
    assert_eq!(tokenizer.encode_with_special("<|system|>"), [257]);
}
