//! Cleaning as stages of a recipe: what goes on is clean, what is dropped says why.

use std::fs;

use serde_json::{Value, json};
use tsumugi_base::testing::temporary_folder;

use crate::corpus::{documents, run};

fn run_stages(stages: &str, texts: &[&str]) -> (Vec<Value>, Vec<Value>) {
    let folder = temporary_folder();
    let lines: Vec<String> =
        texts.iter().enumerate().map(|(id, text)| json!({ "id": id.to_string(), "text": text }).to_string()).collect();
    let input = folder.path().join("input.jsonl");
    fs::write(&input, lines.join("\n")).expect("it is written and run");
    fs::write(folder.path().join("topic.txt"), "nerve agent\n").expect("it is written and run");
    let stages = stages.replace("FOLDER", &folder.path().display().to_string());
    let out = folder.path().join("out");
    run(&format!("[[source]]\nname = 'a'\npaths = ['{}']\n{stages}", input.display()), &out)
        .expect("it is written and run");
    (documents(&out.join("documents")), documents(&out.join("dropped")))
}

const PROSE: &str = "The cat sat on the mat and looked at a bird that was to be with it for the rest of the day. ";

#[test]
fn a_text_is_repaired_masked_and_judged() {
    let dirty = format!("Itâ€™s fine.\r\n{PROSE}\nMail ann@example.org, please.\n{}", "It ended here. ".repeat(5));
    let stages = "[[stage]]\nkind = 'repair'\n[[stage]]\nkind = 'mask'\n[[stage]]\nkind = 'filters'\n\
        rules = ['c4_quality', 'gopher_quality']\nthresholds = { gopher_short_doc = 30 }\n\
        [[stage]]\nkind = 'language'\nkeep = ['en']\n";
    let german = "Alle Menschen sind frei und gleich an Würde und Rechten geboren. ".repeat(10);
    let (kept, dropped) = run_stages(stages, &[&dirty, "Too short.", &german]);
    assert_eq!(kept.len(), 1, "{dropped:?}");
    let text = kept[0]["text"].as_str().unwrap();
    assert!(text.contains("Mail <email>, please.") && !text.contains("It’s fine"), "two words are no line: {text}");
    assert_eq!(kept[0]["signals"]["language"], "en");
    assert!(kept[0]["signals"]["gopher_words"].as_f64().unwrap() >= 30.0);
    let rules: Vec<_> = dropped.iter().map(|document| document["dropped"]["rule"].as_str().unwrap()).collect();
    assert_eq!(rules, ["too_few_sentences", "gopher_enough_stop_words"]);
}

#[test]
fn a_topic_leaves_what_was_found_with_the_dropped() {
    let stages = "[[stage]]\nkind = 'topic'\nname = 'weapons'\nlist = 'FOLDER/topic.txt'\nmatches-min = 2\n";
    let (kept, dropped) = run_stages(stages, &["A nerve agent.", "A nerve agent is a nerve-agent.", "Nothing of it."]);
    assert_eq!(kept.len(), 2);
    assert_eq!(kept[0]["signals"]["topic_weapons_matches"], 1.0);
    assert_eq!(dropped[0]["dropped"]["rule"], "topic_weapons");
    assert_eq!(dropped[0]["signals"]["topic_weapons_phrases"], "nerve agent");
}
