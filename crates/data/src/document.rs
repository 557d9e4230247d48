//! A document of a corpus: a text, where it comes from, and what was measured on it.
//!
//! On disk it is a line of JSON with the names that datatrove and dolma use:
//! `{"id": …, "text": …, "source": …, "license": …, "metadata": {…}, "signals": {…}}`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One text of a corpus with all that is known about it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Names it within its source.
    pub id: String,
    text: String,
    /// The name of the source in the recipe.
    pub source: String,
    /// The licence as its source states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// What came with it: address, date, language, any field that is not one of ours.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    signals: BTreeMap<String, Signal>,
    /// How often the text was replaced since it was read.
    #[serde(skip)]
    edits: u32,
}

/// Something that was measured on a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Signal {
    /// A count, a ratio, a score.
    Number(f64),
    /// A label.
    Text(String),
}

impl From<f64> for Signal {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Signal {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl Document {
    /// A document that nothing more is known about.
    pub fn new(id: impl Into<String>, text: impl Into<String>) -> Self {
        Self { id: id.into(), text: text.into(), ..Self::default() }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text alone.
    pub fn into_text(self) -> String {
        self.text
    }

    /// Puts another text into its place. What was measured on the old one is forgotten.
    pub fn set_text(&mut self, text: String) {
        if text != self.text {
            self.text = text;
            self.signals.clear();
            self.edits += 1;
        }
    }

    /// How often the text was replaced since the document was read.
    pub(crate) fn edits(&self) -> u32 {
        self.edits
    }

    /// Stores a measurement beside the text. A number that JSON cannot hold (NaN, infinite) is left out.
    pub fn set_signal(&mut self, name: &str, signal: impl Into<Signal>) {
        let signal = signal.into();
        if matches!(signal, Signal::Number(number) if !number.is_finite()) {
            self.signals.remove(name);
            return;
        }
        if let Some(there) = self.signals.get_mut(name) {
            *there = signal;
        } else {
            self.signals.insert(name.into(), signal);
        }
    }

    /// A number that was measured, if it was.
    pub fn number(&self, name: &str) -> Option<f64> {
        match self.signals.get(name)? {
            Signal::Number(number) => Some(*number),
            Signal::Text(_) => None,
        }
    }

    /// A label that was given, if it was.
    pub fn label(&self, name: &str) -> Option<&str> {
        match self.signals.get(name)? {
            Signal::Text(text) => Some(text),
            Signal::Number(_) => None,
        }
    }

    /// A number that was measured before, or is measured now and kept.
    pub fn number_or(&mut self, name: &str, measure: impl FnOnce(&str) -> f64) -> f64 {
        if let Some(number) = self.number(name) {
            return number;
        }
        let number = measure(&self.text);
        self.set_signal(name, number);
        number
    }

    /// Everything that was measured, by name.
    pub fn signals(&self) -> &BTreeMap<String, Signal> {
        &self.signals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_a_line_that_others_read() {
        let mut document = Document::new("a/1", "It rains.\n");
        document.source = "notes".into();
        document.metadata.insert("url".into(), "https://example.org".into());
        document.set_signal("words", 2.0);
        document.set_signal("language", "en");
        let line = serde_json::to_string(&document).unwrap();
        assert_eq!(
            line,
            r#"{"id":"a/1","text":"It rains.\n","source":"notes","metadata":{"url":"https://example.org"},"signals":{"language":"en","words":2.0}}"#
        );
        assert_eq!(serde_json::from_str::<Document>(&line).unwrap(), document);
    }

    #[test]
    fn a_measurement_is_of_the_text_that_is_there() {
        let mut document = Document::new("a", "one two");
        let words = |text: &str| text.split_whitespace().count() as f64;
        assert_eq!(document.number_or("words", words), 2.0);
        assert_eq!(document.number_or("words", |_| 7.0), 2.0, "it is not measured twice");
        document.set_text("one two".into());
        assert_eq!(document.number("words"), Some(2.0), "the same text");
        document.set_text("one".into());
        assert_eq!(document.number("words"), None);
        assert_eq!(document.number_or("words", words), 1.0);
        document.set_signal("words", f64::NAN);
        assert!(document.signals().is_empty());
    }
}
