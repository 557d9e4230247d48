//! Text that spells a byte piece (`<0x0A>`) is text. In a `tokenizer.json` of a Unigram model byte pieces are pieces as all
//! others, and `tokenizers` gives them for such text, which then decodes to the byte; SentencePiece's own library does not, as
//! its files say which pieces are bytes. In models of byte-pair encoding no merge leads to one.

use serde_json::{Value, json};

use super::HOLDER;

/// Stands before the `>` of such text once it is normalized, so that no byte piece matches.
pub(super) const CUT: &str = HOLDER;

/// Whether text could match the pieces of bytes.
pub(super) fn are_matched(file: &Value) -> bool {
    let model = |key: &str| file.get("model").and_then(|model| model.get(key));
    model("type").and_then(Value::as_str) == Some("Unigram") && model("byte_fallback") == Some(&Value::Bool(true))
}

/// Puts the cuts into normalized text.
pub(super) fn cut_in_text(file: &mut Value) {
    let cut = json!({
        "type": "Replace", "pattern": {"Regex": "(?<=<0x[0-9A-Fa-f]{2})>"}, "content": format!("{CUT}>"),
    });
    let before = file.get_mut("normalizer").map(Value::take).filter(|normalizer| !normalizer.is_null());
    let normalizers: Vec<Value> = before.into_iter().chain([cut]).collect();
    file["normalizer"] = json!({"type": "Sequence", "normalizers": normalizers});
}
