//! Vocabulary files of every kind by their content, in folders, and damaged.

use std::path::Path;

use serde_json::json;
use tsumugi_base::testing::{mutations, temporary_folder};
use tsumugi_files::gguf::{Array, Metadata, Value};
use tsumugi_files::{ModelFiles, NoScan, write_gguf};
use tsumugi_tokenizer::bpe::byte_to_char;
use tsumugi_tokenizer::{EncoderTokens, Tokenizer, TokenizerError};

use crate::encoding::adversarial_texts;
use crate::fixtures::{fixture, fixture_text, golden_texts};

const GATE: NoScan = NoScan { reason: "a test's own files" };

fn model(name: &str) -> Vec<u8> {
    std::fs::read(fixture(&format!("{name}.model"))).expect("it is in the repository")
}

fn read(bytes: &[u8]) -> Result<Tokenizer, TokenizerError> {
    Tokenizer::from_vocabulary(bytes, Path::new("fixture"))
}

/// A file of ranks that has as many as `r50k_base`: the bytes, then words.
fn ranks() -> String {
    let base64 = |number: u32| {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        [18, 12, 6, 0].map(|shift| DIGITS[(number >> shift & 63) as usize] as char).iter().collect::<String>()
    };
    let bytes = (0..256).map(|byte| format!("{}== {byte}\n", &base64(byte << 16)[..2]));
    let pairs = (0..50_000u32).map(|n| (256 + n, (97 + n / 256 % 26) << 16 | (n % 256) << 8 | (97 + n / 6656)));
    bytes.chain(pairs.map(|(rank, number)| format!("{} {rank}\n", base64(number)))).collect()
}

fn tekken() -> serde_json::Value {
    let bytes = (0..256u32).map(|byte| {
        let line = ranks().lines().nth(byte as usize).expect("a line").to_owned();
        json!({"rank": byte, "token_bytes": line.split(' ').next(), "token_str": null})
    });
    json!({
        "config": {"pattern": "\\p{L}+|\\P{L}+", "default_vocab_size": 286, "default_num_special_tokens": 30, "version": "v3"},
        "vocab": bytes.collect::<Vec<_>>(),
    })
}

fn gguf(kind: &str) -> Metadata {
    let mut metadata = Metadata::default();
    let mut set = |key: &str, value: Value| metadata.insert(format!("tokenizer.ggml.{key}"), value);
    let bytes = (0..=255).map(|byte| byte_to_char(byte).to_string()).filter(|byte| !["a", "b", "c"].contains(&&**byte));
    let listed = ["<unk>", "<s>", "a", "b", "ab", "▁", "▁a", "c"].map(str::to_owned);
    let tokens: Vec<String> = listed.into_iter().chain(bytes).collect();
    set("model", Value::String(kind.into()));
    let mut scores = vec![0.0, 0.0, -1.0, -1.5, -3.0, -4.0, -5.0];
    scores.resize(tokens.len(), -9.0);
    let mut kinds = vec![2, 3];
    kinds.resize(tokens.len(), 1);
    set("tokens", Value::Array(Array::String(tokens)));
    set("scores", Value::Array(Array::F32(scores)));
    set("token_type", Value::Array(Array::I32(kinds)));
    set("merges", Value::Array(Array::String(vec!["a b".into()])));
    set("bos_token_id", Value::U32(1));
    set("unknown_token_id", Value::U32(0));
    metadata
}

fn gguf_bytes(kind: &str) -> Vec<u8> {
    let folder = temporary_folder();
    let path = folder.path().join("vocabulary.gguf");
    write_gguf(&path, &gguf(kind), &[]).expect("it is written");
    std::fs::read(path).expect("it was written")
}

#[test]
fn a_file_is_known_by_its_content() {
    assert_eq!(read(&model("spm_bpe")).expect("a model").vocabulary_size(), 480);
    assert_eq!(read(ranks().as_bytes()).expect("ranks").special("<|endoftext|>"), Some(50_256));
    let tekken = read(tekken().to_string().as_bytes()).expect("Tekken");
    assert_eq!((tekken.prefix(), tekken.encode("aé!")), (&[1][..], vec![30 + 97, 30 + 0xC3, 30 + 0xA9, 30 + 33]));
    assert_eq!(tekken.special("<SPECIAL_29>"), Some(29));
    assert_eq!(read(fixture_text("word_piece.json").as_bytes()).expect("JSON").suffix().len(), 1);
}

