//! Token shards: what is written comes back, damage is found, nothing half-written stays.

use tsumugi_base::progress::Silent;
use tsumugi_base::testing::temporary_folder;
use tsumugi_data::{DataError, TokenShards, pack_text};
use tsumugi_tokenizer::train::{byte_tokenizer, character_tokenizer};
use tsumugi_tokenizer::{Tokenizer, special_tokens};

use crate::{PLAY, shakespeare, tokenizer};

/// Fewer tokens need two bytes each, more need four.
fn large_tokenizer() -> Tokenizer {
    let characters: String = ('\u{20}'..='\u{1FFFF}').collect();
    character_tokenizer(&characters, &special_tokens::all()).expect("it is made")
}

#[test]
fn documents_come_back_with_their_beginnings() {
    let documents = [PLAY, "", "Another document. 漢字"];
    for tokenizer in [tokenizer(), large_tokenizer(), byte_tokenizer(&[]).expect("it is made")] {
        let folder = temporary_folder();
        let path = folder.path().join("tokens");
        let shards = pack_text(&documents, &tokenizer, &path, &Silent).expect("it packs");
        let again = TokenShards::open(&path).expect("it opens");
        let expected: Vec<Vec<u32>> =
            documents.iter().map(|text| [tokenizer.prefix(), &tokenizer.encode(text)].concat()).collect();
        assert_eq!(again.slice(0..again.len()), expected.concat());
        assert_eq!(shards.slice(3..7), expected.concat()[3..7]);
        let second = expected[0].len() as u64;
        assert_eq!(again.documents(), [0, second, second + expected[1].len() as u64]);
        assert_eq!(again.vocabulary_size(), tokenizer.vocabulary_size());
        assert_eq!(again.text_bytes(), documents.concat().len() as u64);
        let names: Vec<String> = std::fs::read_dir(folder.path())
            .expect("it lists")
            .map(|entry| entry.expect("it lists").file_name().to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, ["tokens"], "nothing else is left");
    }
}

#[test]
fn packing_again_opens_and_another_text_is_an_error() {
    let folder = temporary_folder();
    let path = folder.path().join("tokens");
    let tokenizer = tokenizer();
    pack_text(&[PLAY], &tokenizer, &path, &Silent).expect("it packs");
    let before = std::fs::metadata(path.join("tokens.bin")).expect("it is there").modified().expect("a time");
    pack_text(&[PLAY], &tokenizer, &path, &Silent).expect("it opens");
    let after = std::fs::metadata(path.join("tokens.bin")).expect("it is there").modified().expect("a time");
    assert_eq!(before, after);
    let text = pack_text(&["other"], &tokenizer, &path, &Silent).expect_err("it must fail");
    assert!(matches!(text, DataError::OtherShards { what: "text", .. }), "{text}");
    let borders = pack_text(&[&PLAY[..50], &PLAY[50..]], &tokenizer, &path, &Silent).expect_err("it must fail");
    assert!(matches!(borders, DataError::OtherShards { what: "text", .. }), "{borders}");
    let bytes = byte_tokenizer(&[]).expect("it is made");
    let other = pack_text(&[PLAY], &bytes, &path, &Silent).expect_err("it must fail");
    assert!(matches!(other, DataError::OtherShards { what: "tokenizer", .. }), "{other}");
}

#[test]
fn any_damage_is_found() {
    let folder = temporary_folder();
    let path = folder.path().join("tokens");
    pack_text(&[PLAY, "two"], &tokenizer(), &path, &Silent).expect("it packs");
    for name in ["tokens.bin", "documents.bin", "index.json"] {
        let file = path.join(name);
        let good = std::fs::read(&file).expect("it is there");
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 0x10;
        for damaged in [&flipped[..], &good[..good.len() - 3], &good[..0], &[&good[..], b"x"].concat()] {
            std::fs::write(&file, damaged).expect("it writes");
            let error = TokenShards::open(&path).expect_err("damage must be found").to_string();
            assert!(error.contains(name), "{name}: {error}");
        }
        std::fs::write(&file, &good).expect("it writes");
        TokenShards::open(&path).expect("it is whole again");
        std::fs::remove_file(&file).expect("it is there");
        assert!(TokenShards::open(&path).expect_err("it is missing").to_string().contains(name));
        std::fs::write(&file, &good).expect("it writes");
    }
}

#[test]
fn an_index_that_lies_about_the_vocabulary_is_found() {
    let folder = temporary_folder();
    let path = folder.path().join("tokens");
    pack_text(&[PLAY], &tokenizer(), &path, &Silent).expect("it packs");
    let index = std::fs::read_to_string(path.join("index.json")).expect("it is there");
    std::fs::write(path.join("index.json"), index.replace("\"vocabulary_size\": 300", "\"vocabulary_size\": 64"))
        .expect("it writes");
    let error = TokenShards::open(&path).expect_err("it lies").to_string();
    assert!(error.ends_with("in a vocabulary of 64"), "{error}");
}

/// A long document is cut for the threads; the ids are those of the whole.
#[test]
fn a_long_document_is_encoded_as_one() {
    let folder = temporary_folder();
    let text = shakespeare().repeat(3);
    for (index, tokenizer) in
        [tokenizer(), byte_tokenizer(&special_tokens::all()).expect("it is made")].iter().enumerate()
    {
        let shards = pack_text(&[&text], tokenizer, &folder.path().join(index.to_string()), &Silent).expect("it packs");
        let ids = [tokenizer.prefix().to_vec(), tokenizer.encode(&text)].concat();
        assert_eq!(shards.documents().len(), 1);
        assert!(shards.slice(0..shards.len()) == ids, "tokenizer {index}: cutting changed the ids");
    }
}
