//! Topics by lists, and texts by how well they are predicted.

use tsumugi_data::clean::perplexity::{Predict, perplexity};
use tsumugi_data::clean::topics::Topic;

#[test]
fn phrases_are_whole_words_whatever_their_case() {
    let topic = Topic::new("# a comment\nnerve agent\n\nNerve\nvirus\nÜbung");
    assert_eq!(topic.len(), 4);
    let matches = topic.find("A NERVE-agent; nerves, the nerve. Antivirus, ÜBUNG!");
    let found: Vec<_> = matches.phrases.iter().map(|(phrase, count)| (phrase.as_str(), *count)).collect();
    assert_eq!(found, [("Nerve", 1), ("nerve agent", 1), ("Übung", 1)], "the longest of those that begin at a word");
    assert_eq!((matches.count(), matches.words), (3, 8));
    assert_eq!(matches.per_thousand(), 375.0);
    assert_eq!(topic.find("").per_thousand(), 0.0);
}

/// Every character is one of 256.
struct Uniform;

impl Predict for Uniform {
    fn nats(&self, text: &str) -> (f64, u64) {
        let tokens = text.len() as u64;
        (tokens as f64 * 256f64.ln(), tokens)
    }
}

#[test]
fn perplexity_is_per_token() {
    assert!((perplexity(&Uniform, "any text").unwrap() - 256.0).abs() < 1e-9);
    assert_eq!(perplexity(&Uniform, ""), None);
}
