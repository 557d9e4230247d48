//! `tsumugi ngram ...`

use tsumugi_base::testing::temporary_folder;

use crate::support::{tsumugi, tsumugi_with_input};

const TEXT: &str = "the cat sat\nthe dog sat\na cat ran\nthe cat sat down\n";

#[test]
fn train_query_perplexity() {
    let folder = temporary_folder();
    let path = folder.path();
    std::fs::write(path.join("text.txt"), TEXT).unwrap();
    let train = ["ngram", "train", "text.txt", "--order", "3", "--discount-fallback", "--memory", "64M"];
    let arguments: Vec<&str> = train.iter().copied().chain(["--out", "m.ngram", "--out", "m.arpa", "--json"]).collect();
    let trained = tsumugi(path, &arguments).json();
    assert_eq!((&trained["tokens"], &trained["sentences"]), (&13.into(), &4.into()));
    assert_eq!(trained["orders"][0]["kept"], 10, "7 words and 3 that stand for something: {trained}");
    assert!(std::fs::read_to_string(path.join("m.arpa")).unwrap().starts_with("\\data\\\nngram 1=10\n"));

    let answers = tsumugi_with_input(path, &["ngram", "query", "m.ngram"], "the cat\nthe cow\n");
    let lines: Vec<&str> = answers.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{}", answers.stdout);
    assert!(lines[0].starts_with("the=3 2 -") && lines[0].ends_with("OOV: 0"), "{}", lines[0]);
    assert!(lines[1].contains("\tcow=0 1 -") && lines[1].ends_with("OOV: 1"), "{}", lines[1]);
    let same = tsumugi(path, &["ngram", "query", "m.arpa", "the cat", "the cow"]);
    assert_eq!(same.stdout, answers.stdout);
    let json = tsumugi(path, &["ngram", "query", "m.arpa", "the cat", "--json"]).json();
    assert_eq!((&json["words"][1]["word"], &json["words"][1]["ngram_length"]), (&"cat".into(), &3.into()));

    let measured = tsumugi(path, &["ngram", "perplexity", "m.ngram", "text.txt", "--json"]).json();
    assert_eq!((&measured["tokens"], &measured["oov"]), (&17.into(), &0.into()));
    assert_eq!(measured["perplexity"], measured["perplexity_excluding_oov"]);
    assert!(measured["perplexity"].as_f64().unwrap() < 10.0, "it knows the text: {measured}");
}

#[test]
fn what_cannot_be_done_is_told() {
    let folder = temporary_folder();
    let path = folder.path();
    std::fs::write(path.join("text.txt"), TEXT).unwrap();
    let fails = |arguments: &[&str], expected: &str| {
        let ran = tsumugi(path, arguments);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains(expected) && ran.stderr.contains("hint: "), "{}", ran.stderr);
    };
    let train = ["ngram", "train", "text.txt", "--out", "m.ngram"];
    fails(&train, "no discounts for n-grams of 2 words");
    let with = |more: &[&'static str]| train.iter().copied().chain(more.iter().copied()).collect::<Vec<_>>();
    fails(&with(&["--discount-fallback", "0.5", "2.5"]), "more than the count");
    fails(&with(&["--prune", "1", "0"]), "the pruning thresholds [1, 0]");
    assert!(!path.join("m.ngram").exists());
    fails(&["ngram", "query", "none.ngram", "a"], "cannot read none.ngram");
    fails(&["ngram", "query", "text.txt", "a"], "text.txt, line 4: no `\\data\\`");
}
