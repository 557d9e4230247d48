//! Documents by how well an n-gram model predicts them: CCNet's way to tell prose from the rest (Wenzek et al. 2020).

use std::path::PathBuf;

use serde::Deserialize;
use tsumugi_classical::ngram::NgramModel;

use crate::Document;
use crate::corpus::{DocumentStage, Verdict};

/// Measures the perplexity of each document, a sentence a line, under the name `signal`; drops what lies outside of the
/// bounds. A text without a word has none, and stays for a rule of length.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Settings")]
pub(super) struct Perplexity {
    ngrams: NgramModel,
    settings: Settings,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// What `tsumugi ngram train` wrote, or an ARPA file.
    model: PathBuf,
    /// The signal's name.
    #[serde(default = "default_signal")]
    signal: String,
    /// The least perplexity that stays: what is below is a template or a list.
    min: Option<f64>,
    /// The most: what is above is no text of this language.
    max: Option<f64>,
}

fn default_signal() -> String {
    "perplexity".into()
}

impl TryFrom<Settings> for Perplexity {
    type Error = String;

    fn try_from(settings: Settings) -> Result<Self, String> {
        let ngrams = NgramModel::open(&settings.model).map_err(|error| error.to_string())?;
        Ok(Self { ngrams, settings })
    }
}

impl DocumentStage for Perplexity {
    fn apply(&self, document: &mut Document) -> Verdict {
        let Settings { signal, min, max, .. } = &self.settings;
        if document.text().trim().is_empty() {
            return Verdict::Keep;
        }
        let perplexity = document.number_or(signal, |text| self.ngrams.score(text).perplexity());
        if min.is_some_and(|least| perplexity < least) {
            return Verdict::drop(format!("{signal}_low"));
        }
        if max.is_some_and(|most| perplexity > most) {
            return Verdict::drop(format!("{signal}_high"));
        }
        Verdict::Keep
    }

    fn inputs(&self) -> Vec<PathBuf> {
        vec![self.settings.model.clone()]
    }
}
