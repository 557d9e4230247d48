//! Words and decisions are those of spaCy and datatrove.

use std::collections::BTreeMap;

use tsumugi_data::clean::words::Words;
use tsumugi_data::clean::{Bound, Filter, View, filters};

use super::golden;

#[test]
fn words_are_spacys() {
    let cases: Vec<(String, Vec<String>)> = golden("words.json");
    assert!(cases.len() > 200);
    for (text, words) in &cases {
        assert_eq!(Words::of(text).iter().collect::<Vec<_>>(), *words, "of {text:?}");
    }
}

#[test]
fn decisions_and_edits_are_datatroves() {
    let cases: Vec<(String, BTreeMap<String, Option<String>>)> = golden("verdicts.json");
    let mut rules = std::collections::BTreeSet::new();
    for (text, verdicts) in &cases {
        let view = View::of(text);
        for filter in filters() {
            let measured = filter.measure(&view);
            let rule = filter.decide(&measured.signals).map(|rule| rule.name);
            assert_eq!(rule, verdicts[filter.name()].as_deref(), "{} of {text:?}", filter.name());
            rules.extend(rule);
            if filter.name() == "c4_quality" && rule.is_none() {
                let edited = measured.edited.as_deref().unwrap_or(text);
                assert_eq!(Some(edited), verdicts["c4_text"].as_deref(), "of {text:?}");
            }
        }
    }
    // The one rule without a case needs 100,000 words; it has a test of its own.
    let all = filters().iter().flat_map(|filter| filter.rules().to_vec()).map(|rule| rule.name).collect::<Vec<_>>();
    let missing: Vec<_> = all.iter().filter(|rule| !rules.contains(*rule)).collect();
    assert_eq!(missing, [&"gopher_long_doc"], "every rule is tried");
}

#[test]
fn too_many_words_are_too_many() {
    let filter = Filter::named("gopher_quality").unwrap();
    let judge = |count: usize| {
        let text = "the sound of words ".repeat(count / 4);
        let measured = filter.measure(&View::of(&text));
        filter.decide(&measured.signals).map(|rule| rule.name)
    };
    assert_eq!(judge(100_000), None);
    assert_eq!(judge(100_004), Some("gopher_long_doc"));
}

#[test]
fn a_threshold_changes_the_decision_and_not_the_signals() {
    let view = View::of("Nine words are enough for the one who asked.");
    let published = Filter::named("gopher_quality").unwrap();
    let measured = published.measure(&view);
    assert_eq!(measured.signal("gopher_words"), Some(9.0));
    assert_eq!(published.decide(&measured.signals).unwrap().name, "gopher_short_doc");
    let lenient = published.clone().with("gopher_short_doc", Some(9.0)).unwrap();
    assert_eq!(lenient.rules()[0].bound, Bound::Min(9.0));
    assert_eq!(lenient.measure(&view), measured);
    assert_eq!(lenient.decide(&measured.signals).unwrap().name, "gopher_enough_stop_words");
    let without = lenient.with("gopher_enough_stop_words", None).unwrap();
    assert_eq!(without.decide(&measured.signals), None);
    assert_eq!(published.decide(&[]), None, "what was not measured drops nothing");
}

#[test]
fn an_unknown_name_lists_the_known_ones() {
    let error = Filter::named("gofer").unwrap_err().to_string();
    assert!(error.starts_with("`gofer` is none of: gopher_quality, gopher_repetition, "), "{error}");
    let error = Filter::named("fineweb").unwrap().with("line_punkt_ratio", None).unwrap_err().to_string();
    assert!(error.contains("line_punct_ratio"), "{error}");
}

#[test]
fn c4_says_which_lines_it_took_out() {
    let text = "Too short.\nThis line has no end\nThis line needs JavaScript to be seen.\n\
        We use cookies on this page.\nThis stays as it is.\nThis stays too.";
    let measured = Filter::named("c4_quality").unwrap().measure(&View::of(text));
    assert_eq!(measured.edited.as_deref(), Some("This stays as it is.\nThis stays too."));
    let removed =
        [("line_no_terminal_punct", 1), ("line_too_few_words", 1), ("line_javascript", 1), ("line_policy", 1)];
    assert_eq!(measured.lines_removed, removed);
    assert_eq!(measured.signal("c4_sentences"), Some(2.0));
}

/// The repeated n-grams of words by the definition: a set of strings.
fn repeated_reference(words: &[&str], n: usize) -> usize {
    let mut seen = std::collections::HashSet::new();
    let (mut start, mut repeated) = (0, 0);
    while start + n <= words.len() {
        let joined = words[start..start + n].concat();
        if seen.contains(&joined) {
            repeated += joined.chars().count();
            start += n;
        } else {
            seen.insert(joined);
            start += 1;
        }
    }
    repeated
}

/// The most frequent n-gram by the definition: counts of strings, the first of the largest.
fn top_reference(words: &[&str], n: usize) -> usize {
    let grams: Vec<String> = words.windows(n).map(|gram| gram.join(" ")).collect();
    let count = |gram: &String| grams.iter().filter(|other| *other == gram).count();
    let most = grams.iter().map(count).max().unwrap_or(0);
    grams.iter().find(|gram| count(gram) == most).map_or(0, |gram| gram.chars().count() * most)
}

#[test]
fn repetition_equals_its_definition_on_every_small_text() {
    let filter = Filter::named("gopher_repetition").unwrap();
    // Words that are prefixes of one another: "a" "aa" and "aa" "a" are the same without blanks between.
    for length in 0..=7u32 {
        for number in 0..3u32.pow(length) {
            let words: Vec<&str> =
                (0..length).map(|place| ["a", "aa", "é"][(number / 3u32.pow(place)) as usize % 3]).collect();
            let text = words.join(" ");
            let measured = filter.measure(&View::of(&text));
            let characters = text.chars().count().max(1) as f64;
            for n in 2..=4 {
                let want = top_reference(&words, n) as f64 / characters;
                assert_eq!(measured.signal(&format!("repetition_top_{n}_gram")), Some(want), "{n} of {text:?}");
            }
            for n in 5..=6 {
                let want = repeated_reference(&words, n) as f64 / characters;
                assert_eq!(measured.signal(&format!("repetition_{n}_grams")), Some(want), "{n} of {text:?}");
            }
        }
    }
}

#[test]
fn no_text_takes_more_than_its_length() {
    // Each would be quadratic for a rule that looks again at what it has seen; a slow one hangs the test.
    for piece in ["(", ".", "[", "@", "a.", "x@", "'", "…", ")-", "[1", "://", "\u{a0}", "a-", "1+", "co", "<3"] {
        let text = piece.repeat(1 << 20);
        let view = View::of(&text);
        for filter in filters() {
            assert!(!filter.measure(&view).signals.is_empty());
        }
    }
}
