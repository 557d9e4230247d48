//! The Jinja environment that Hugging Face templates expect: `trim_blocks` and `lstrip_blocks` on, loop controls,
//! `generation`, Python's string methods, `raise_exception`, `strftime_now`, `tojson` as Python writes it. Fuel bounds what a
//! hostile template can cost.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, Value, context};

use super::{ChatTemplate, python};
use crate::{Message, TokenizerError};

/// Instructions and memory a rendering may take: minijinja counts about one per instruction and per 64 bytes made.
/// A turn of a real template takes a few hundred.
const FUEL: u64 = 1_000_000;
const FUEL_PER_MESSAGE: u64 = 10_000;
const FUEL_MAX: u64 = 8_000_000;
/// A template can put lists into lists as long as it has fuel, some eight for each, and what writes or drops them calls
/// itself for each, with less than a kilobyte. So templates are rendered on a stack of this many bytes for each fuel; its
/// pages are used as they are needed.
const STACK_BYTES_PER_FUEL: usize = 192;
/// Largest template that is compiled; the largest published ones have about 20 kB.
const SOURCE_BYTES_MAX: usize = 1 << 20;

/// Compiles the template, to find its errors.
pub(super) fn check(template: &ChatTemplate) -> Result<(), TokenizerError> {
    if template.source.len() > SOURCE_BYTES_MAX {
        return Err(TokenizerError::Template {
            reason: format!("its source has {} bytes, the limit is {SOURCE_BYTES_MAX}", template.source.len()),
        });
    }
    environment().template_from_str(&without_generation(&template.source)).map(|_| ()).map_err(|error| failure(&error))
}

/// Renders the messages, on a thread of its own: see [`STACK_BYTES_PER_FUEL`].
pub(super) fn render(
    template: &ChatTemplate,
    messages: &[Message],
    add_generation_prompt: bool,
) -> Result<String, TokenizerError> {
    let fuel = (FUEL + FUEL_PER_MESSAGE * messages.len() as u64).min(FUEL_MAX);
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("chat template".into());
        let thread = thread.stack_size((2 << 20) + STACK_BYTES_PER_FUEL * fuel as usize);
        let rendered = thread.spawn_scoped(scope, || render_here(template, messages, add_generation_prompt, fuel));
        let rendered = rendered.map_err(|error| TokenizerError::Template {
            reason: format!("the system gives no thread to render it on: {error}"),
        })?;
        rendered.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn render_here(
    template: &ChatTemplate,
    messages: &[Message],
    add_generation_prompt: bool,
    fuel: u64,
) -> Result<String, TokenizerError> {
    let (mut environment, source) = (environment(), without_generation(&template.source));
    environment.set_fuel(Some(fuel));
    let compiled = environment.template_from_str(&source).map_err(|error| failure(&error))?;
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

/// The source with `with` in the place of `generation`, the tag by which transformers' templates mark what a model is trained
/// to say: it writes nothing, and names that are set inside of it end with it, which is what an empty `with` does.
fn without_generation(source: &str) -> String {
    let mut changed = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(begin) = rest.find("{%") {
        let (before, tag) = rest.split_at(begin + 2);
        changed.push_str(before);
        rest = tag;
        // A tag without an end would be looked for to the end of the source at each of the others.
        let Some(end) = tag.find("%}") else { break };
        let inner = &tag[..end];
        let word = inner.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
        let replacement = match word {
            "generation" => "with",
            "endgeneration" => "endwith",
            _ => continue,
        };
        changed.push_str(&inner.replacen(word, replacement, 1));
        rest = &tag[inner.len()..];
    }
    changed + rest
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
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(python::method);
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, format!("{RAISED}{message}")))
    });
    environment.add_function("strftime_now", |format: String| strftime(&format, unix_seconds()));
    environment.add_filter("tojson", python::to_json);
    environment.add_filter("indent", python::indent);
    environment.add_test("iterable", python::is_iterable);
    environment.add_test("sequence", python::is_sequence);
    environment
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
}
