//! The fast trainer equals the reference; the result does not depend on threads; bad settings are errors.

use tsumugi_base::progress::{Event, Observer, Recorder, Silent};
use tsumugi_base::rng::{Key, Stream};
use tsumugi_tokenizer::bpe::{
    Alphabet, CountingOptions, Split, byte_to_char, char_to_byte, count_words, reference::learn_merges_reference,
    safe_pieces, train::learn_merges,
};
use tsumugi_tokenizer::train::{TrainingConfig, character_tokenizer, train_bpe};
use tsumugi_tokenizer::{TokenizerError, special_tokens};

/// A text over few characters, so that pairs tie and overlap.
pub fn random_text(seed: u64, alphabet: &[char], length: usize) -> String {
    let mut random = Stream::new(Key::from_seed(seed));
    (0..length).map(|_| alphabet[random.below(alphabet.len() as u64) as usize]).collect()
}

#[test]
fn fast_equals_reference_on_random_corpora() {
    let alphabets: [&[char]; 4] = [&['a'], &['a', 'b'], &['a', 'b', ' '], &['a', 'b', 'é', '漢', ' ', '\n', '1']];
    let bytes = Alphabet::bytes();
    for seed in 0..200 {
        for (which, alphabet) in alphabets.iter().enumerate() {
            let text = random_text(seed, alphabet, 1 + (seed as usize * 7) % 120);
            for split in [Split::None, Split::Gpt2, Split::Gpt4] {
                let words = count_words(&[&text], split, 1);
                for minimum in [1, 2, 3] {
                    let plain = learn_merges_reference(&words, &bytes, 290, minimum);
                    let fast = learn_merges(&words, &bytes, 290, minimum, |_| true).expect("it is not stopped");
                    assert_eq!(fast, plain, "seed {seed}, alphabet {which}, {split:?}, minimum {minimum}: {text:?}");
                }
            }
        }
    }
}

#[test]
fn merges_that_make_the_same_bytes_make_one_token() {
    // `a`+`bc` and `ab`+`c` are both learned somewhere in these, and the vocabulary must not hold `abc` twice.
    for seed in 0..50 {
        let text = random_text(seed, &['a', 'b', 'c', ' '], 400);
        let config = TrainingConfig { vocabulary_size: 400, minimum_pair_count: 1, ..TrainingConfig::default() };
        let tokenizer = train_bpe(&[&text], &config, &Silent).expect("it trains");
        let mut seen = std::collections::BTreeSet::new();
        for id in 0..tokenizer.vocabulary_size() as u32 {
            assert!(seen.insert(tokenizer.token_bytes(id).to_vec()), "token {id} of seed {seed} is there twice");
        }
        assert_eq!(tokenizer.decode(&tokenizer.encode(&text)), text);
    }
}

#[test]
fn any_number_of_threads_gives_the_same_tokenizer() {
    let text: String = (0..80_000u64).map(|i| format!("word{} and {}\n", i % 997, i * i % 131)).collect();
    let texts = [text.as_str(), "", "another text. ", "漢字"];
    let train = |threads| {
        let counting = CountingOptions { threads, ..CountingOptions::default() };
        let config = TrainingConfig { vocabulary_size: 600, counting, ..TrainingConfig::default() };
        train_bpe(&texts, &config, &Silent).expect("it trains").to_json()
    };
    assert!(text.len() > 1 << 20, "more than one piece, so that threads have something to share");
    let one = train(1);
    assert_eq!(train(2), one);
    assert_eq!(train(7), one);
}

#[test]
fn pieces_split_into_the_words_of_the_whole() {
    for seed in 0..300 {
        let alphabet =
            ['a', 'Z', ' ', ' ', '\n', '\r', '\t', '1', '.', '\'', 's', 'é', '漢', '\u{3000}', '\0', '/', '\u{301}'];
        let text = random_text(seed, &alphabet, 300);
        for split in Split::ALL.into_iter().filter(|&split| split != Split::None) {
            let whole = count_words(&[&text], split, 1);
            let pieces: Vec<&str> = safe_pieces(&text, 10).collect();
            assert_eq!(pieces.concat(), text);
            assert_eq!(count_words(&pieces, split, 1), whole, "{split:?} of {text:?}");
        }
    }
}

#[test]
fn one_long_word_is_learned_quickly() {
    let text = "a".repeat(100_000);
    let config = TrainingConfig { vocabulary_size: 280, special_tokens: Vec::new(), ..TrainingConfig::default() };
    let tokenizer = train_bpe(&[&text], &config, &Silent).expect("it trains");
    let ids = tokenizer.encode(&text);
    assert_eq!(tokenizer.decode(&ids), text);
    assert!(ids.len() < 200, "{} tokens", ids.len());
}

#[test]
fn bytes_and_their_characters_are_one_to_one() {
    for byte in 0..=255 {
        assert_eq!(char_to_byte(byte_to_char(byte)), Some(byte));
    }
    // As in GPT-2's vocabulary: space, newline, the last that moved.
    assert_eq!([byte_to_char(b' '), byte_to_char(b'\n'), byte_to_char(0xAD)], ['Ġ', 'Ċ', 'Ń']);
    assert_eq!(char_to_byte('漢'), None);
    assert_eq!(char_to_byte('\u{AD}'), None);
}

#[test]
fn bad_settings_are_errors() {
    let train = |config: &TrainingConfig, text: &str| train_bpe(&[text], config, &Silent).expect_err("it must fail");
    let small = TrainingConfig { vocabulary_size: 260, ..TrainingConfig::default() };
    assert_eq!(
        train(&small, "text").to_string(),
        "a vocabulary of 260 tokens is too small: 256 bytes and 5 special tokens need 261"
    );
    assert_eq!(train(&TrainingConfig::default(), "").to_string(), "the training text is empty");
    let twice = TrainingConfig { special_tokens: vec!["<|a|>".into(), "<|a|>".into()], ..TrainingConfig::default() };
    assert_eq!(train(&twice, "text").to_string(), "special token `<|a|>` is given twice");
    assert!(matches!(character_tokenizer("", &[]), Err(TokenizerError::EmptyCorpus)));
    assert!(matches!(
        character_tokenizer("ab", &["a".into()]),
        Err(TokenizerError::BadSpecialToken { problem: "a single character", .. })
    ));
}

#[test]
fn progress_is_told_and_stopping_is_heard() {
    struct Stop;
    impl Observer for Stop {
        fn event(&self, _: &Event) {}
        fn stop_requested(&self) -> bool {
            true
        }
    }
    let config = TrainingConfig { special_tokens: special_tokens::all(), ..TrainingConfig::default() };
    let stopped = train_bpe(&["some text, some text"], &config, &Stop);
    assert!(matches!(stopped, Err(TokenizerError::Stopped { merges: 0 })));
    let recorder = Recorder::default();
    train_bpe(&["some text, some text"], &config, &recorder).expect("it trains");
    assert!(matches!(recorder.events().last(), Some(Event::Step { done, total, .. }) if done == total));
}
