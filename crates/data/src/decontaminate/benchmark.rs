//! Benchmarks: items out of files of any format that sources have.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::corpus::CorpusError;
use crate::source::{self, Part, Source};

/// A benchmark as a recipe names it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Benchmark {
    /// What reports call it.
    pub name: String,
    /// Files, folders, patterns, in any format of a source. In text files each line is an item.
    pub paths: Vec<String>,
    /// The fields that are the item's text, one after the other; strings within lists and objects count.
    #[serde(default = "default_fields")]
    pub fields: Vec<String>,
}

fn default_fields() -> Vec<String> {
    vec!["text".into()]
}

/// What a benchmark asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// As its file names it, or its file and place.
    pub id: String,
    /// Its text.
    pub text: String,
}

/// The largest item, in bytes.
const ITEM_BYTES_MAX: u64 = 16 << 20;

impl Benchmark {
    /// All items, and the files that they are in. What cannot be read is an error: a benchmark with holes would seem clean.
    pub fn read(&self) -> Result<(Vec<Item>, Vec<PathBuf>), CorpusError> {
        let Some((first, others)) = self.fields.split_first() else { return Ok((Vec::new(), Vec::new())) };
        let source = json!({ "name": self.name, "paths": self.paths, "text-field": first, "split": "lines" });
        let source: Source = serde_json::from_value(source).expect("these are keys of a source");
        let (mut items, mut files) = (Vec::new(), Vec::new());
        for file in source::find(&source)? {
            source::read(&source, &file, Part::All, ITEM_BYTES_MAX, &mut |item| match item {
                source::Item::Fault(fault) => Err(CorpusError::Strict(fault)),
                source::Item::Document(document) => {
                    let mut text = document.text().to_owned();
                    others
                        .iter()
                        .filter_map(|field| document.metadata.get(field))
                        .for_each(|value| join(value, &mut text));
                    items.push(Item { id: document.id, text });
                    Ok(())
                }
            })?;
            files.push(file.path);
        }
        Ok((items, files))
    }
}

fn join(value: &Value, text: &mut String) {
    match value {
        Value::String(part) => {
            text.push('\n');
            text.push_str(part);
        }
        Value::Array(parts) => parts.iter().for_each(|part| join(part, text)),
        Value::Object(parts) => parts.values().for_each(|part| join(part, text)),
        _ => {}
    }
}
