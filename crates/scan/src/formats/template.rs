//! Jinja templates: read as text, never rendered.
//!
//! A chat template reads messages and writes words. What it never needs are Python's own attributes, through which a
//! template that is rendered without a sandbox reaches every function (CVE-2024-34359).

mod globals;

use crate::context::Scan;
use crate::finding::Severity;
use crate::rules;

/// Attributes that lead out of a template.
const ATTRIBUTES: &[&str] = &[
    "__class__",
    "__base__",
    "__bases__",
    "__mro__",
    "__subclasses__",
    "__init__",
    "__globals__",
    "__builtins__",
    "__import__",
    "__getattribute__",
    "__getattr__",
    "__dict__",
    "__code__",
    "__func__",
    "__self__",
    "__call__",
    "__reduce__",
    "__loader__",
    "__spec__",
    "_module.__",
    "func_globals",
    "f_globals",
    "gi_frame",
    "_TemplateReference__context",
];

/// Functions that no template has.
const FUNCTIONS: &[&str] =
    &["eval", "exec", "getattr", "setattr", "open", "compile", "popen", "system", "check_output", "urlopen", "globals"];

/// Statements that load other templates.
const LOADING: &[&str] = &["include", "import", "from", "extends"];

/// Most rounds of a loop over a number that is written in the template.
const ROUNDS_MAX: u64 = 100_000;

/// Tells what a template does that no template needs. A text without braces is none.
pub fn lint(text: &str, scan: &mut Scan<'_>) {
    if !text.contains("{{") && !text.contains("{%") {
        return;
    }
    let parts = parts(text);
    let code: String = parts.iter().map(|part| part.code.as_str()).collect::<Vec<_>>().join("\n");
    let literals: String = parts.iter().map(|part| part.literals.as_str()).collect();
    // In a literal of its own, or put together from several.
    let found = ATTRIBUTES.iter().find(|word| code.contains(**word) || literals.contains(**word));
    if let Some(word) = found {
        let at = text.find(word);
        return scan.find(&rules::TEMPLATE_ESCAPE, at, word, format!("the template reaches for `{word}`"));
    }
    if let Some(at) = filter_attr(&code) {
        scan.find(&rules::TEMPLATE_ESCAPE, Some(at), "attr", "the template looks attributes up by name (`|attr`)");
    }
    globals::lint(&parts, scan);
    for part in &parts {
        let word = part.code.trim_start_matches(['-', '+', ' ', '\n']).split(|c: char| !c.is_alphanumeric()).next();
        if let Some(word) = word.filter(|word| part.is_statement && LOADING.contains(word)) {
            let message = format!("the template loads another one (`{word}`)");
            scan.find(&rules::TEMPLATE_SUSPECT, Some(part.offset), word, message);
        }
        if let Some(function) = FUNCTIONS.iter().find(|function| calls(&part.code, function)) {
            let message = format!("the template calls `{function}`");
            scan.find(&rules::TEMPLATE_SUSPECT, Some(part.offset), function, message);
        }
        if rounds(&part.code).is_some_and(|rounds| rounds > ROUNDS_MAX) {
            scan.find(&rules::TEMPLATE_SUSPECT, Some(part.offset), "range", "the template counts to a huge number");
        } else if part.code.split_once("range(").is_some_and(|(_, rest)| rest.contains("**")) {
            let message = "the template counts to a power";
            scan.find_as(&rules::TEMPLATE_SUSPECT, Severity::Low, Some(part.offset), "range", message);
        }
    }
}

/// One pair of braces: its code with empty literals, and the literals.
struct Part {
    offset: usize,
    is_statement: bool,
    code: String,
    literals: String,
}

fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find('{') {
        let offset = at + found;
        let (close, is_statement) = match text.as_bytes().get(offset + 1) {
            Some(b'{') => ("}}", false),
            Some(b'%') => ("%}", true),
            Some(b'#') => {
                at = text[offset..].find("#}").map_or(text.len(), |end| offset + end + 2);
                continue;
            }
            _ => {
                at = offset + 1;
                continue;
            }
        };
        let (code, literals, end) = split(&text[offset + 2..], close);
        parts.push(Part { offset, is_statement, code, literals });
        at = offset + 2 + end;
    }
    parts
}

/// Code and literals up to `close`, and where it ends. Escapes of characters are undone.
fn split(text: &str, close: &str) -> (String, String, usize) {
    let (mut code, mut literals) = (String::new(), String::new());
    let mut quote: Option<char> = None;
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match quote {
            None if text[at..].starts_with(close) => return (code, literals, at + close.len()),
            None => {
                quote = Some(letter).filter(|letter| matches!(letter, '"' | '\''));
                code.push(letter);
            }
            Some(end) if letter == end => {
                quote = None;
                code.push(letter);
            }
            Some(_) if letter == '\\' => {
                let (character, taken) = escaped(&text[at + 1..]);
                literals.push(character);
                for _ in 0..taken {
                    letters.next();
                }
            }
            Some(_) => literals.push(letter),
        }
    }
    (code, literals, text.len())
}

