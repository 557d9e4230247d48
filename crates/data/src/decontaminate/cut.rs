//! Cutting n-grams of benchmarks out of a text, as GPT-3 did: with what stands around them.

use std::ops::Range;

/// How much goes with an n-gram, and when too little is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Characters that go before and after an n-gram.
    pub window: usize,
    /// The fewest characters of a rest that stays.
    pub rest_min: usize,
    /// The most rests of a text that stays.
    pub rests_max: usize,
}

impl Default for Cut {
    /// GPT-3's (Brown et al. 2020, appendix C). The harness has the same numbers, but leaves out a text with more than ten n-grams,
    /// however they overlap.
    fn default() -> Self {
        Self { window: 200, rest_min: 200, rests_max: 10 }
    }
}

/// The text without these parts, given in ascending order, and what stands around them; nothing if too little is left or it is
/// cut too often. The rests are apart by a line end.
pub fn cut(text: &str, parts: &[Range<usize>], how: Cut) -> Option<String> {
    let before = |place: usize| text[..place].char_indices().rev().take(how.window).last().map_or(place, |(at, _)| at);
    let after = |place: usize| text[place..].char_indices().nth(how.window).map_or(text.len(), |(at, _)| place + at);
    let (mut rests, mut place) = (Vec::new(), 0);
    for part in parts {
        let start = before(part.start);
        if place < start {
            rests.push(&text[place..start]);
        }
        place = place.max(after(part.end));
    }
    rests.push(&text[place..]);
    rests.retain(|rest| rest.chars().nth(how.rest_min.saturating_sub(1)).is_some());
    (!rests.is_empty() && rests.len() <= how.rests_max).then(|| rests.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_around_goes_too() {
        let how = Cut { window: 2, rest_min: 3, rests_max: 2 };
        let text = "äbcdefghijklmnopqrstüvwxyz";
        let part = |word: &str| text.find(word).map(|at| at..at + word.len()).unwrap();
        assert_eq!(cut(text, &[part("jk")], how).as_deref(), Some("äbcdefg\nnopqrstüvwxyz"));
        assert_eq!(cut(text, &[part("de"), part("ef")], how).as_deref(), Some("ijklmnopqrstüvwxyz"), "äb is too short");
        assert_eq!(cut(text, &[part("ghijklmnopqrst")], how).as_deref(), Some("äbcd\nwxyz"));
        assert_eq!(cut(text, &[part("gh"), part("pq")], how), None, "three rests");
        assert_eq!(cut(text, &[part(text)], how), None);
    }

    /// Appendix C: 200 characters on both sides go, pieces of less than 200 are discarded, and a text of more than 10 pieces goes.
    #[test]
    fn the_numbers_are_those_of_gpt_3() {
        let ngram = "the thirteen words that stand in a benchmark and in no other";
        let with = |before: usize, after: usize| format!("{}{ngram}{}", "a".repeat(before), "b".repeat(after));
        let whole = |before: usize, after: usize| {
            let part = before..before + ngram.len();
            cut(&with(before, after), std::slice::from_ref(&part), Cut::default())
        };
        assert_eq!(whole(400, 0).unwrap(), "a".repeat(200), "the 200 before the n-gram went");
        assert_eq!(whole(399, 0), None, "199 are too few");
        assert_eq!(whole(400, 399).unwrap(), "a".repeat(200));
        assert_eq!(whole(450, 500).unwrap(), format!("{}\n{}", "a".repeat(250), "b".repeat(300)));
        let pieces = |count: usize| {
            let text = vec!["x".repeat(600); count].join(ngram);
            let parts: Vec<_> = text.match_indices(ngram).map(|(at, _)| at..at + ngram.len()).collect();
            cut(&text, &parts, Cut::default()).map(|text| text.lines().count())
        };
        assert_eq!((pieces(10), pieces(11)), (Some(10), None));
    }
}
