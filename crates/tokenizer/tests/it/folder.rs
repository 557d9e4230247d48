//! The files that `transformers` reads.

use serde_json::Value;
use tsumugi_base::testing::temporary_folder;
use tsumugi_tokenizer::bpe::Split;
use tsumugi_tokenizer::{ChatTemplate, Tokenizer, special_tokens};

use crate::encoding::small_tokenizer;

#[test]
fn a_folder_has_all_three_files() {
    let folder = temporary_folder();
    let tokenizer = small_tokenizer(Split::Gpt4);
    tokenizer.save_with_template(folder.path(), &ChatTemplate::own()).expect("it saves");
    let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("it is there");
    let json = |name: &str| serde_json::from_str::<Value>(&text(name)).expect("JSON");
    let config = json("tokenizer_config.json");
    assert_eq!(config["bos_token"], "<|endoftext|>");
    assert_eq!(config["eos_token"], "<|end|>");
    assert_eq!(json("special_tokens_map.json")["eos_token"], "<|end|>");
    assert_eq!(ChatTemplate::from_tokenizer_config(&config).expect("it reads"), ChatTemplate::own());
    let again = Tokenizer::from_json(&text("tokenizer.json")).expect("it reads");
    assert_eq!(again.special(special_tokens::END), tokenizer.special(special_tokens::END));
    tokenizer.save(folder.path()).expect("it saves");
    assert!(ChatTemplate::from_tokenizer_config(&json("tokenizer_config.json")).is_err());
}

#[test]
fn a_missing_folder_is_an_error() {
    let folder = temporary_folder();
    let error = small_tokenizer(Split::None).save(&folder.path().join("missing")).expect_err("it must fail");
    assert!(error.to_string().contains("missing"), "{error}");
}
