//! The Jinja environment that Hugging Face templates expect: `trim_blocks` and `lstrip_blocks` on, loop controls,
//! Python's string methods, `raise_exception`, `strftime_now`, `tojson` as Python writes it. Fuel bounds what a
//! hostile template can cost.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde};
use minijinja::{Environment, Error, ErrorKind, Value, context};

use super::ChatTemplate;
use crate::{Message, TokenizerError};

/// Instructions and memory a rendering may take: minijinja counts about one per instruction and per 64 bytes made.
/// A turn of a real template takes a few hundred.
const FUEL: u64 = 20_000_000;
/// Largest template that is compiled; the largest published ones have about 20 kB.
const SOURCE_BYTES_MAX: usize = 1 << 20;

/// Compiles the template, to find its errors.
pub(super) fn check(template: &ChatTemplate) -> Result<(), TokenizerError> {
    if template.source.len() > SOURCE_BYTES_MAX {
        return Err(TokenizerError::Template {
            reason: format!("its source has {} bytes, the limit is {SOURCE_BYTES_MAX}", template.source.len()),
        });
    }
    environment().template_from_str(&template.source).map(|_| ()).map_err(|error| failure(&error))
}

/// Renders the messages.
pub(super) fn render(
    template: &ChatTemplate,
    messages: &[Message],
    add_generation_prompt: bool,
) -> Result<String, TokenizerError> {
    let environment = environment();
    let compiled = environment.template_from_str(&template.source).map_err(|error| failure(&error))?;
    let token = |token: &Option<String>| token.as_deref().map_or(Value::from(()), Value::from);
    compiled
        .render(context! {
            messages => Value::from(Serde(messages)),
            add_generation_prompt => add_generation_prompt,
            bos_token => token(&template.bos_token),
            eos_token => token(&template.eos_token),
        })
        .map_err(|error| failure(&error))
}

/// The engine's message with the line, without its name for our unnamed template.
fn failure(error: &Error) -> TokenizerError {
    let detail = error.detail().unwrap_or("no detail");
    let reason = match (error.kind(), error.line()) {
        (ErrorKind::OutOfFuel, _) => "it does too much work for one conversation".into(),
        (ErrorKind::InvalidOperation, _) if error.detail().is_some_and(|text| text.starts_with(RAISED)) => {
            detail[RAISED.len()..].to_owned()
        }
        (kind, Some(line)) => format!("{kind} in line {line}: {detail}"),
        (kind, None) => format!("{kind}: {detail}"),
    };
    TokenizerError::Template { reason }
}

/// Marks what a template itself said with `raise_exception`.
const RAISED: &str = "the template says: ";

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the default delimiters are valid"));
    environment.set_fuel(Some(FUEL));
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, format!("{RAISED}{message}")))
    });
    environment.add_function("strftime_now", |format: String| strftime(&format, unix_seconds()));
    environment.add_filter("tojson", to_json);
    environment
}

/// `json.dumps(value, ensure_ascii=False, indent=indent)`.
fn to_json(value: Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    for ignored in ["ensure_ascii", "sort_keys", "separators"] {
        let _: Option<Value> = options.get(ignored)?;
    }
    options.assert_all_used()?;
    let json =
        serde_json::to_value(&value).map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    let mut text = String::new();
    write_json(&json, indent.map(|width| width.min(16)), 0, &mut text);
    Ok(Value::from_safe_string(text))
}

/// Python's separators: `, ` and `: `, and with an indent a line per item.
fn write_json(json: &serde_json::Value, indent: Option<usize>, depth: usize, out: &mut String) {
    use serde_json::Value as Json;
    let line = |depth: usize, out: &mut String| {
        if let Some(width) = indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', width * depth));
        }
    };
    let separator = if indent.is_some() { "," } else { ", " };
    match json {
        Json::Array(items) if !items.is_empty() => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { separator } else { "" });
                line(depth + 1, out);
                write_json(item, indent, depth + 1, out);
            }
            line(depth, out);
            out.push(']');
        }
        Json::Object(fields) if !fields.is_empty() => {
            out.push('{');
            for (index, (name, item)) in fields.iter().enumerate() {
                out.push_str(if index > 0 { separator } else { "" });
                line(depth + 1, out);
                out.push_str(&Json::from(name.as_str()).to_string());
                out.push_str(": ");
                write_json(item, indent, depth + 1, out);
            }
            line(depth, out);
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// The part of C's `strftime` that templates use, in UTC.
fn strftime(format: &str, unix_seconds: u64) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
    let days = unix_seconds / 86_400;
    let (year, month, day) = civil_date(days);
    let (month_name, day_name) = (MONTHS[month as usize - 1], DAYS[(days % 7) as usize]);
    let seconds = unix_seconds % 86_400;
    let mut text = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        match characters.next() {
            Some('Y') => text.push_str(&year.to_string()),
            Some('y') => text.push_str(&format!("{:02}", year % 100)),
            Some('m') => text.push_str(&format!("{month:02}")),
            Some('d') => text.push_str(&format!("{day:02}")),
            Some('e') => text.push_str(&format!("{day:2}")),
            Some('B') => text.push_str(month_name),
            Some('b') => text.push_str(&month_name[..3]),
            Some('A') => text.push_str(day_name),
            Some('a') => text.push_str(&day_name[..3]),
            Some('H') => text.push_str(&format!("{:02}", seconds / 3600)),
            Some('M') => text.push_str(&format!("{:02}", seconds / 60 % 60)),
            Some('S') => text.push_str(&format!("{:02}", seconds % 60)),
            Some('%') => text.push('%'),
            Some(other) => text.extend(['%', other]),
            None => text.push('%'),
        }
    }
    text
}

/// Days since 1970-01-01 to year, month, day: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn civil_date(days_since_1970: u64) -> (u64, u64, u64) {
    let days = days_since_1970 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        assert_eq!(strftime("%d %B %Y (%a) %H:%M:%S", 0), "01 January 1970 (Thu) 00:00:00");
        assert_eq!(strftime("%A, %d %b %Y, 100%%", 951_782_400), "Tuesday, 29 Feb 2000, 100%");
        assert_eq!(strftime("%y-%m-%d %q", 1_735_689_599), "24-12-31 %q");
    }

    #[test]
    fn json_is_written_as_python_does() {
        let json = serde_json::json!({"a": [1, "é\"<", null], "b": {}});
        let mut text = String::new();
        write_json(&json, None, 0, &mut text);
        assert_eq!(text, r#"{"a": [1, "é\"<", null], "b": {}}"#);
        text.clear();
        write_json(&json, Some(2), 0, &mut text);
        assert_eq!(text, "{\n  \"a\": [\n    1,\n    \"é\\\"<\",\n    null\n  ],\n  \"b\": {}\n}");
    }
}