/// The character behind a backslash, and how many letters say it.
fn escaped(rest: &str) -> (char, usize) {
    let number = |digits: usize, radix| {
        let digits_text: String = rest.chars().skip(1).take(digits).collect();
        u32::from_str_radix(&digits_text, radix).ok().and_then(char::from_u32).map(|character| (character, 1 + digits))
    };
    let found = match rest.chars().next() {
        Some('x') => number(2, 16),
        Some('u') => number(4, 16),
        Some('0'..='7') => {
            let digits: String = rest.chars().take(3).take_while(|digit| digit.is_digit(8)).collect();
            u32::from_str_radix(&digits, 8).ok().and_then(char::from_u32).map(|character| (character, digits.len()))
        }
        Some(other) => Some((other, 1)),
        None => None,
    };
    found.unwrap_or(('\\', 0))
}

/// Where the filter `attr` is used.
fn filter_attr(code: &str) -> Option<usize> {
    code.match_indices('|').map(|(at, _)| at).find(|at| {
        let rest = code[at + 1..].trim_start();
        rest.strip_prefix("attr").is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    })
}

/// Whether `function(` stands in the code as a whole word.
fn calls(code: &str, function: &str) -> bool {
    code.match_indices(function).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let is_word = !before.is_some_and(|c| c.is_alphanumeric() || c == '_');
        is_word && code[at + function.len()..].trim_start().starts_with('(')
    })
}

/// The largest number in a `range(…)`.
fn rounds(code: &str) -> Option<u64> {
    let (_, rest) = code.split_once("range(")?;
    let inside = rest.split(')').next()?;
    let numbers = inside.split(|c: char| !c.is_ascii_digit() && c != '_').filter(|number| !number.is_empty());
    numbers.map(|number| number.replace('_', "").parse().unwrap_or(u64::MAX)).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, Severity, scan_bytes};

    fn worst(template: &str) -> Option<Severity> {
        scan_bytes(template.as_bytes(), "chat_template.jinja", &Limits::default()).worst()
    }

    #[test]
    fn ways_out_are_found() {
        for template in [
            "{{ ''.__class__.__mro__ }}",
            "{{ x['__cl' ~ 'ass__'] }}",
            "{% set a = '__glo' %}{% set b = 'bals__' %}{{ x[a + b] }}",
            "{{ x['\\x5f\\x5fclass\\x5f\\x5f'] }}",
            "{{ x['\\137\\137class\\137\\137'] }}",
            "{{ ''|attr(name) }}",
            "{{ ['__', 'init', '__']|join }}",
            "{% set u=(lipsum|string)[18] %}{% set k=u~u~'glob'~'als'~u~u %}{{ lipsum[k]['o'~'s']['pop'~'en']('x') }}",
            "{{ lipsum[k] }}",
            "{{ ( cycler ) [a ~ b] }}",
            "{{ joiner()[k] }}{{ x }}",
            "{{ cycler.next['a'][k] }}",
            "{% set l = (config) %}{% set m = l %}{{ m[k] }}",
            "{{ self | string }}",
            "{{ dict|e }}",
            "{{ kwargs[messages[0].content] }}",
            "{{ request[loop.index0 ~ k] }}",
        ] {
            assert_eq!(worst(template), Some(Severity::Critical), "{template}");
        }
        for template in [
            "{% include 'other' %}",
            "{{ eval('1') }}",
            "{% for i in range(999999999) %}{% endfor %}",
            "{{ [lipsum]|join }}",
        ] {
            assert_eq!(worst(template), Some(Severity::Medium), "{template}");
        }
        assert_eq!(worst("{{ range(10**9)|list }}"), Some(Severity::Low));
    }

    #[test]
    fn ordinary_templates_pass() {
        for template in [
            "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message.content }}{% endfor %}",
            "{%- if messages[0]['role'] == 'system' -%}{{ raise_exception('import os; os.system()') }}{% endif %}",
            "{{ message.class }}{% for i in range(10) %}{% endfor %}{# __class__ #}",
            "{{ strftime_now('%d') | tojson }}{{ messages | selectattr('role', 'equalto', 'user') | list }}{{ x is mapping }}",
            "{% set ns = namespace(a=1, range=[k]) %}{{ ns.a }}{{ messages[loop.index0 + 1][key] }}{{ message.config[key] }}",
            "{% if namespace is defined and caller is not none %}{{ dict(a=1)[k] }}{{ range(3)[i] }}{{ caller()|indent }}{% endif %}",
            "{{ config['name'] }}{{ varargs[0] }}{{ varargs[loop.index0 - 1] }}{{ messages[::-1] | string }}{{ url_for('a') }}",
            "class __init__ of a text without braces",
        ] {
            assert_eq!(worst(template), None, "{template}");
        }
        assert_eq!(rounds("range(1, 20)"), Some(20));
    }
}
