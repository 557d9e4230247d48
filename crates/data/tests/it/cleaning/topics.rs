//! Topics by lists.

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
