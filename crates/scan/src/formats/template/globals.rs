//! What a template does with Jinja's own names: each of them leads to Python's internals, by attributes that need no literal.

use super::Part;
use crate::context::Scan;
use crate::rules;

/// Functions: a template calls them, and nothing else.
const FUNCTIONS: &[&str] = &["lipsum", "cycler", "joiner", "namespace", "url_for", "get_flashed_messages"];

/// Names that a template may pass on and take literal items of.
const OBJECTS: &[&str] = &["range", "dict", "self", "request", "config", "caller", "varargs", "kwargs"];

/// Filters that make a text of an object, of which letters can be taken.
const TEXTS: &[&str] =
    &["string", "e", "escape", "forceescape", "upper", "lower", "title", "capitalize", "replace", "trim", "pprint"];

/// Most names for the same that are followed.
const ALIASES_MAX: usize = 1000;

/// Tells computed items, and texts, of Jinja's globals.
pub fn lint(parts: &[Part], scan: &mut Scan<'_>) {
    let aliases = aliases(parts);
    for part in parts {
        for (word, before, rest) in words(&part.code) {
            let is_function = FUNCTIONS.contains(&word);
            if !is_function && !OBJECTS.contains(&word) && !aliases.contains(&word) {
                continue;
            }
            let rest = past_parentheses(before, rest);
            if let Some(what) = escape(rest, is_function) {
                let message = format!("the template takes {what} of `{word}`, which leads to Python's internals");
                scan.find(&rules::TEMPLATE_ESCAPE, Some(part.offset), word, message);
            } else if is_function && is_bare(before, rest) {
                let message = format!("the template uses `{word}` without calling it");
                scan.find(&rules::TEMPLATE_SUSPECT, Some(part.offset), word, message);
            }
        }
    }
}

/// Every name that is no attribute, with the code before and behind it.
fn words(code: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    let is_letter = |c: char| c.is_alphanumeric() || c == '_';
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + code[at..].find(is_letter)?;
        let end = code[start..].find(|c| !is_letter(c)).map_or(code.len(), |length| start + length);
        at = end;
        Some((&code[start..end], code[..start].trim_end(), code[end..].trim_start()))
    })
    .filter(|(_, before, _)| !before.ends_with('.'))
}

/// Names that are set to a global or to one another.
fn aliases(parts: &[Part]) -> Vec<&str> {
    let blank = |c: char| c.is_whitespace() || matches!(c, '(' | ')' | '-' | '+');
    let sets: Vec<(&str, &str)> = parts
        .iter()
        .filter(|part| part.is_statement)
        .filter_map(|part| part.code.trim_start_matches(blank).strip_prefix("set ")?.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim_matches(blank)))
        .collect();
    let mut aliases: Vec<&str> = Vec::new();
    loop {
        let is_new = |(name, value): &&(&str, &str)| {
            let is_known = FUNCTIONS.contains(value) || OBJECTS.contains(value) || aliases.contains(value);
            is_known && !aliases.contains(name)
        };
        match sets.iter().find(is_new) {
            Some((name, _)) if aliases.len() < ALIASES_MAX => aliases.push(name),
            _ => return aliases,
        }
    }
}

/// What follows a name, and the parentheses around the name alone.
fn past_parentheses<'a>(mut before: &str, mut rest: &'a str) -> &'a str {
    while let (Some(outer), Some(behind)) = (before.strip_suffix('('), rest.strip_prefix(')')) {
        (before, rest) = (outer.trim_end(), behind.trim_start());
    }
    rest
}

/// A computed item or a text, if that is what is taken; of functions also of what they give.
fn escape(mut rest: &str, is_function: bool) -> Option<&'static str> {
    if let Some(filter) = rest.strip_prefix('|') {
        let filter = filter.trim_start();
        let end = filter.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(filter.len());
        return TEXTS.contains(&&filter[..end]).then_some("the text");
    }
    loop {
        let (inside, behind) = match rest.chars().next()? {
            '[' | '(' => bracket(rest),
            '.' if is_function => {
                let name = rest[1..].trim_start();
                let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
                ("", &name[end..])
            }
            _ => return None,
        };
        if rest.starts_with('[') && is_computed(inside) {
            return Some("a computed item");
        }
        if rest.starts_with('(') && !is_function {
            return None;
        }
        rest = behind.trim_start();
    }
}

/// What is in the bracket that `code` begins with, and what is behind it.
fn bracket(code: &str) -> (&str, &str) {
    let mut depth = 0;
    for (at, letter) in code.char_indices() {
        match letter {
            '[' | '(' | '{' => depth += 1,
            ']' | ')' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (&code[1..at], &code[at + 1..]);
        }
    }
    (&code[1..], "")
}

/// Whether an item is neither a literal nor a number.
fn is_computed(item: &str) -> bool {
    let mut item = item.trim().to_owned();
    if matches!(&*item, "''" | "\"\"") {
        return false;
    }
    for number in ["loop.index0", "loop.index", "loop.revindex0", "loop.revindex", "loop.length"] {
        item = item.replace(number, "0");
    }
    !item.chars().all(|c| c.is_ascii_digit() || matches!(c, ' ' | '+' | '-' | '*' | '%' | ':'))
}

/// Whether a function stands there neither called nor set nor asked for.
fn is_bare(before: &str, rest: &str) -> bool {
    let is_asked = rest.strip_prefix("is").is_some_and(|rest| rest.starts_with(char::is_whitespace));
    let is_set =
        rest.starts_with('=') && !rest.starts_with("==") || before.ends_with("for") || before.ends_with("macro");
    !rest.starts_with(['(', '.', '[']) && !is_asked && !is_set
}
