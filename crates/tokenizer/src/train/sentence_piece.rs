//! SentencePiece models (Kudo and Richardson 2018, arXiv 1808.06226): BPE over characters, and Unigram. Text is taken as
//! it is (the library's `identity` rule): no NFKC.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

use tsumugi_base::progress::Observer;
use unicode_script::{Script, UnicodeScript};

use super::{Corpus, MERGING_BYTES, merges, unigram};
use crate::bpe::{Alphabet, CountingOptions, WordCounts, Words, text};
use crate::sentencepiece::{Algorithm, Model, Piece, PieceKind, SPACE};
use crate::{Tokenizer, TokenizerError};

/// What makes the pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SentencePieceAlgorithm {
    /// Merges of the most frequent pair.
    Bpe,
    /// The pieces under which the text is most likely.
    Unigram,
}

/// How a SentencePiece model is learned.
#[derive(Debug, Clone, PartialEq)]
pub struct SentencePieceConfig {
    /// Merges or likelihood.
    pub algorithm: SentencePieceAlgorithm,
    /// Tokens in all: `<unk>`, `<s>`, `</s>`, the 256 bytes with `byte_fallback`, characters, pieces. A small text may
    /// give fewer.
    pub vocabulary_size: usize,
    /// The share of the text's characters that have a piece; the rarest have none.
    pub character_coverage: f64,
    /// Characters without a piece become their bytes, as in Llama 2; else all are `<unk>`.
    pub byte_fallback: bool,
    /// A pair is merged only if it occurs so often (BPE).
    pub minimum_pair_count: u64,
    /// Threads and memory.
    pub counting: CountingOptions,
}

impl SentencePieceConfig {
    /// The library's defaults, but with bytes.
    pub fn new(algorithm: SentencePieceAlgorithm) -> Self {
        Self {
            algorithm,
            vocabulary_size: 8000,
            character_coverage: 0.9995,
            byte_fallback: true,
            minimum_pair_count: 2,
            counting: CountingOptions::default(),
        }
    }
}

/// A piece has at most so many characters, as in the library.
const PIECE_CHARACTERS_MAX: usize = 16;

/// Trains a SentencePiece model: the same texts give the same one on any machine, for any number of threads.
pub fn train_sentence_piece(
    corpus: Corpus<'_>,
    config: &SentencePieceConfig,
    observer: &dyn Observer,
) -> Result<Tokenizer, TokenizerError> {
    let learning_bytes = match config.algorithm {
        SentencePieceAlgorithm::Bpe => MERGING_BYTES,
        SentencePieceAlgorithm::Unigram => unigram::LEARNING_BYTES,
    };
    let mut words = corpus.count(&SentencePieceWords, &config.counting, learning_bytes, observer)?;
    let covered = covered_characters(&words, config.character_coverage);
    cut_at_uncovered(&mut words, &covered);
    let mut model = Model { byte_fallback: config.byte_fallback, begins_with: Some(1), ..Model::default() };
    let special = |text: &str, kind| Piece { text: text.to_owned(), score: 0.0, kind };
    model.pieces.push(special("<unk>", PieceKind::Unknown));
    model.pieces.extend(["<s>", "</s>"].map(|name| special(name, PieceKind::Control)));
    if config.byte_fallback {
        model.pieces.extend((0..=255u8).map(|byte| special(&format!("<0x{byte:02X}>"), PieceKind::Byte)));
    }
    let needed = model.pieces.len() + covered.len();
    let asked = config.vocabulary_size;
    if asked < needed {
        return Err(TokenizerError::VocabularyBelowAlphabet { asked, needed });
    }
    let room = asked - model.pieces.len();
    let learned = match config.algorithm {
        SentencePieceAlgorithm::Bpe => merged_pieces(&words, &covered, room, config.minimum_pair_count, observer)?,
        SentencePieceAlgorithm::Unigram => {
            unigram::learn(&words, room, PIECE_CHARACTERS_MAX, &config.counting, observer)?
        }
    };
    drop(words);
    model.algorithm = match config.algorithm {
        SentencePieceAlgorithm::Bpe => Algorithm::Bpe,
        SentencePieceAlgorithm::Unigram => Algorithm::Unigram,
    };
    // A text that spells a control token or a byte has a piece of that name already.
    let taken: HashSet<String> = model.pieces.iter().map(|piece| piece.text.clone()).collect();
    let normal = |(text, score)| Piece { text, score, kind: PieceKind::Normal };
    model.pieces.extend(learned.into_iter().filter(|(text, _)| !taken.contains(text)).map(normal));
    Tokenizer::from_pieces(model)
}

/// The most frequent characters of the text, in the order of their counts.
fn covered_characters(words: &WordCounts, coverage: f64) -> Vec<char> {
    let mut counts: BTreeMap<char, u64> = BTreeMap::new();
    for (word, count) in &words.words {
        for character in text(word).chars() {
            *counts.entry(character).or_default() += count;
        }
    }
    let all: u64 = counts.values().sum();
    let mut characters: Vec<(char, u64)> = counts.into_iter().collect();
    characters.sort_by_key(|&(character, count)| (Reverse(count), character));
    let mut seen = 0;
    characters.retain(|&(_, count)| {
        let kept = (seen as f64) < coverage * all as f64;
        seen += count;
        kept
    });
    characters.into_iter().map(|(character, _)| character).collect()
}

