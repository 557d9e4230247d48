//! JSON: configurations, tokenizers, Keras, skops. What they make a loader import, and templates.

use std::collections::BTreeSet;

use memchr::memmem;
use serde_json::{Map, Value};

use super::{Format, archive, keras, secrets, template, text};
use crate::context::{Expectation, Input, Scan};
use crate::finding::Severity;
use crate::pickle::{Verdict, verdict};
use crate::rules;

/// JSON files.
pub struct Json;

/// Larger ones are searched for words only: parsed, JSON takes more than thirty times the memory.
const PARSED_BYTES_MAX: usize = 8 << 20;

/// What a file must hold to be worth parsing: a key that matters, or a brace behind an escape.
const WORDS: &[&str] = &[
    "auto_map",
    "auto_mapping",
    "megatron_core",
    "_class_name",
    "_target_",
    "__module__",
    "__loader__",
    "\\u007b",
    "\\u007B",
];

/// How templates begin. In a large file, a vocabulary, only the texts that hold them are looked at.
const BRACES: &[&str] = &["{%", "{{"];
const LARGE_BYTES: usize = 1 << 20;

/// Where sentence-transformers lists the parts of a model; its loader goes by the name.
const MODULES_FILE: &str = "modules.json";

/// Where the index of weights in several files lists them.
const INDEX_ENDING: &str = ".index.json";

/// Loaders of skops that call what the file names (CVE-2025-54412, -54413, -54886).
const CALLING_LOADERS: &[&str] = &["MethodNode", "OperatorFuncNode", "JoblibNode"];

impl Format for Json {
    fn name(&self) -> &'static str {
        "JSON"
    }

    fn claims(&self, input: &Input<'_>) -> bool {
        let start = input.bytes[..input.bytes.len().min(4096)].trim_ascii_start();
        let begins = matches!(
            start,
            [b'{', b' ' | b'\n' | b'\r' | b'\t' | b'"' | b'}', ..]
                | [b'[', b' ' | b'\n' | b'\r' | b'{' | b'[' | b'"' | b'0'..=b'9', ..]
        );
        let is_text = !start.contains(&0);
        input.expectation == Expectation::File && is_text && (begins || input.has_extension(&["json"]))
    }

    fn scan(&self, input: &Input<'_>, scan: &mut Scan<'_>) {
        secrets::look(input.bytes, scan);
        lint(input.bytes, scan);
        if input.name == MODULES_FILE {
            modules(input.bytes, scan);
        }
        if input.name.ends_with(INDEX_ENDING) {
            shards(input.bytes, scan);
        }
        if input.has_extension(text::YAML) {
            text::yaml(&String::from_utf8_lossy(input.bytes), scan);
        }
    }
}

/// Tells what a configuration makes a loader import or render.
pub fn lint(bytes: &[u8], scan: &mut Scan<'_>) {
    keras::lint(bytes, scan);
    let holds = |words: &[&str]| words.iter().any(|word| memmem::find(bytes, word.as_bytes()).is_some());
    let is_spelled = spells_letters(bytes);
    if !is_spelled && !holds(WORDS) {
        if bytes.len() > LARGE_BYTES {
            return texts_with_braces(bytes, scan);
        }
        if !holds(BRACES) {
            return;
        }
    }
    if bytes.len() > PARSED_BYTES_MAX {
        if is_spelled || WORDS.iter().any(|word| is_meant(bytes, word)) {
            scan.unread(None, "a JSON file of more than 8 MiB is not parsed");
        }
        return texts_with_braces(bytes, scan);
    }
    match serde_json::from_slice::<Value>(bytes) {
        Ok(value) => {
            if is_spelled {
                scan.within("unescaped", |scan| keras::lint(value.to_string().as_bytes(), scan));
            }
            walk("", &value, scan);
        }
        // Broken JSON is read by lenient parsers, too.
        Err(_) => {
            keras::values(bytes, "_target_").for_each(|(_, target)| check_target(&target, scan));
            template::lint(&String::from_utf8_lossy(bytes), scan);
        }
    }
}

/// Whether a word is a key whose value is no number, or a brace behind an escape. Vocabularies have words with numbers.
fn is_meant(json: &[u8], word: &str) -> bool {
    memmem::find_iter(json, word).any(|at| {
        let Some(after) = keras::unquoted(&json[at + word.len()..]).map(keras::unspaced) else {
            return word.starts_with('\\');
        };
        after.strip_prefix(b":").is_some_and(|value| !matches!(keras::unspaced(value), [b'0'..=b'9', ..]))
    })
}

/// Looks at each text of the JSON that holds a template, without parsing the rest.
fn texts_with_braces(json: &[u8], scan: &mut Scan<'_>) {
    for begin in BRACES {
        let mut seen_to = 0;
        for at in memmem::find_iter(json, begin.as_bytes()) {
            if at < seen_to {
                continue;
            }
            let quote = |place: &usize| json[*place] == b'"' && !is_escaped(json, *place);
            let start = (0..at).rev().find(quote).unwrap_or(0);
            let end = (at..json.len()).find(quote).map_or(json.len(), |end| end + 1);
            let text = serde_json::from_slice::<String>(&json[start..end]);
            // Broken JSON is read by lenient parsers, too.
            let text = text.unwrap_or_else(|_| String::from_utf8_lossy(&json[start..end]).into_owned());
            template::lint(&text, scan);
            seen_to = end;
        }
    }
}

