//! Keras's configurations: JSON in a file, in HDF5 or in a TensorFlow graph. They are read as bytes, so that quotes may
//! be escaped and the JSON broken.

use memchr::memmem;

use crate::context::Scan;
use crate::finding::Severity;
use crate::pickle::{Verdict, verdict};
use crate::rules;

/// Packages whose names a configuration may import.
const PACKAGES: &[&str] =
    &["keras", "tf_keras", "tensorflow", "keras_nlp", "keras_hub", "keras_cv", "numpy", "math", "builtins"];

/// Classes and words that are code, or fetch it.
const CODE: &[(&str, &str)] = &[
    ("Lambda", "a Lambda layer, which holds Python bytecode"),
    ("__lambda__", "a function as Python bytecode"),
    ("TorchModuleWrapper", "a PyTorch module as a pickle"),
];

/// Keys whose value is imported.
const MODULE_KEYS: &[&str] = &["module", "fn_module", "function_module"];

/// Tells what a Keras configuration somewhere in `bytes` would import or run.
pub fn lint(bytes: &[u8], scan: &mut Scan<'_>) {
    let classes: Vec<(usize, String)> = values(bytes, "class_name").collect();
    if classes.is_empty() {
        return;
    }
    for (at, class) in &classes {
        if let Some((_, what)) = CODE.iter().find(|(known, _)| class == known) {
            scan.find(&rules::KERAS_CODE, Some(*at), class, format!("it has {what}"));
        }
    }
    for key in MODULE_KEYS {
        for (at, module) in values(bytes, key) {
            module_name(at, &module, scan);
        }
    }
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

fn module_name(at: usize, module: &str, scan: &mut Scan<'_>) {
    let first = module.split('.').next().unwrap_or_default();
    let denied = matches!(verdict(module, "Layer"), Verdict::Denied(..));
    if module.is_empty() || !denied && PACKAGES.contains(&first) {
        return;
    }
    let severity = if denied { Severity::Critical } else { Severity::Medium };
    scan.find_as(&rules::KERAS_CODE, severity, Some(at), module, format!("its configuration imports `{module}`"));
}

/// Every text that stands behind a key, as `"key": "text"` or with escaped quotes.
pub fn values<'b>(bytes: &'b [u8], key: &str) -> impl Iterator<Item = (usize, String)> + use<'b> {
    const FOUND_MAX: usize = 100_000;
    const TEXT_MAX: usize = 256;
    let needle = key.to_owned();
    let places: Vec<usize> = memmem::find_iter(bytes, needle.as_bytes()).take(FOUND_MAX).collect();
    let length = needle.len();
    places.into_iter().filter_map(move |at| {
        let before = bytes.get(at.checked_sub(1)?)?;
        let rest = &bytes[at + length..bytes.len().min(at + length + TEXT_MAX)];
        let rest = unquoted(rest)?.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        let text = unquoted(rest)?;
        let end = text.iter().position(|&byte| matches!(byte, b'"' | b'\\'))?;
        (*before == b'"').then(|| (at, String::from_utf8_lossy(&text[..end]).into_owned()))
    })
}

/// What stands behind a quote, plain or escaped.
fn unquoted(bytes: &[u8]) -> Option<&[u8]> {
    let backslashes = bytes.iter().take_while(|&&byte| byte == b'\\').count();
    bytes[backslashes..].strip_prefix(b"\"")
}
