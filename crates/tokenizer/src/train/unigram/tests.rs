//! The trainer as its definition says it, over all substrings and all ways to cut a word, and the fast one against it.

use std::collections::{BTreeMap, BTreeSet};

use tsumugi_base::progress::Silent;
use tsumugi_base::rng::{Key, Stream};

use super::*;

/// The logarithm of each piece's probability.
type Model = BTreeMap<String, f64>;

/// Texts of pieces.
type Path<'a> = Vec<&'a str>;

fn is_single(piece: &str) -> bool {
    piece.chars().count() == 1
}

/// All substrings of two characters or more that repeat, unless always the same character comes behind; and whole words.
fn candidates(words: &[(String, u64)], length_max: usize) -> Vec<(String, u64)> {
    // What comes behind each place of a substring; nothing at the end of what a suffix may have.
    let mut places: BTreeMap<String, Vec<Option<char>>> = BTreeMap::new();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut whole = BTreeSet::new();
    for (word, count) in words {
        let letters: Vec<char> = word.chars().collect();
        if letters.len() <= length_max {
            whole.insert(word.to_owned());
        }
        for start in 0..letters.len() {
            let longest = letters.len().min(start + length_max);
            for end in start + 1..=longest {
                let piece: String = letters[start..end].iter().collect();
                places.entry(piece.clone()).or_default().push((end < longest).then(|| letters[end]));
                *counts.entry(piece).or_default() += count;
            }
        }
    }
    let branches = |behind: &[Option<char>]| {
        behind.iter().enumerate().any(|(at, one)| behind[..at].iter().any(|other| one.is_none() || one != other))
    };
    let kept = |piece: &str| {
        let is_whole = whole.contains(piece) && places[piece].len() == 1;
        is_single(piece) || counts[piece] > 1 && (is_whole || branches(&places[piece]))
    };
    let score = |(piece, count): (&String, &u64)| (piece.clone(), count * piece.chars().count() as u64);
    counts.iter().filter(|(piece, _)| kept(piece)).map(score).collect()
}

/// All ways to cut a word, with the logarithms of their probabilities.
fn ways<'a>(word: &'a str, model: &Model, without: Option<&str>) -> Vec<(f64, Path<'a>)> {
    if word.is_empty() {
        return vec![(0.0, Vec::new())];
    }
    let mut found = Vec::new();
    for end in word.char_indices().map(|(at, letter)| at + letter.len_utf8()) {
        let piece = &word[..end];
        let Some(&score) = model.get(piece).filter(|_| without != Some(piece)) else { continue };
        for (rest, mut path) in ways(&word[end..], model, without) {
            path.insert(0, piece);
            found.push((score + rest, path));
        }
    }
    found
}

fn best<'a>(word: &'a str, model: &Model, without: Option<&str>) -> Path<'a> {
    ways(word, model, without).into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).expect("there is a way").1
}

/// One round of expectation and maximization.
fn round(words: &[(String, u64)], model: &Model) -> Model {
    let mut expected: BTreeMap<&str, f64> = model.keys().map(|piece| (piece.as_str(), 0.0)).collect();
    for (word, count) in words {
        let all = ways(word, model, None);
        let total: f64 = all.iter().map(|(score, _)| score.exp()).sum();
        for (score, path) in &all {
            for piece in path {
                *expected.get_mut(piece).unwrap() += *count as f64 * score.exp() / total;
            }
        }
    }
    expected.retain(|piece, count| *count >= EXPECTED_MIN || is_single(piece));
    let counts = || expected.iter().map(|(piece, count)| (*piece, count.max(EXPECTED_MIN)));
    let all = plain_digamma(counts().map(|(_, count)| count).sum());
    counts().map(|(piece, count)| (piece.to_owned(), plain_digamma(count) - all)).collect()
}

/// By its recurrence, up to where the logarithm is exact enough.
fn plain_digamma(x: f64) -> f64 {
    let far = x + 10_000.0;
    far.ln() - 0.5 / far - (0..10_000).map(|step| 1.0 / (x + f64::from(step))).sum::<f64>()
}

/// The text's logarithm of likelihood (each word cut in its best way, frequencies for probabilities) that is lost per token when a
/// piece goes and its next best spelling takes its place.
fn losses(words: &[(String, u64)], model: &Model) -> BTreeMap<String, f64> {
    let mut counts: BTreeMap<&str, f64> = BTreeMap::new();
    for (word, count) in words {
        for piece in best(word, model, None) {
            *counts.entry(piece).or_default() += *count as f64;
        }
    }
    let all: f64 = counts.values().sum();
    let loss = |piece: &String| {
        if is_single(piece) {
            return f64::INFINITY;
        }
        let Some(&count) = counts.get(piece.as_str()) else { return f64::NEG_INFINITY };
        let other = best(piece, model, Some(piece));
        let all_then = all + count * (other.len() as f64 - 1.0);
        let count_then = |part: &str| counts.get(part).copied().unwrap_or(0.0) + count;
        let instead: f64 = other.into_iter().map(|part| (count_then(part) / all_then).ln()).sum();
        count / all * ((count / all).ln() - instead)
    };
    model.keys().map(|piece| (piece.clone(), loss(piece))).collect()
}

