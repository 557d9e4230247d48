//! Missing, empty, binary and short texts: one clear error each.

use std::sync::Arc;

use tsumugi_base::Hint;
use tsumugi_base::progress::Silent;
use tsumugi_base::testing::temporary_folder;
use tsumugi_data::{
    DataError, Documents, EvaluationSet, PretrainConfig, PretrainLoader, TokenShards, WindowOrder, pack_text, read_text,
};

use crate::tokenizer;

#[test]
fn each_unreadable_text_has_its_own_sentence() {
    let folder = temporary_folder();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("empty"), "").expect("it writes");
    std::fs::write(path("binary"), [b'a', 0, 1, 2]).expect("it writes");
    std::fs::write(path("latin1"), [b'a', 0xE9, b'b']).expect("it writes");
    let error = |name: &str| read_text(&path(name)).expect_err("it must fail");
    for (name, expected) in
        [("missing", "cannot read"), ("empty", "is empty"), ("binary", "is not a text file"), ("latin1", "not UTF-8")]
    {
        let error = error(name);
        assert!(error.to_string().contains(expected), "{name}: {error}");
        assert!(error.to_string().contains(name), "{error}");
        assert!(error.hint().is_some(), "{error}");
    }
    assert!(read_text(folder.path()).expect_err("a folder").to_string().contains("is a folder"));
}

#[test]
fn a_text_shorter_than_one_context_says_by_how_much() {
    let config = PretrainConfig {
        context: 64,
        batch: 1,
        micro_batches: 1,
        order: WindowOrder::Random,
        documents: Documents::Joined,
        seed: 0,
    };
    let shards = Arc::new(TokenShards::from_tokens(vec![1; 64], vec![0], 2, 64));
    let error = PretrainLoader::new(shards.clone(), config.clone()).expect_err("one token is missing");
    assert_eq!(error.to_string(), "the training text has 64 tokens, but one context of 64 needs 65");
    assert_eq!(error.hint().as_deref(), Some("give a longer text, or a context of at most 63 tokens"));
    let zero = PretrainLoader::new(shards, PretrainConfig { batch: 0, ..config }).expect_err("nothing to read");
    assert_eq!(zero.to_string(), "`batch` is 0, but must be at least 1");
}

#[test]
fn empty_texts_are_refused_and_leave_nothing() {
    let folder = temporary_folder();
    let path = folder.path().join("tokens");
    let error = pack_text(&["", ""], &tokenizer(), &path, &Silent).expect_err("it must fail");
    assert_eq!(error.to_string(), "the training text is empty");
    assert!(!path.exists());
    assert!(matches!(
        EvaluationSet::from_text(&tokenizer(), "", 8, 1),
        Err(DataError::Empty { what: "held-out text" })
    ));
}

#[test]
fn folders_above_are_made_and_a_file_in_the_way_is_an_error() {
    let folder = temporary_folder();
    pack_text(&["text"], &tokenizer(), &folder.path().join("no/such/folder"), &Silent).expect("it is made");
    std::fs::write(folder.path().join("file"), "").unwrap();
    let path = folder.path().join("file/tokens");
    let error = pack_text(&["text"], &tokenizer(), &path, &Silent).expect_err("it must fail");
    assert!(error.to_string().contains("cannot create"), "{error}");
}
