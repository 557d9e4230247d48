//! Cleaning as stages of a recipe: what goes on is clean, what is dropped says why.

use std::fs;

use serde_json::{Value, json};
use tsumugi_base::progress::Silent;
use tsumugi_base::testing::temporary_folder;
use tsumugi_classical::ngram::{self, TrainOptions};

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
fn an_ngram_model_tells_prose_from_the_rest() {
    let folder = temporary_folder();
    let (text, model) = (folder.path().join("text.txt"), folder.path().join("m.ngram"));
    fs::write(&text, include_str!("../../../../../data/tinyshakespeare/input.txt")).unwrap();
    let settings = TrainOptions {
        order: 3,
        prune: vec![],
        discount_fallback: None,
        skip_symbols: true,
        memory_bytes: 64 << 20,
        threads: 2,
        scratch_folder: folder.path().to_owned(),
    };
    ngram::train(&[text], &settings, &Silent).unwrap().write_model(&model, &Silent).unwrap();
    let prose = "To be, or not to be: that is the question:\nWhether it is nobler in the mind to suffer.";
    let rest = "zx81 0x00 qqq 7f 45 4c 46\nlorem 1 2 3 4 5 6 7";
    let stages = format!("[[stage]]\nkind = 'perplexity'\nmodel = '{}'\nmax = 2000.0\n", model.display());
    let (kept, dropped) = run_stages(&stages, &[prose, rest, " "]);
    assert_eq!([kept.len(), dropped.len()], [2, 1], "{dropped:?}");
    assert!(kept[0]["signals"]["perplexity"].as_f64().unwrap() < 2000.0);
    assert_eq!(dropped[0]["dropped"]["rule"], "perplexity_high");
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