fn learn_plainly(words: &[(String, u64)], size: usize, length_max: usize) -> Model {
    let seeds = candidates(words, length_max);
    let all: f64 = seeds.iter().map(|(_, score)| *score as f64).sum();
    let mut model: Model = seeds.into_iter().map(|(piece, score)| (piece, (score as f64 / all).ln())).collect();
    let last = (size as f64 * SURPLUS) as usize;
    loop {
        for _ in 0..ROUNDS {
            model = round(words, &model);
        }
        let before = model.len();
        if before <= last {
            break;
        }
        let mut order: Vec<(String, f64)> = losses(words, &model).into_iter().collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1));
        order.truncate(((before as f64 * KEPT_SHARE) as usize).max(last));
        order.retain(|(_, loss)| *loss > f64::NEG_INFINITY);
        let kept: BTreeSet<String> = order.into_iter().map(|(piece, _)| piece).collect();
        model.retain(|piece, _| kept.contains(piece));
        if model.len() == before {
            break;
        }
    }
    let (singles, mut others): (Vec<_>, Vec<_>) = model.into_iter().partition(|(piece, _)| is_single(piece));
    others.sort_by(|a, b| b.1.total_cmp(&a.1));
    others.truncate(size.saturating_sub(singles.len()));
    singles.into_iter().chain(others).collect()
}

/// Words of different counts, so that few pieces are equally good.
fn random_words(stream: &mut Stream) -> Vec<(String, u64)> {
    let letters = ['▁', 'a', 'b', 'é', '漢'];
    let mut words = BTreeMap::new();
    for _ in 0..4 + stream.below(20) {
        let length = 1 + stream.below(7);
        let word: String = (0..length).map(|_| letters[stream.below(letters.len() as u64) as usize]).collect();
        words.insert(word, 1 + stream.below(97));
    }
    words.into_iter().collect()
}

#[test]
fn pieces_and_scores_are_those_of_the_definition() {
    let mut pruned = 0;
    for seed in 0..60 {
        let mut stream = Stream::new(Key::from_seed(seed));
        let words = random_words(&mut stream);
        let characters: BTreeSet<char> = words.iter().flat_map(|(word, _)| word.chars()).collect();
        let length_max = 2 + stream.below(5) as usize;
        let counted = words.iter().map(|(word, count)| (word.clone().into_bytes(), *count)).collect();
        let counts = WordCounts { words: counted, dropped: 0 };
        let seeds = candidates(&words, length_max);
        let mut fast_seeds = super::seeds(&counts, length_max, usize::MAX);
        fast_seeds.sort_unstable();
        assert_eq!(fast_seeds, seeds, "{words:?}");
        for size in [characters.len() + 2, characters.len() + 6, 1000] {
            pruned += usize::from(seeds.len() > size);
            let plain = learn_plainly(&words, size, length_max);
            let options = CountingOptions { threads: 3, ..CountingOptions::default() };
            let fast: BTreeMap<String, f32> =
                learn(&counts, size, length_max, &options, &Silent).unwrap().into_iter().collect();
            assert_eq!(fast.keys().collect::<Vec<_>>(), plain.keys().collect::<Vec<_>>(), "{seed} {size} {words:?}");
            for (piece, score) in &plain {
                assert!((f64::from(fast[piece]) - score).abs() < 1e-5 * score.abs().max(1.0), "{seed} {size} {piece}");
            }
        }
    }
    assert!(pruned > 60, "pieces were pruned in {pruned} cases");
}

#[test]
fn little_memory_means_fewer_candidates_the_best_ones() {
    let words: Vec<_> = random_words(&mut Stream::new(Key::from_seed(1)));
    let words = words.into_iter().map(|(word, count)| (word.into_bytes(), count)).collect();
    let counts = WordCounts { words, dropped: 0 };
    let all = super::seeds(&counts, 4, usize::MAX);
    let few = super::seeds(&counts, 4, 3);
    let singles = all.iter().filter(|(piece, _)| is_single(piece)).count();
    assert!(all.len() > singles + 3);
    assert_eq!(few, all[..singles + 3]);
    let options = CountingOptions { memory_bytes: 3 * SEED_BYTES, ..CountingOptions::default() };
    assert!(learn(&counts, 1000, 4, &options, &Silent).unwrap().len() <= singles + 3);
}