#[test]
fn a_folder_needs_only_its_vocabulary() {
    let folder = temporary_folder();
    let open = || Tokenizer::of_model(&ModelFiles::admit(folder.path(), &GATE).expect("it opens"));
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("it writes");
    assert!(open().expect("it lists").is_none());
    write("other.model", &model("spm_unigram"));
    let size = |tokenizer: Result<Option<Tokenizer>, _>| tokenizer.expect("it reads").expect("there").vocabulary_size();
    let unigram = read(&model("spm_unigram")).expect("it reads").vocabulary_size();
    assert_eq!(size(open()), unigram);
    write("r50k_base.tiktoken", ranks().as_bytes());
    assert!(open().expect("two that might be it").is_none());
    write("tokenizer.model", &model("spm_bpe"));
    assert_eq!(size(open()), 480);
    write("tokenizer.json", b"{");
    let error = open().expect_err("it is cut short").to_string();
    assert!(error.contains("tokenizer.json: tokenizer.json is not a tokenizer"), "{error}");
    std::fs::remove_file(folder.path().join("tokenizer.json")).expect("it was there");
    let file = folder.path().join("m.gguf");
    write_gguf(&file, &gguf("llama"), &[]).expect("it is written");
    for path in [&file, folder.path()] {
        let model = ModelFiles::admit(path, &GATE).expect("it opens");
        assert_eq!(size(Tokenizer::of_model(&model)), 261, "a GGUF file has its own vocabulary");
    }
}

#[test]
fn kinds_of_gguf_vocabularies() {
    let llama = Tokenizer::from_gguf(&gguf("llama")).expect("BPE of SentencePiece");
    assert_eq!((llama.encode("ab a"), llama.prefix()), (vec![5, 4, 6], &[1][..]));
    let t5 = Tokenizer::from_gguf(&gguf("t5")).expect("Unigram");
    assert_eq!((t5.encode("  ab  a "), t5.prefix(), t5.suffix()), (vec![6, 3, 6], &[][..], &[][..]));
    let bytes = Tokenizer::from_gguf(&gguf("gpt2")).expect("byte-level");
    assert_eq!(bytes.encode("abb"), [4, 3]);
    let mut without_a_byte = gguf("gpt2");
    if let Some(Value::Array(Array::String(mut tokens))) = without_a_byte.get("tokenizer.ggml.tokens").cloned() {
        let place = tokens.iter().position(|token| token == "z").expect("a byte");
        tokens[place] = "zz".into();
        without_a_byte.insert("tokenizer.ggml.tokens", Value::Array(Array::String(tokens)));
    }
    let bytes = Tokenizer::from_gguf(&without_a_byte).expect("byte-level");
    assert_eq!(
        (bytes.encode("abzb"), bytes.vocabulary_size()),
        (vec![4, 3], 261),
        "a byte without a token is left out"
    );
    let bert = Tokenizer::from_gguf(&gguf("bert")).expect("WordPiece");
    assert_eq!(bert.encode("AAB b"), [6, 4, 0]);
    for (key, value, told) in [
        ("model", Value::String("rwkv".into()), "its kind `rwkv` is not read; those that are: gpt2, llama, bert, t5"),
        ("pre", Value::String("new".into()), "its pattern `new` (`tokenizer.ggml.pre`) is not known; known: gpt-2"),
        ("tokens", Value::Bool(true), "it has no list of texts `tokenizer.ggml.tokens`"),
        ("token_type", Value::Array(Array::I32(vec![9; 261])), "token 0 has the unknown kind 9"),
        ("token_type", Value::Array(Array::I32(vec![1])), "it has 261 tokens, but kinds of 1"),
        ("tokens", Value::Array(Array::String(vec!["a".into(); 261])), "token 1 is the same as token 0"),
    ] {
        let mut metadata = gguf("gpt2");
        metadata.insert(format!("tokenizer.ggml.{key}"), value);
        let error = Tokenizer::from_gguf(&metadata).expect_err("it must fail").to_string();
        assert!(error.starts_with(&format!("not a usable GGUF vocabulary: {told}")), "{error}");
    }
    let mut metadata = gguf("llama");
    metadata.insert("tokenizer.ggml.scores", Value::Array(Array::F32([&[0.0, f32::NAN][..], &[0.0; 259]].concat())));
    let error = Tokenizer::from_gguf(&metadata).expect_err("it must fail").to_string();
    assert!(error.ends_with("the score of token 1 is no number"), "{error}");
}

