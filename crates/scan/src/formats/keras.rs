//! Keras's configurations: JSON in a file, in HDF5 or in a TensorFlow graph. They are read as bytes, so that quotes may
//! be escaped and the JSON broken.

use std::borrow::Cow;
use std::collections::BTreeMap;

use memchr::memmem;

use crate::context::Scan;
use crate::finding::Severity;
use crate::pickle::{Verdict, verdict};
use crate::rules;

/// Packages whose names a configuration may import.
const PACKAGES: &[&str] =
    &["keras", "tf_keras", "tensorflow", "keras_nlp", "keras_hub", "keras_cv", "numpy", "math", "builtins"];

/// Classes and words that are code, or fetch it.
const CODE: &[(&str, Severity, &str)] = &[
    ("Lambda", Severity::High, "a Lambda layer, which holds Python bytecode"),
    ("__lambda__", Severity::High, "a function as Python bytecode"),
    ("TorchModuleWrapper", Severity::High, "a PyTorch module as a pickle"),
    ("TFSMLayer", Severity::Medium, "a TFSMLayer, which loads a TensorFlow graph from a path"),
];

/// Functions of Keras and TensorFlow that load, fetch or write, in whichever of their modules.
const FUNCTIONS: &[&str] = &[
    "load_model",
    "load_model_from_hdf5",
    "load_weights",
    "model_from_json",
    "model_from_yaml",
    "model_from_config",
    "deserialize_keras_object",
    "enable_unsafe_deserialization",
    "get_file",
    "extract_archive",
    "func_load",
    "load_img",
    "save_img",
    "save_model",
    "load_library",
    "load_op_library",
    "py_func",
    "py_function",
    "numpy_function",
    "read_file",
    "write_file",
];

/// Keys whose value is imported.
const MODULE_KEYS: &[&str] = &["module", "fn_module", "function_module"];

/// Keys whose value is looked up in the module.
const NAME_KEYS: &[&str] = &["class_name", "config", "function", "function_name"];

/// More different texts, or pairs of them, have no model.
const TEXTS_MAX: usize = 10_000;
const PAIRS_MAX: usize = 50_000;

/// Longer names have no module and no function.
const NAME_BYTES_MAX: usize = 1024;

/// Tells what a Keras configuration somewhere in `bytes` would import or run.
pub fn lint(bytes: &[u8], scan: &mut Scan<'_>) {
    if values(bytes, "class_name").next().is_none() {
        return;
    }
    classes(bytes, scan);
    let (modules, names) = (distinct(bytes, MODULE_KEYS, scan), distinct(bytes, NAME_KEYS, scan));
    for (module, at) in &modules {
        module_name(*at, module, scan);
    }
    pairs(&modules, &names, scan);
    vocabularies(bytes, scan);
    for (word, what) in
        [("enable_unsafe_deserialization", "switches safe mode off"), ("get_file", "fetches a file while it is loaded")]
    {
        if let Some(at) =
            memmem::find(bytes, format!("\"{word}").as_bytes()).or(memmem::find(bytes, format!(".{word}\"").as_bytes()))
        {
            scan.find(&rules::KERAS_CODE, Some(at), word, format!("its configuration {what} (`{word}`)"));
        }
    }
}

/// Tells each class that is code, where it first stands, however many others there are.
fn classes(bytes: &[u8], scan: &mut Scan<'_>) {
    let mut told = [false; CODE.len()];
    for (at, class) in values(bytes, "class_name") {
        let Some(index) = CODE.iter().position(|(known, ..)| class == *known) else { continue };
        let (_, severity, what) = CODE[index];
        if !std::mem::replace(&mut told[index], true) {
            scan.find_as(&rules::KERAS_CODE, severity, Some(at), &class, format!("it has {what}"));
        }
    }
}

/// The different texts behind the keys, and where each first stands. Tells when there are too many.
fn distinct<'b>(bytes: &'b [u8], keys: &[&'static str], scan: &mut Scan<'_>) -> BTreeMap<Cow<'b, str>, usize> {
    let mut texts = BTreeMap::new();
    for key in keys {
        for (at, text) in values(bytes, key) {
            if texts.contains_key(&text) {
                continue;
            }
            if texts.len() >= TEXTS_MAX {
                scan.unread(Some(at), "a Keras configuration has more names than are looked at");
                return texts;
            }
            texts.insert(text, at);
        }
    }
    texts
}