/// Whether an odd number of backslashes stands before a place.
fn is_escaped(json: &[u8], place: usize) -> bool {
    json[..place].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// Whether letters that need no escape are written as one: words are hidden so.
fn spells_letters(bytes: &[u8]) -> bool {
    memmem::find_iter(bytes, b"\\u00").any(|at| {
        let digits = bytes.get(at + 4..at + 6).and_then(|digits| std::str::from_utf8(digits).ok());
        let letter = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        letter.is_some_and(|letter| letter.is_ascii_alphabetic() || letter == b'_')
    })
}

fn walk(key: &str, value: &Value, scan: &mut Scan<'_>) {
    match value {
        Value::String(text) => scan.within(key, |scan| template::lint(text, scan)),
        Value::Array(items) => items.iter().for_each(|item| walk(key, item, scan)),
        Value::Object(fields) => {
            let text = |name: &str| fields.get(name).and_then(Value::as_str);
            if fields.contains_key("auto_map") {
                let message = "`auto_map` names code of the repository";
                scan.find(&rules::REMOTE_CODE, None, "auto_map", message);
            }
            adapter(fields, scan);
            pipeline(fields, scan);
            if let Some(target) = text("_target_") {
                check_target(target, scan);
            }
            if let (Some(module), Some(class)) = (text("__module__"), text("__class__")) {
                check_target(&format!("{module}.{class}"), scan);
            }
            if let Some(loader) = text("__loader__").filter(|loader| CALLING_LOADERS.contains(loader)) {
                let message = format!("a {loader} calls what the file names");
                scan.find_as(&rules::CONFIG_TARGET, Severity::Medium, None, loader, message);
            }
            fields.iter().for_each(|(key, value)| walk(key, value, scan));
        }
        _ => {}
    }
}

/// What PEFT imports for an adapter: the class of the model that it belongs to, and a package of Megatron's.
fn adapter(fields: &Map<String, Value>, scan: &mut Scan<'_>) {
    if let Some(mapping) = fields.get("auto_mapping").and_then(Value::as_object) {
        let text = |name: &str| mapping.get(name).and_then(Value::as_str);
        let class = text("base_model_class").unwrap_or("Model");
        if let Some(library) = text("parent_library") {
            imports("auto_mapping", &format!("{library}.{class}"), &["transformers", "diffusers", "peft"], scan);
        }
    }
    let is_used = fields.get("megatron_config").is_some_and(|config| !config.is_null());
    if let Some(package) = fields.get("megatron_core").and_then(Value::as_str).filter(|_| is_used) {
        imports("megatron_core", &format!("{package}.tensor_parallel"), &["megatron"], scan);
    }
}

/// What diffusers imports for a pipeline (`model_index.json`): a class of its own, or with a list one of a file of the
/// repository; and for each part a library and a class.
fn pipeline(fields: &Map<String, Value>, scan: &mut Scan<'_>) {
    let Some(class) = fields.get("_class_name") else { return };
    if let Some([module, class]) = class.as_array().map(Vec::as_slice) {
        let target = [module, class].map(|word| word.as_str().unwrap_or_default()).join(".");
        let message = format!("`_class_name` names code of the repository: {}", archive::shown(&target));
        scan.find(&rules::REMOTE_CODE, None, "_class_name", message);
    }
    for part in fields.values().filter_map(Value::as_array) {
        if let [Value::String(library), Value::String(class)] = part.as_slice() {
            check_target(&format!("{library}.{class}"), scan);
        }
    }
}

/// What sentence-transformers imports for each part of a model, and where it reads the part.
fn modules(bytes: &[u8], scan: &mut Scan<'_>) {
    let parts = serde_json::from_slice::<Vec<Value>>(bytes).unwrap_or_default();
    for part in parts.iter().filter_map(|part| part["type"].as_str()) {
        imports("type", part, &["sentence_transformers"], scan);
    }
    for path in parts.iter().filter_map(|part| part["path"].as_str()) {
        check_path("path", path, scan);
    }
}

/// Where transformers reads the weights that an index lists.
fn shards(bytes: &[u8], scan: &mut Scan<'_>) {
    if bytes.len() > PARSED_BYTES_MAX {
        return scan.unread(None, "an index of weights of more than 8 MiB is not parsed");
    }
    let index = serde_json::from_slice::<Value>(bytes).unwrap_or_default();
    let files = index["weight_map"].as_object().into_iter().flat_map(Map::values).filter_map(Value::as_str);
    for file in files.collect::<BTreeSet<_>>() {
        check_path("weight_map", file, scan);
    }
}

/// Tells a path that leads out of the model's folder.
fn check_path(key: &str, path: &str, scan: &mut Scan<'_>) {
    if archive::leads_out(path) {
        let message = format!("`{key}` has {} read, out of the model's folder", archive::shown(path));
        scan.find(&rules::EXTERNAL_PATH, None, path, message);
    }
}

/// Tells that a key has something imported that is not of the packages which load such files.
fn imports(key: &str, target: &str, packages: &[&str], scan: &mut Scan<'_>) {
    check_target(target, scan);
    let package = target.split('.').next().unwrap_or_default();
    if !packages.contains(&package) {
        let message = format!("`{key}` has {} imported", archive::shown(target));
        scan.find(&rules::REMOTE_CODE, None, key, message);
    }
}

/// Tells a dotted name that a configuration has called and that does harm.
pub fn check_target(target: &str, scan: &mut Scan<'_>) {
    let (module, name) = target.trim().rsplit_once('.').unwrap_or(("builtins", target));
    if let Verdict::Denied(severity, does) = verdict(module, name) {
        let message = format!("it has {module}.{name} called, which {does}");
        scan.find_as(&rules::CONFIG_TARGET, severity, None, target, message);
    }
}
