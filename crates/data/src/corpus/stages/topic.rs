//! Documents of a topic left out: [`crate::clean::topics`], with a classifier's word where one is given. What was found stays
//! with the dropped document, so that `dropped/` is the record of what was left out and why.

use std::path::PathBuf;

use serde::Deserialize;

use crate::Document;
use crate::clean::classifier::Classifier;
use crate::clean::topics::Topic;
use crate::corpus::{DocumentStage, Verdict};

/// Measures `topic_NAME_matches`, `topic_NAME_phrases` and `topic_NAME_probability`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Settings")]
pub(super) struct LeaveOutTopic {
    topic: Topic,
    classifier: Option<Classifier>,
    settings: Settings,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// The topic's name: the rule is `topic_NAME`.
    name: String,
    /// A file with a phrase per line.
    list: PathBuf,
    /// The fewest occurrences that count.
    #[serde(default = "one")]
    matches_min: u64,
    /// The fewest occurrences per thousand words that count.
    #[serde(default)]
    per_thousand_words_min: f64,
    /// A classifier that must agree.
    classifier: Option<PathBuf>,
    /// From which probability it does.
    #[serde(default = "half")]
    probability_min: f64,
}

fn one() -> u64 {
    1
}

fn half() -> f64 {
    0.5
}

/// So many phrases are kept with a document.
const PHRASES_KEPT: usize = 8;

impl TryFrom<Settings> for LeaveOutTopic {
    type Error = String;

    fn try_from(settings: Settings) -> Result<Self, String> {
        let topic = Topic::open(&settings.list).map_err(|error| error.to_string())?;
        if topic.is_empty() {
            return Err(format!("{} has no phrases", settings.list.display()));
        }
        let classifier = settings.classifier.as_deref().map(Classifier::open).transpose();
        Ok(Self { topic, classifier: classifier.map_err(|error| error.to_string())?, settings })
    }
}

impl DocumentStage for LeaveOutTopic {
    fn apply(&self, document: &mut Document) -> Verdict {
        let Settings { name, matches_min, per_thousand_words_min, probability_min, .. } = &self.settings;
        let matches = self.topic.find(document.text());
        if matches.count() == 0 {
            return Verdict::Keep;
        }
        let phrases: Vec<&str> = matches.phrases.keys().take(PHRASES_KEPT).map(String::as_str).collect();
        let phrases = phrases.join("; ");
        document.set_signal(&format!("topic_{name}_matches"), matches.count() as f64);
        document.set_signal(&format!("topic_{name}_phrases"), phrases.as_str());
        let is_listed = matches.count() >= *matches_min && matches.per_thousand() >= *per_thousand_words_min;
        let Some(classifier) = self.classifier.as_ref().filter(|_| is_listed) else {
            return if is_listed { Verdict::drop(format!("topic_{name}")) } else { Verdict::Keep };
        };
        let probability = classifier.score(document.text());
        document.set_signal(&format!("topic_{name}_probability"), probability);
        if probability >= *probability_min { Verdict::drop(format!("topic_{name}")) } else { Verdict::Keep }
    }

    fn inputs(&self) -> Vec<PathBuf> {
        [Some(&self.settings.list), self.settings.classifier.as_ref()].into_iter().flatten().cloned().collect()
    }
}