fn module_name(at: usize, module: &str, scan: &mut Scan<'_>) {
    let is_long = module.len() > NAME_BYTES_MAX;
    let module: String = module.chars().take(NAME_BYTES_MAX).collect();
    let first = module.split('.').next().unwrap_or_default();
    let denied = matches!(verdict(&module, "Layer"), Verdict::Denied(..));
    if module.is_empty() || !denied && !is_long && PACKAGES.contains(&first) {
        return;
    }
    let severity = if denied { Severity::Critical } else { Severity::Medium };
    scan.find_as(&rules::KERAS_CODE, severity, Some(at), &module, format!("its configuration imports `{module}`"));
}

/// Judges every name in every module: which belongs to which cannot be told from bytes that may be broken. Tells the
/// worst of each name.
fn pairs(modules: &BTreeMap<Cow<'_, str>, usize>, names: &BTreeMap<Cow<'_, str>, usize>, scan: &mut Scan<'_>) {
    let is_name = |text: &str| !text.is_empty() && text.len() <= NAME_BYTES_MAX;
    let modules: Vec<&str> = modules.keys().map(AsRef::as_ref).filter(|module| is_name(module)).collect();
    let mut left = PAIRS_MAX;
    for (name, at) in names.iter().filter(|(name, _)| is_name(name)) {
        if left < modules.len() {
            return scan.unread(None, "a Keras configuration has more names than are looked at");
        }
        left -= modules.len();
        let harms = modules.iter().rev().filter_map(|module| Some((*module, harm(module, name)?)));
        if let Some((module, (severity, does))) = harms.max_by_key(|(_, (severity, _))| *severity) {
            let message = format!("its configuration names {module}.{name}, which {does}");
            scan.find_as(&rules::KERAS_CODE, severity, Some(*at), name, message);
        }
    }
}

/// What a function or class does, by its full name and by its own in the package, which has it in several modules.
fn harm(module: &str, name: &str) -> Option<(Severity, &'static str)> {
    let package = module.split('.').next().unwrap_or_default();
    let own = name.rsplit('.').next().unwrap_or_default();
    if let Verdict::Denied(severity, does) = verdict(module, name) {
        // A module that is denied as a whole is told as one.
        let is_told = matches!(verdict(module, "Layer"), Verdict::Denied(..));
        return (!is_told).then_some((severity, does));
    }
    let in_keras = package.contains("keras") || package == "tensorflow";
    if in_keras && FUNCTIONS.contains(&own) {
        return Some((Severity::High, "loads, fetches or writes files"));
    }
    match verdict(package, own) {
        Verdict::Denied(severity, does) if package == "numpy" => Some((severity, does)),
        _ => None,
    }
}

/// Tells vocabularies that are read from elsewhere when the model is loaded.
fn vocabularies(bytes: &[u8], scan: &mut Scan<'_>) {
    let leads_out = |path: &str| {
        let path = path.trim_start();
        path.starts_with(['/', '~'])
            || path.split('/').any(|part| part == "..")
            || path.get(1..2) == Some(":")
            || path.contains("://")
    };
    let found = values(bytes, "vocabulary").find(|(_, path)| leads_out(path));
    if let Some((at, path)) = found {
        let path: String = path.chars().take(NAME_BYTES_MAX).collect();
        let message = format!("a layer reads its vocabulary from `{path}`");
        scan.find_as(&rules::KERAS_CODE, Severity::Medium, Some(at), &path, message);
    }
}

/// Every text that stands behind a key, as `"key": "text"` or with escaped quotes. No two of them overlap, so that this
/// takes linear time.
pub fn values<'b>(bytes: &'b [u8], key: &'static str) -> impl Iterator<Item = (usize, Cow<'b, str>)> + use<'b> {
    memmem::find_iter(bytes, key).filter_map(move |at| {
        let before = bytes.get(at.checked_sub(1)?)?;
        if *before != b'"' {
            return None;
        }
        let rest = unquoted(&bytes[at + key.len()..])?;
        let text = unquoted(unspaced(unspaced(rest).strip_prefix(b":")?))?;
        let end = memchr::memchr2(b'"', b'\\', text)?;
        Some((at, String::from_utf8_lossy(&text[..end])))
    })
}

/// What stands behind white space, plain or escaped.
pub fn unspaced(mut bytes: &[u8]) -> &[u8] {
    loop {
        bytes = bytes.trim_ascii_start();
        let backslashes = bytes.iter().take_while(|&&byte| byte == b'\\').count();
        match &bytes[backslashes..] {
            [b'n' | b'r' | b't' | b'f', rest @ ..] if backslashes > 0 => bytes = rest,
            _ => return bytes,
        }
    }
}

/// What stands behind a quote, plain or escaped.
pub fn unquoted(bytes: &[u8]) -> Option<&[u8]> {
    let backslashes = bytes.iter().take_while(|&&byte| byte == b'\\').count();
    bytes[backslashes..].strip_prefix(b"\"")
}
