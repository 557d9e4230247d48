//! Streaming gives the text of the whole, in pieces that are whole characters.

use tsumugi_base::rng::{Key, Stream};
use tsumugi_tokenizer::bpe::Split;
use tsumugi_tokenizer::train::{byte_tokenizer, character_tokenizer};
use tsumugi_tokenizer::{Tokenizer, special_tokens};

use crate::encoding::{adversarial_texts, small_tokenizer};
use crate::fixtures::{fixture, fixture_text};

fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut decoder = tokenizer.stream();
    let mut text: String = ids.iter().map(|&id| decoder.push(id)).collect();
    text.push_str(&decoder.finish());
    text
}

#[test]
fn pieces_joined_are_the_decoded_text() {
    let characters: String = adversarial_texts().concat();
    let tokenizers = [
        small_tokenizer(Split::Gpt4),
        byte_tokenizer(&special_tokens::all()).expect("it is made"),
        character_tokenizer(&characters, &[]).expect("it is made"),
        sentencepiece_style(),
        Tokenizer::from_sentencepiece(&std::fs::read(fixture("spm_bpe.model")).expect("it is there"))
            .expect("it reads"),
        Tokenizer::from_json(&fixture_text("word_piece.json")).expect("it reads"),
    ];
    for tokenizer in &tokenizers {
        for text in adversarial_texts().iter().filter(|text| text.len() < 50_000) {
            let ids = tokenizer.encode(text);
            assert_eq!(streamed(tokenizer, &ids), tokenizer.decode(&ids), "{tokenizer:?} {text:?}");
        }
    }
}

#[test]
fn random_bytes_decode_as_the_standard_library_says() {
    let tokenizer = byte_tokenizer(&special_tokens::all()).expect("it is made");
    let mut random = Stream::new(Key::from_seed(3));
    for _ in 0..2000 {
        // Mostly lead and continuation bytes, so that sequences break at every point; control tokens in between.
        let ids: Vec<u32> = (0..8)
            .map(|_| [0x41, 0xE2, 0x82, 0xAC, 0xF0, 0x9F, 0xC3, 0x80, 0xFF, 258][random.below(10) as usize])
            .collect();
        let bytes: Vec<u8> = ids.iter().filter_map(|&id| u8::try_from(id).ok()).collect();
        let expected = String::from_utf8_lossy(&bytes);
        assert_eq!(tokenizer.decode(&ids), expected);
        assert_eq!(streamed(&tokenizer, &ids), expected, "{ids:x?}");
    }
}

#[test]
fn a_character_comes_when_it_is_whole() {
    let tokenizer = byte_tokenizer(&[]).expect("it is made");
    let mut decoder = tokenizer.stream();
    let pieces: Vec<String> = "a€b".bytes().map(|byte| decoder.push(byte.into())).collect();
    assert_eq!(pieces, ["a", "", "", "€", "b"]);
    decoder.push(0xE2);
    assert_eq!(decoder.finish(), "\u{FFFD}");
}

#[test]
fn what_follows_a_prompt_keeps_the_space_between() {
    let tokenizer = sentencepiece_style();
    let cases =
        [("a two", " two é a"), ("a two é", "é two"), ("é", " é"), ("", "a two"), ("a ", "o"), ("a", "\u{1F600}")];
    for (prompt, continuation) in cases {
        let (before, all) = (tokenizer.encode(prompt), tokenizer.encode(&format!("{prompt}{continuation}")));
        let Some(added) = all.strip_prefix(before.as_slice()) else { panic!("{prompt:?} is no prefix of {all:?}") };
        let mut decoder = tokenizer.stream_after(&before);
        let mut text: String = added.iter().map(|&id| decoder.push(id)).collect();
        text.push_str(&decoder.finish());
        assert_eq!(text, continuation, "after {prompt:?}");
    }
}

/// A tiny vocabulary as Llama 2 has it: spaces as `▁`, a space before the text, bytes for unknown characters.
fn sentencepiece_style() -> Tokenizer {
    let mut vocabulary = serde_json::Map::new();
    let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
    let characters = ["▁", "a", "b", "o", "s", "t", "w", "▁a", "▁t"].map(String::from);
    for (id, token) in ["<unk>".to_owned()].into_iter().chain(bytes).chain(characters).enumerate() {
        vocabulary.insert(token, id.into());
    }
    let file = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null, "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocabulary, "merges": [["▁", "a"], ["▁", "t"]]},
    });
    Tokenizer::from_json(&file.to_string()).expect("it is what Llama 2 has")
}

#[test]
fn sentencepiece_vocabularies_decode_and_show_their_bytes() {
    let tokenizer = sentencepiece_style();
    let ids = tokenizer.encode("a two é");
    assert_eq!(tokenizer.decode(&ids), "a two é");
    assert_eq!(tokenizer.token_bytes(ids[0]).as_ref(), b" a");
    let last = *ids.last().expect("it is not empty");
    assert_eq!(tokenizer.token_bytes(last).as_ref(), [0xA9]);
}
