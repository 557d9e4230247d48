//! Files of texts.

use std::path::Path;

use serde::Deserialize;
use tsumugi_base::io::read_to_string_limited;
use tsumugi_base::jsonl::read_numbered;
use tsumugi_base::limits::TEXT_BYTES_MAX;

use super::ClassifierError;

#[derive(Deserialize)]
struct Document {
    text: String,
}

/// The texts of a file: the field `text` of each line of `*.jsonl`, else each line that is not blank.
pub fn read_texts(path: &Path) -> Result<Vec<String>, ClassifierError> {
    if path.extension().is_some_and(|ending| ending == "jsonl") {
        let documents = read_numbered::<Document>(path)?;
        return Ok(documents.into_iter().map(|(_, document)| document.text).collect());
    }
    let text = read_to_string_limited(path, TEXT_BYTES_MAX)?;
    Ok(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect())
}