#[test]
fn what_is_wrong_is_told() {
    let error = |bytes: &[u8]| read(bytes).expect_err("it must fail").to_string();
    assert_eq!(
        error(b"YQ== 0\n"),
        format!(
            "not a usable tiktoken vocabulary: it has 1 ranks, which is no known one; known: {}",
            "50256 (r50k_base), 50280 (p50k_base), 100256 (cl100k_base), 128000 (Llama 3), 151643 (Qwen), 199998 (o200k_base)"
        )
    );
    assert!(error(b"YQ== 0\nYQ 1 2").ends_with("line 2 is not a token in base 64 and a rank"));
    assert!(error(ranks().replacen("AA== 0\n", "YWI= 0\n", 1).as_bytes()).contains("no token for the byte 0x00"));
    assert!(error(b"\n\x05\xff").contains("a value that goes beyond the end at byte 2"));
    assert!(error(b"\xff").starts_with("not a usable SentencePiece vocabulary"));
    assert!(error(b"# Vocabularies").starts_with("no vocabulary that is known"));
    assert!(error(b"").starts_with("no vocabulary that is known"));
    assert!(error(b"GGUF").contains("version"));
    let mut short = tekken();
    short["config"]["default_vocab_size"] = 1000.into();
    assert!(error(short.to_string().as_bytes()).ends_with("it has 256 tokens, but is said to have 970"));
    short["config"]["default_vocab_size"] = 3.into();
    assert!(error(short.to_string().as_bytes()).ends_with("it has 30 special tokens, but only 3 tokens in all"));
}

/// Whatever a file holds: an error or a tokenizer, and then its ids exist.
#[test]
fn damaged_vocabularies_never_panic() {
    let files = ["byte_fallback", "unigram", "word_level", "word_piece"]
        .map(|name| (fixture_text(&format!("{name}.json")).into_bytes(), 2_500));
    let models = ["spm_bpe", "spm_unigram", "spm_unigram_bytes"].map(|name| (model(name), 3_400));
    let ggufs = ["llama", "gpt2", "bert"].map(|kind| (gguf_bytes(kind), 3_400));
    let tekken = (tekken().to_string().into_bytes(), 10_000);
    for (original, count) in files.into_iter().chain(models).chain(ggufs).chain([tekken]) {
        let original = &original[..];
        let mut opened = 0;
        for mutation in mutations(original, 11, count) {
            let Ok(tokenizer) = read(&mutation.bytes) else { continue };
            opened += 1;
            for text in ["Speak, <s> 2024 漢\u{301}  \t<sep>", "\0▁é", ""] {
                let ids = tokenizer.encode_with_special(text);
                assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocabulary_size()), "{}", mutation.number);
                tokenizer.decode(&ids);
            }
        }
        assert!(opened > 0, "some mutations of {:?} leave a readable file", &original[..40]);
    }
}

/// A whole file of ranks is long; what is wrong with a line is found before it is known that others are missing.
#[test]
fn damaged_ranks_never_panic() {
    let few: String = ranks().lines().take(300).flat_map(|line| [line, "\n"]).collect();
    let count_is_wrong = |mutation: &[u8]| matches!(read(mutation), Err(TokenizerError::Vocabulary { format: "tiktoken", reason }) if reason.starts_with("it has "));
    let read_to_the_end = mutations(few.as_bytes(), 12, 10_000).filter(|found| count_is_wrong(&found.bytes)).count();
    assert!((100..9_900).contains(&read_to_the_end), "{read_to_the_end}");
}

/// In a minute each of these would be through a thousand times over, were an encoder not linear.
#[test]
fn long_runs_are_linear() {
    let json = |name: &str| read(fixture_text(&format!("{name}.json")).as_bytes()).expect("it reads");
    let mut tokenizers: Vec<Tokenizer> =
        ["spm_bpe", "spm_unigram", "spm_unigram_bytes"].map(|name| read(&model(name)).expect("it reads")).to_vec();
    tokenizers.extend(["byte_level", "byte_fallback", "unigram", "word_piece", "word_level"].map(json));
    for unit in ["a", " ", "1", "\n", "é", "<", "▁", "<sep", "a "] {
        let text = unit.repeat(1_000_000 / unit.len());
        for tokenizer in &tokenizers {
            assert!(tokenizer.encode(&text).len() <= text.len() + 1, "{tokenizer:?} {unit:?}");
            tokenizer.encode_with_special(&text);
        }
    }
}