/// Cuts words at the characters that have no piece, which no piece spans.
fn cut_at_uncovered(words: &mut WordCounts, covered: &[char]) {
    let covered: HashSet<char> = covered.iter().copied().collect();
    let is_whole = |(word, _): &(Vec<u8>, u64)| text(word).chars().all(|c| covered.contains(&c));
    let (mut whole, cut): (Vec<_>, Vec<_>) = std::mem::take(&mut words.words).into_iter().partition(is_whole);
    for (word, count) in cut {
        let stretches = text(&word).split(|c| !covered.contains(&c)).filter(|stretch| !stretch.is_empty());
        whole.extend(stretches.map(|stretch| (stretch.as_bytes().to_vec(), count)));
    }
    whole.sort_unstable();
    whole.dedup_by(|next, kept| {
        next.0 == kept.0 && {
            kept.1 += next.1;
            true
        }
    });
    words.words = whole;
}

/// Merged pieces in their order, then the characters; each scores one less than the one before.
fn merged_pieces(
    words: &WordCounts,
    covered: &[char],
    room: usize,
    minimum_pair_count: u64,
    observer: &dyn Observer,
) -> Result<Vec<(String, f32)>, TokenizerError> {
    let alphabet = Alphabet::characters(words, "", PIECE_CHARACTERS_MAX, |_| true);
    let mut tokens = alphabet.tokens().to_vec();
    let mut seen: HashSet<Vec<u8>> = tokens.iter().cloned().collect();
    for (left, right) in merges(words, &alphabet, room, minimum_pair_count, observer)? {
        let whole = alphabet.join(&tokens[left as usize], &tokens[right as usize]);
        if seen.insert(whole.clone()) {
            tokens.push(whole);
        }
    }
    let merged = tokens.split_off(alphabet.tokens().len());
    let texts = merged.iter().map(|token| text(token).to_owned()).chain(covered.iter().map(char::to_string));
    Ok(texts.enumerate().map(|(place, text)| (text, -(place as f32))).collect())
}

/// Words as SentencePiece cuts them before learning: apart by whitespace, each with `▁` before it, and cut where the script
/// changes, because no piece has two (its `split_by_unicode_script`). Digits, punctuation and symbols are of one script, which
/// is no language's.
struct SentencePieceWords;

/// Chinese characters and both kinds of kana count as one script; accents and joiners go with any, so they have none.
fn script(character: char) -> Option<Script> {
    if character.is_ascii() {
        return Some(if character.is_ascii_alphabetic() { Script::Latin } else { Script::Common });
    }
    match character.script() {
        Script::Inherited => None,
        Script::Hiragana | Script::Katakana => Some(Script::Han),
        // The sign of a long vowel.
        _ if character == 'ー' => Some(Script::Han),
        script => Some(script),
    }
}

impl Words for SentencePieceWords {
    type Scratch = String;

    fn for_each_word(&self, text: &str, marked: &mut String, word: &mut dyn FnMut(&str)) {
        let apart = |c: char| c.is_whitespace() || c == '\0' || SPACE.starts_with(c);
        for token in text.split(apart).filter(|token| !token.is_empty()) {
            marked.clear();
            marked.push_str(SPACE);
            let mut before = None;
            for character in token.chars() {
                let here = script(character).or(before);
                if before.is_some() && before != here {
                    word(marked);
                    marked.clear();
                }
                marked.push(character);
                before = here;
            }
            word(marked);
        }
    }

    fn has_borders(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_where_the_script_changes() {
        for (text, expected) in [
            ("a1.5 b", &["▁a", "1.5", "▁b"][..]),
            ("naïve e\u{301}t漢かカー字x", &["▁naïve", "▁e\u{301}t", "漢かカー字", "x"]),
            // A joiner and an accent go with what is before them, or behind them at the beginning.
            ("می\u{200c}کند \u{301}a,", &["▁می\u{200c}کند", "▁\u{301}a", ","]),
            ("x▁y\0z", &["▁x", "▁y", "▁z"]),
        ] {
            let mut words = Vec::new();
            SentencePieceWords.for_each_word(text, &mut String::new(), &mut |word| words.push(word.to_owned()));
            assert_eq!(words, expected);
        }
    }

    #[test]
    fn words_are_cut_at_characters_without_a_piece() {
        let words = [("abqcd", 2), ("cd", 3), ("qab", 4), ("qq", 5)].map(|(word, count)| (word.into(), count)).to_vec();
        let mut words = WordCounts { words, dropped: 0 };
        cut_at_uncovered(&mut words, &['a', 'b', 'c', 'd']);
        assert_eq!(words.words, [(b"ab".to_vec(), 6), (b"cd".to_vec(), 5)]);
    }
}
