//! C4's rules (Raffel et al. 2020, JMLR 21, section 2.2, and the code that made it), as datatrove 0.10 has them; and
//! the rule on paragraphs of its multilingual successor.

use super::characters::{self, Characters, Class};
use super::filter::{Filter, Measured, Rule, View};
use super::words::Words;

const POLICIES: [&str; 6] =
    ["terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies"];
const LOREM_IPSUM: &str = "lorem_ipsum";
const CURLY_BRACKET: &str = "curly_bracket";
const WORD_CHARACTERS_MAX: usize = 1000;
const WORDS_PER_LINE_MIN: usize = 3;

/// Why a line is taken out, in the order in which it is asked.
const LINE_RULES: [&str; 5] =
    ["line_too_long_word", "line_no_terminal_punct", "line_too_few_words", "line_javascript", "line_policy"];

const RULES: &[Rule] = &[
    Rule::max(LOREM_IPSUM, "c4_lorem_ipsum", 0.0),
    Rule::max(CURLY_BRACKET, "c4_curly_bracket", 0.0),
    Rule::min("too_few_sentences", "c4_sentences", 5.0),
];

/// Takes out lines that are no sentence or speak of scripts and cookies, then drops what has few sentences left.
pub fn quality() -> Filter {
    Filter::new("c4_quality", RULES, measure)
}

/// Drops texts with fewer than three lines of 200 characters.
pub fn paragraphs() -> Filter {
    const RULES: &[Rule] = &[Rule::min("c4_few_paragraphs", "c4_third_longest_line", 200.0)];
    Filter::new("c4_paragraphs", RULES, |view, _| {
        let mut longest = [0; 3];
        for line in view.text().split('\n') {
            let length = line.chars().count();
            let rank = longest.iter().filter(|known| **known >= length).count();
            if rank < 3 {
                longest[rank..].rotate_right(1);
                longest[rank] = length;
            }
        }
        Measured { signals: vec![("c4_third_longest_line", longest[2] as f64)], ..Measured::default() }
    })
}

/// What happens to a line.
enum Line<'t> {
    /// Kept, without citations.
    Kept(std::borrow::Cow<'t, str>),
    /// Taken out: a place in [`LINE_RULES`].
    Removed(usize),
    /// The whole document is dropped.
    Drops(&'static str),
}

fn measure(view: &View<'_>, rules: &[Rule]) -> Measured {
    let has = |name| rules.iter().any(|rule| rule.name == name);
    let judge =
        Judge { characters: Characters::table(), lorem_ipsum: has(LOREM_IPSUM), curly_bracket: has(CURLY_BRACKET) };
    let text = view.text();
    let mut kept = String::with_capacity(text.len());
    let (mut lines, mut sentences, mut removed, mut dropped) = (0, 0, [0; LINE_RULES.len()], None);
    for line in characters::lines(text).map(characters::strip) {
        match judge.line(line) {
            Line::Kept(line_kept) => {
                sentences += match &line_kept {
                    std::borrow::Cow::Borrowed(same) => {
                        let start = same.as_ptr() as usize - text.as_ptr() as usize;
                        view.words().sentences(start..start + same.len())
                    }
                    std::borrow::Cow::Owned(changed) => Words::of(changed).sentences(0..changed.len()),
                };
                if lines > 0 {
                    kept.push('\n');
                }
                kept.push_str(&line_kept);
                lines += 1;
            }
            Line::Removed(rule) => removed[rule] += 1,
            Line::Drops(rule) => {
                dropped = Some(rule);
                break;
            }
        }
    }
    let flag = |rule| f64::from(u8::from(dropped == Some(rule)));
    let signals = vec![
        ("c4_lorem_ipsum", flag(LOREM_IPSUM)),
        ("c4_curly_bracket", flag(CURLY_BRACKET)),
        ("c4_sentences", sentences as f64),
        ("c4_lines_kept", lines as f64),
    ];
    let stripped = characters::strip(&kept);
    let edited = (dropped.is_none() && stripped != text).then(|| stripped.to_owned());
    let lines_removed = LINE_RULES.into_iter().zip(removed).filter(|(_, count)| *count > 0).collect();
    Measured { signals, edited, lines_removed }
}

struct Judge {
    characters: Characters,
    lorem_ipsum: bool,
    curly_bracket: bool,
}

impl Judge {
    /// `line` is stripped.
    fn line<'t>(&self, line: &'t str) -> Line<'t> {
        let words = line.split(|character| self.characters.is(character, Class::SPACE)).filter(|word| !word.is_empty());
        if line.len() > WORD_CHARACTERS_MAX && words.clone().any(is_too_long) {
            return Line::Removed(0);
        }
        let kept = without_citations(line, self.characters);
        if !kept.ends_with(['.', '?', '!', '"', '\'']) || kept.ends_with("...") {
            return Line::Removed(1);
        }
        if words.take(WORDS_PER_LINE_MIN).count() < WORDS_PER_LINE_MIN {
            return Line::Removed(2);
        }
        if self.lorem_ipsum && holds(&kept, "lorem ipsum") {
            return Line::Drops(LOREM_IPSUM);
        }
        if holds(&kept, "javascript") {
            return Line::Removed(3);
        }
        if self.curly_bracket && kept.contains('{') {
            return Line::Drops(CURLY_BRACKET);
        }
        if POLICIES.iter().any(|policy| holds(&kept, policy)) {
            return Line::Removed(4);
        }
        Line::Kept(kept)
    }
}

fn is_too_long(word: &str) -> bool {
    word.len() > WORD_CHARACTERS_MAX && word.chars().count() > WORD_CHARACTERS_MAX
}

/// Whether the line in lower case holds the phrase, which is in lower case. The Kelvin sign is the one character
/// outside of ASCII whose lower case is a letter of the phrases.
fn holds(line: &str, phrase: &str) -> bool {
    const KELVIN: &str = "\u{212a}";
    if line.contains(KELVIN) {
        return holds(&line.replace(KELVIN, "k"), phrase);
    }
    let (line, phrase) = (line.as_bytes(), phrase.as_bytes());
    let (lower, upper) = (phrase[0], phrase[0].to_ascii_uppercase());
    memchr::memchr2_iter(lower, upper, line)
        .any(|start| line[start..].get(..phrase.len()).is_some_and(|part| part.eq_ignore_ascii_case(phrase)))
}

/// The line without Wikipedia's `[1]`, `[edit]` and `[citation needed]`.
fn without_citations(line: &str, characters: Characters) -> std::borrow::Cow<'_, str> {
    let mut kept = String::new();
    let mut done = 0;
    for (start, _) in line.match_indices('[') {
        let inside = &line[start + 1..];
        let number = inside.find(|character| !characters.is(character, Class::DIGIT)).unwrap_or(inside.len());
        let after = ["edit]", "citation needed]"].iter().find_map(|note| inside.strip_prefix(note));
        if let Some(after) = after.or_else(|| inside[number..].strip_prefix(']')) {
            kept.push_str(&line[done..start]);
            done = line.len() - after.len();
        }
    }
    if done == 0 {
        return line.into();
    }
    kept.push_str(&line[done..]);
    kept.into()
}