/// A model that came as SentencePiece's, written for Hugging Face and read again.
#[test]
fn a_model_is_written_as_a_tokenizer_json() {
    let original = read(&model("spm_bpe")).expect("it reads");
    let written = Tokenizer::from_json(&original.to_json()).expect("our own file");
    assert_eq!((written.vocabulary_size(), written.prefix()), (original.vocabulary_size(), original.prefix()));
    let cls = original.special("<cls>").expect("a control token");
    assert_eq!(written.special("<cls>"), Some(cls));
    // User-defined pieces take no marked space after them there, and here one is two spaces.
    let differs = |text: &str| text.contains("<sep>") || text.contains("  ") || text.contains('▁');
    for text in golden_texts().iter().filter(|text| !differs(text)) {
        assert_eq!(written.encode(text), original.encode(text), "{text:?}");
    }
    let unigram = read(&model("spm_unigram")).expect("it reads");
    let written = Tokenizer::from_json(&unigram.to_json()).expect("our own file");
    for text in ["First Citizen: hear me speak.", "  speak  Ａ the \n x ", ""] {
        assert_eq!(written.encode(text), unigram.encode(text), "{text:?}");
    }
}

#[test]
fn texts_of_sentencepiece_come_back() {
    let tokenizer = read(&model("spm_bpe")).expect("it reads");
    for text in adversarial_texts().iter().filter(|text| !text.contains('▁')) {
        assert_eq!(tokenizer.decode(&tokenizer.encode(text)), *text);
        assert!(tokenizer.encode(text).iter().all(|&id| !tokenizer.is_special(id)), "control token from {text:?}");
    }
    let cls = tokenizer.special("<cls>").expect("a control token");
    assert!(!tokenizer.encode("a<cls>b").contains(&cls));
    assert_eq!(tokenizer.encode_with_special("a<cls>b").iter().filter(|&&id| id == cls).count(), 1);
}

/// The WordPiece of the fixtures with another value at a place, as JSON pointers name it.
fn word_piece(changes: &[(&str, serde_json::Value)]) -> Tokenizer {
    let mut file: serde_json::Value = serde_json::from_str(&fixture_text("word_piece.json")).expect("JSON");
    for (pointer, value) in changes {
        *file.pointer_mut(pointer).expect("it is there") = value.clone();
    }
    Tokenizer::from_json(&file.to_string()).expect("it reads")
}

/// As an encoder's file has it.
fn written(tokenizer: &Tokenizer) -> Result<Metadata, TokenizerError> {
    let mut metadata = tokenizer.to_gguf(tokenizer.vocabulary_size() + 2)?;
    let folder = temporary_folder();
    tokenizer.save(folder.path())?;
    std::fs::write(folder.path().join("config.json"), "{}").expect("it writes");
    let model = ModelFiles::admit(folder.path(), &GATE).expect("a folder");
    EncoderTokens::of_model(&model, tokenizer).expect("they are named").put(&mut metadata);
    tokenizer.check_gguf(&metadata, true)?;
    Ok(metadata)
}

#[test]
fn word_pieces_are_written_and_read_again() {
    let lower = "/normalizer/lowercase";
    let strips = "/normalizer/strip_accents";
    for changes in [
        &[][..],
        &[(lower, json!(false))],
        &[(lower, json!(false)), (strips, json!(true))],
        &[(lower, json!(true)), (strips, json!(false))],
    ] {
        let tokenizer = word_piece(changes);
        let read = Tokenizer::from_gguf(&written(&tokenizer).expect("it is written")).expect("it is read");
        for text in golden_texts().into_iter().chain(["Äpfel ÉTÉ [MASK] ##ing".into()]) {
            assert_eq!(read.encode(&text), tokenizer.encode(&text), "{changes:?}, {text}");
            let [again, before] = [&read, &tokenizer].map(|tokenizer| tokenizer.encode_with_special(&text));
            assert_eq!(again, before, "{changes:?}, {text}");
        }
    }
}

#[test]
fn word_pieces_without_a_word_in_a_gguf_file_are_refused() {
    for (pointer, value, told) in [
        ("/normalizer/clean_text", json!(false), "in another way than BERT"),
        ("/model/max_input_chars_per_word", json!(200), "in another way than BERT"),
        ("/post_processor/single", json!([{"Sequence": {"id": "A", "type_id": 0}}]), "before and after a text"),
        ("/post_processor/pair/3/Sequence/type_id", json!(0), "around two texts"),
    ] {
        let error = written(&word_piece(&[(pointer, value)])).expect_err("it is refused").to_string();
        assert!(error.contains(told), "{pointer}: {error}");
    }
}
