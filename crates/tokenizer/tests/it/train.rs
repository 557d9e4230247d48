//! Trainers: bounded memory changes nothing, every kind reads back what it wrote, bad settings are errors.

use tsumugi_base::progress::Silent;
use tsumugi_base::rng::Key;
use tsumugi_tokenizer::bpe::{
    Alphabet, BpeDropout, CountingOptions, Split, TextSink, count_words, reference::learn_merges_reference,
    train::learn_merges,
};
use tsumugi_tokenizer::train::{
    Corpus, SentencePieceAlgorithm, SentencePieceConfig, TrainingConfig, WordPieceConfig, train_bpe, train_bpe_on,
    train_sentence_piece, train_word_piece,
};
use tsumugi_tokenizer::{Tokenizer, TokenizerError};

use crate::bpe::random_text;

/// Texts with many distinct words.
fn texts() -> Vec<String> {
    (0..40)
        .map(|seed| random_text(seed, &['a', 'b', 'e', 'n', 'é', '漢', ' ', ' ', '\n', '1', '.', 'T'], 3000))
        .collect()
}

fn on<R>(texts: &[String], train: impl FnOnce(Corpus<'_>) -> R) -> R {
    let mut feed = |sink: TextSink<'_>| texts.iter().try_for_each(|text| sink(text));
    train(Corpus { bytes: 0, feed: &mut feed })
}

fn counting(threads: usize, memory_bytes: u64) -> CountingOptions {
    CountingOptions { threads, memory_bytes, ..CountingOptions::default() }
}

#[test]
fn what_goes_to_files_is_counted_all_the_same() {
    let texts = texts();
    let train = |threads, memory_bytes| {
        let counting = counting(threads, memory_bytes);
        let config = TrainingConfig { vocabulary_size: 500, counting, ..TrainingConfig::default() };
        on(&texts, |corpus| train_bpe_on(corpus, &config, &Silent)).map(|tokenizer| tokenizer.to_json())
    };
    // About 1.4 MB are needed for learning; the maps spill at a tenth of it.
    let whole = train(1, u64::MAX).unwrap();
    for threads in [1, 3, 40] {
        assert_eq!(train(threads, 4 << 20).unwrap(), whole);
    }
    // Here the rarest words go, and which does not depend on threads either.
    let rare_gone = train(1, 200_000).unwrap();
    assert_ne!(rare_gone, whole);
    assert_eq!(train(7, 200_000).unwrap(), rare_gone);
    assert!(matches!(train(2, 10), Err(TokenizerError::TooLittleMemory { .. })));
}

#[test]
fn merges_of_characters_equal_the_reference() {
    for seed in 0..60 {
        let text = random_text(seed, &['a', 'b', 'é', '漢', ' ', '#'], 90);
        let words = count_words(&[&text], Split::Whitespace, 1);
        for (continuation, length_max) in [("", 4), ("##", 1000)] {
            let alphabet = Alphabet::characters(&words, continuation, length_max, |c| c != '漢');
            let plain = learn_merges_reference(&words, &alphabet, 40, 2);
            let fast = learn_merges(&words, &alphabet, 40, 2, |_| true).unwrap();
            assert_eq!(fast, plain, "{text:?}, {continuation:?}");
        }
    }
}

#[test]
fn every_split_encodes_as_it_was_learned() {
    let texts = texts();
    for split in Split::ALL {
        let config = TrainingConfig { vocabulary_size: 320, split, ..TrainingConfig::default() };
        let tokenizer = train_bpe(&texts[..4], &config, &Silent).unwrap();
        for text in &texts[4..8] {
            assert_eq!(tokenizer.decode(&tokenizer.encode(text)), *text, "{split:?}");
        }
        // The words that training saw are those that the encoder sees.
        let words = count_words(&texts[4..5], split, 1);
        let apart: usize = words
            .words
            .iter()
            .map(|(word, count)| tokenizer.encode(std::str::from_utf8(word).unwrap()).len() * *count as usize)
            .sum();
        assert_eq!(apart, tokenizer.encode(&texts[4]).len(), "{split:?}");
        assert_eq!(split.name().parse(), Ok(split));
    }
}

#[test]
fn dropout_at_zero_is_the_plain_encoding_and_at_one_bytes() {
    let texts = texts();
    for split in Split::ALL {
        let config = TrainingConfig { vocabulary_size: 400, split, ..TrainingConfig::default() };
        let tokenizer = train_bpe(&texts[..10], &config, &Silent).unwrap();
        let dropout = BpeDropout::new(&tokenizer).unwrap();
        // Without words, long texts are encoded in parts.
        let text = &texts[11][..texts[11].floor_char_boundary(1500)];
        let key = Key::from_seed(3);
        assert_eq!(dropout.encode(text, 0.0, key), tokenizer.encode(text), "{split:?}");
        assert_eq!(dropout.encode(text, 1.0, key).len(), text.len());
        let some = dropout.encode(text, 0.3, key);
        assert_eq!(tokenizer.decode(&some), text);
        assert!(some.len() > tokenizer.encode(text).len() && some.len() < text.len());
        assert_eq!(dropout.encode(text, 0.3, key), some, "the same key gives the same ids");
        assert_ne!(dropout.encode(text, 0.3, Key::from_seed(4)), some);
    }
}

#[test]
fn word_piece_learns_berts_words() {
    let text = vec!["Hugging hugs, hugged! HUGGING hugs; unhugged. \u{e9}t\u{e9} \u{6f22}\u{5b57}".repeat(3)];
    let config = WordPieceConfig { vocabulary_size: 60, ..WordPieceConfig::default() };
    let tokenizer = on(&text, |corpus| train_word_piece(corpus, &config, &Silent)).unwrap();
    assert_eq!(tokenizer.special("[PAD]"), Some(0));
    let tokens = |text: &str| -> Vec<String> {
        let shown = |&id: &u32| String::from_utf8_lossy(&tokenizer.token_bytes(id)).into_owned();
        tokenizer.encode(text).iter().map(shown).collect()
    };
    assert_eq!(tokens("hugs"), ["hugs"]);
    assert_eq!(tokens("Ete \u{6f22}"), ["ete", "\u{6f22}"]);
    assert_eq!(tokens("xyz"), ["[UNK]"]);
    assert_eq!((tokenizer.prefix(), tokenizer.suffix()), (&[2][..], &[3][..]));
    let small = WordPieceConfig { vocabulary_size: 10, ..config };
    let refused = on(&text, |corpus| train_word_piece(corpus, &small, &Silent)).unwrap_err();
    assert!(matches!(refused, TokenizerError::VocabularyBelowAlphabet { asked: 10, .. }), "{refused}");
    assert!(matches!(tokenizer.to_sentencepiece(), Err(TokenizerError::Unwritable { .. })));
}

#[test]
fn sentence_piece_models_are_read_back() {
    let texts = texts();
    for algorithm in [SentencePieceAlgorithm::Bpe, SentencePieceAlgorithm::Unigram] {
        let train = |threads, byte_fallback| {
            let config = SentencePieceConfig {
                vocabulary_size: 600,
                byte_fallback,
                counting: counting(threads, 1 << 30),
                ..SentencePieceConfig::new(algorithm)
            };
            on(&texts, |corpus| train_sentence_piece(corpus, &config, &Silent)).unwrap()
        };
        for byte_fallback in [true, false] {
            let tokenizer = train(2, byte_fallback);
            let model = tokenizer.to_sentencepiece().unwrap();
            assert_eq!(train(5, byte_fallback).to_sentencepiece().unwrap(), model);
            let again = Tokenizer::from_sentencepiece(&model).unwrap();
            let other = Tokenizer::from_json(&tokenizer.to_json()).unwrap();
            assert_eq!(again.vocabulary_size(), tokenizer.vocabulary_size());
            for text in ["ban ab 漢11 Te.", "naïve x\ny", "  a   b ", "", "<0x0A>", "a<0x41> b<0xfF><0x0", "<<0x0A>>漢"]
            {
                let ids = tokenizer.encode(text);
                assert_eq!(again.encode(text), ids, "{algorithm:?} {text:?}");
                assert_eq!(other.encode(text), ids, "{algorithm:?} {text:?}");
            }
            if byte_fallback {
                for text in ["naïve x\ny", "a<0x0A>b"] {
                    assert_eq!(tokenizer.decode(&tokenizer.encode(text)), text);
                    assert_eq!(other.decode(&other.encode(text)), text);
                }
            }
        }
    }
}

#[test]
fn frequent_words_are_pieces() {
    let texts = vec!["the cat and the dog and a catalogue; ".repeat(50)];
    for algorithm in [SentencePieceAlgorithm::Bpe, SentencePieceAlgorithm::Unigram] {
        let config =
            SentencePieceConfig { vocabulary_size: 40, byte_fallback: false, ..SentencePieceConfig::new(algorithm) };
        let tokenizer = on(&texts, |corpus| train_sentence_piece(corpus, &config, &Silent)).unwrap();
        assert_eq!(tokenizer.encode("the and the").len(), 3, "{algorithm:?}");
        assert!(tokenizer.vocabulary_size() <= 40);
    }
}
