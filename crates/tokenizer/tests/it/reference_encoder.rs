//! The encoder against one written from the definition: cut with a regular expression, then merge the pair that was
//! learned first, until none is left.
//!
//! One letter is left out: in GPT-4's pattern, `(?i:'s)` matches `'ſ` (U+017F) for the regex crate and so for tiktoken,
//! but not for Oniguruma and so not for Hugging Face, whose files ours are.

use std::collections::HashMap;

use fancy_regex::Regex;
use serde_json::Value;
use tsumugi_tokenizer::Tokenizer;
use tsumugi_tokenizer::bpe::{Split, byte_to_char, count_words};

use crate::bpe::random_text;
use crate::encoding::{adversarial_texts, small_tokenizer};

const ALPHABET: [char; 28] = [
    'a', 'S', 's', 't', 'l', '\'', ' ', ' ', ' ', '\n', '\n', '\r', '\t', '1', '2', '٣', '.', '!', '<', '|', 'é', '漢',
    '\u{301}', '\u{200d}', '👍', '\u{a0}', '\u{3000}', 'ǅ',
];

fn words<'a>(pattern: &Regex, text: &'a str) -> Vec<&'a str> {
    pattern.find_iter(text).map(|word| word.expect("no backtracking limit").as_str()).collect()
}

#[test]
fn the_splitter_is_the_regular_expression() {
    for split in [Split::Gpt2, Split::Gpt4] {
        let pattern = Regex::new(split.pattern().expect("it has one")).expect("it compiles");
        let random = (0..3000).map(|seed| random_text(seed, &ALPHABET, 1 + seed as usize % 150));
        for text in random.chain(adversarial_texts().into_iter().filter(|text| text.len() < 20_000)) {
            let mut expected: Vec<(Vec<u8>, u64)> = Vec::new();
            let mut sorted = words(&pattern, &text);
            assert_eq!(sorted.concat(), text, "the pattern leaves no gaps");
            sorted.sort_unstable();
            for word in sorted.chunk_by(|a, b| a == b) {
                expected.push((word[0].as_bytes().to_vec(), word.len() as u64));
            }
            assert_eq!(count_words(&[&text], split, 1).words, expected, "{split:?} {text:?}");
        }
    }
}

/// Ranks of merges and ids of tokens, from `tokenizer.json`.
struct Reference {
    ranks: HashMap<(String, String), usize>,
    ids: HashMap<String, u32>,
}

impl Reference {
    fn of(tokenizer: &Tokenizer) -> Self {
        let file: Value = serde_json::from_str(&tokenizer.to_json()).expect("JSON");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let merges = file["model"]["merges"].as_array().expect("a list").iter();
        let ranks = merges.enumerate().map(|(rank, pair)| ((text(&pair[0]), text(&pair[1])), rank)).collect();
        let vocabulary = file["model"]["vocab"].as_object().expect("a map").iter();
        let ids = vocabulary.map(|(token, id)| (token.clone(), id.as_u64().expect("a number") as u32)).collect();
        Self { ranks, ids }
    }

    fn encode(&self, word: &str) -> Vec<u32> {
        let mut tokens: Vec<String> = word.bytes().map(|byte| byte_to_char(byte).to_string()).collect();
        let rank =
            |tokens: &[String], at: usize| self.ranks.get(&(tokens[at].clone(), tokens[at + 1].clone())).copied();
        while let Some((_, at)) =
            (0..tokens.len().saturating_sub(1)).filter_map(|at| Some((rank(&tokens, at)?, at))).min()
        {
            let right = tokens.remove(at + 1);
            tokens[at].push_str(&right);
        }
        tokens.iter().map(|token| self.ids[token]).collect()
    }
}

#[test]
fn ids_are_those_of_the_definition() {
    for split in [Split::Gpt2, Split::Gpt4] {
        let tokenizer = small_tokenizer(split);
        let reference = Reference::of(&tokenizer);
        let pattern = Regex::new(split.pattern().expect("it has one")).expect("it compiles");
        let training_like =
            ["speak proceed speaking before we ", "Citizen: further,\n\nAll:", "hear me speakkk 20242024"];
        let random = (0..1500).map(|seed| random_text(seed, &ALPHABET, 1 + seed as usize % 80));
        let letters = (0..1500).map(|seed| random_text(seed, &['s', 'p', 'e', 'a', 'k', ' ', 'r', 'e', 'h'], 60));
        for text in random.chain(letters).chain(training_like.map(String::from)) {
            let expected: Vec<u32> =
                words(&pattern, &text).into_iter().flat_map(|word| reference.encode(word)).collect();
            assert_eq!(tokenizer.encode(&text), expected, "{split:?} {text:?}");
        }
    }
}
