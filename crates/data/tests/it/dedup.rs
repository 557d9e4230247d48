//! Deduplication and decontamination as stages of a recipe: planted copies are found, nothing else is, on any number of threads and
//! in little memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::{Value, json};
use tsumugi_base::progress::Silent;
use tsumugi_base::rng::{Key, Stream};
use tsumugi_base::testing::temporary_folder;
use tsumugi_data::corpus::{self, Options};
use tsumugi_data::dedup::shingles::{Cutting, jaccard, set, shingles};
use tsumugi_files::{Gate, OpenFolder, Refusal};
use tsumugi_tokenizer::train::byte_tokenizer;

use crate::corpus::{documents, options, recipe, run};

struct Ran {
    kept: Vec<Value>,
    dropped: Vec<Value>,
    report: Option<Value>,
}

impl Ran {
    fn kept_ids(&self) -> Vec<&str> {
        self.kept.iter().map(|document| document["id"].as_str().unwrap()).collect()
    }

    fn dropped_ids(&self) -> BTreeSet<&str> {
        self.dropped.iter().map(|document| document["id"].as_str().unwrap()).collect()
    }
}

/// Runs a stage over texts twice, alone and on many threads with as little memory as may be, and checks that nothing differs.
fn run_stage(stage: &str, lines: &[Value]) -> Ran {
    let folder = temporary_folder();
    let input = folder.path().join("input.jsonl");
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    fs::write(&input, lines.join("\n")).unwrap();
    let benchmark =
        json!({"id": "q1", "question": "What is the answer to", "choices": {"text": ["the whole question", "four"]}});
    fs::write(
        folder.path().join("benchmark.jsonl"),
        format!("{benchmark}\n{{\"id\": \"q2\", \"question\": \"Too short?\"}}\n"),
    )
    .unwrap();
    fs::write(folder.path().join("bytes.json"), byte_tokenizer(&[]).unwrap().to_json()).unwrap();
    let text = format!(
        "shard-bytes = 5000\ndocument-bytes-max = 100000\n[[source]]\nname = 'a'\npaths = ['{}']\ntrust-signals = true\n[[stage]]\n{}",
        input.display(),
        stage.replace("FOLDER", &folder.path().display().to_string())
    );
    let run = |name: &str, threads, memory| {
        let out = folder.path().join(name);
        let options = Options { threads: Some(threads), memory_bytes: Some(memory), ..options(&Silent) };
        corpus::run(&recipe(&text), &out, &options).unwrap();
        let report = fs::read_dir(out.join("stages"))
            .ok()
            .and_then(|mut entries| entries.next())
            .map(|entry| serde_json::from_slice(&fs::read(entry.unwrap().path()).unwrap()).unwrap());
        let dropped = if out.join("dropped").exists() { documents(&out.join("dropped")) } else { Vec::new() };
        Ran { kept: documents(&out.join("documents")), dropped, report }
    };
    let (one, other) = (run("one", 1, 1 << 30), run("other", 3, 80 << 20));
    assert_eq!((&one.kept, &one.dropped, &one.report), (&other.kept, &other.dropped, &other.report));
    one
}

fn line(id: &str, text: &str) -> Value {
    json!({ "id": id, "text": text })
}

/// A word of letters: numbers are all the same to near duplicates.
fn word(stream: &mut Stream) -> String {
    (0..4).map(|_| char::from(b'a' + stream.below(26) as u8)).collect()
}

fn words(stream: &mut Stream, count: u64) -> Vec<String> {
    (0..count).map(|_| word(stream)).collect()
}

#[test]
fn of_equal_texts_the_one_that_the_rule_says_stays() {
    let scored = |id: &str, text: &str, score: f64| json!({"id": id, "text": text, "signals": {"score": score}});
    let lines =
        [scored("a", "same", 1.0), scored("b", "other", 0.0), scored("c", "same", 3.0), scored("d", "same", -1.0)];
    for (keep, expected) in [("first", ["a", "b"]), ("longest", ["a", "b"]), ("best:score", ["b", "c"])] {
        let ran = run_stage(&format!("kind = 'exact-duplicates'\nkeep = '{keep}'"), &lines);
        assert_eq!(ran.kept_ids(), expected, "{keep}");
        assert!(ran.dropped.iter().all(|document| document["dropped"]["rule"] == "exact_duplicate"));
    }
    assert_eq!(run_stage("kind = 'bloom-duplicates'", &lines).kept_ids(), ["a", "b"]);
}

#[test]
fn lines_and_paragraphs_that_stood_before_are_taken_out() {
    let lines =
        [line("a", "menu\none\n\ntwo\nthree"), line("b", "menu\nfour\n\ntwo\nthree\n"), line("c", " menu\n\nmenu \n")];
    for kind in ["exact-duplicates", "bloom-duplicates"] {
        let ran = run_stage(&format!("kind = '{kind}'\nunit = 'line'"), &lines);
        let texts: Vec<&str> = ran.kept.iter().map(|document| document["text"].as_str().unwrap()).collect();
        assert_eq!(texts, ["menu\none\n\ntwo\nthree", "four\n\n"]);
        assert_eq!(ran.kept[1]["signals"]["duplicate_lines"], 3.0);
        assert_eq!(ran.dropped[0]["dropped"]["rule"], "duplicate_lines");
        let ran = run_stage(&format!("kind = '{kind}'\nunit = 'paragraph'\nbytes-min = 5"), &lines);
        let texts: Vec<&str> = ran.kept.iter().map(|document| document["text"].as_str().unwrap()).collect();
        assert_eq!(texts, ["menu\none\n\ntwo\nthree", "menu\nfour\n\n", " menu\n\nmenu \n"]);
    }
}

/// Documents of 200 words, of which every third is a copy with so many words changed. Gives them and how alike each pair is.
fn near_copies(copies: usize, changed: &[u64]) -> Vec<Value> {
    let mut stream = Stream::new(Key::from_seed(11));
    let mut lines = Vec::new();
    for copy in 0..copies {
        let mut original = words(&mut stream, 200);
        lines.push(line(&format!("{copy}-original"), &original.join(" ")));
        lines.push(line(&format!("{copy}-other"), &words(&mut stream, 150).join(" ")));
        for _ in 0..changed[copy % changed.len()] {
            let place = stream.below(200) as usize;
            original[place] = word(&mut stream);
        }
        lines.push(line(&format!("{copy}-copy"), &original.join(" ").to_uppercase()));
    }
    lines
}

fn similarity(lines: &[Value], copy: usize) -> f64 {
    let of = |line: &Value| set(&shingles(line["text"].as_str().unwrap(), 5, Cutting::Simplified));
    jaccard(&of(&lines[3 * copy]), &of(&lines[3 * copy + 2]))
}

#[test]
fn near_copies_are_found_and_nothing_else_is() {
    let copies = 120;
    let lines = near_copies(copies, &[0, 1, 3, 40]);
    let ran = run_stage("kind = 'near-duplicates'", &lines);
    let expected: BTreeSet<usize> = (0..copies).filter(|&copy| similarity(&lines, copy) > 0.8).collect();
    let found: BTreeSet<usize> =
        ran.dropped_ids().iter().map(|id| id.split_once('-').unwrap().0.parse().unwrap()).collect();
    assert!(ran.dropped_ids().iter().all(|id| id.ends_with("-copy")), "the first stays");
    let both = found.intersection(&expected).count() as f64;
    let (precision, recall) = (both / found.len() as f64, both / expected.len() as f64);
    assert!(precision >= 0.95 && recall >= 0.95, "precision {precision}, recall {recall}");
    assert!(expected.len() >= 80 && expected.len() < copies, "{} of {copies} are alike", expected.len());
    // Verified, none that is less alike than asked for is found, and of those that share a bucket none is lost.
    let ran = run_stage("kind = 'near-duplicates'\njaccard-min = 0.9\nbuckets = 40\nhashes = 4", &lines);
    let alike: BTreeSet<String> =
        (0..copies).filter(|&copy| similarity(&lines, copy) >= 0.9).map(|copy| format!("{copy}-copy")).collect();
    assert_eq!(ran.dropped_ids(), alike.iter().map(String::as_str).collect());
    assert!(alike.len() < expected.len());
}

#[test]
fn plain_words_tell_records_apart_by_their_numbers() {
    let records = ["12 Low Street, Perth 6000", "97 Low Street, Perth 6158"].map(|record| line(&record[..2], record));
    let dropped =
        |words: &str| run_stage(&format!("kind = 'near-duplicates'\nngram = 2\n{words}"), &records).dropped.len();
    assert_eq!([dropped(""), dropped("words = 'simplified'"), dropped("words = 'plain'")], [1, 1, 0]);
}

#[test]
fn clusters_are_told_and_the_longest_may_stay() {
    let text = words(&mut Stream::new(Key::from_seed(1)), 300).join(" ");
    let lines = [
        line("a", &text),
        line("b", "something else that is long enough"),
        line("c", &format!("{text} more")),
        line("d", &text),
    ];
    for kind in ["near-duplicates", "simhash-duplicates"] {
        let ran = run_stage(&format!("kind = '{kind}'\nkeep = 'longest'"), &lines);
        assert_eq!(ran.kept_ids(), ["b", "c"], "{kind}");
        let name = if kind == "near-duplicates" { "minhash" } else { "simhash" };
        for document in ran.dropped.iter().chain(&ran.kept[1..]) {
            assert_eq!(document["metadata"][format!("{name}_cluster")], 0);
            assert_eq!(document["metadata"][format!("{name}_cluster_size")], 3);
        }
        assert!(ran.kept[0].get("metadata").is_none(), "it is alone");
        assert_eq!(run_stage(&format!("kind = '{kind}'\nkeep = 'all'"), &lines).kept_ids(), ["a", "b", "c", "d"]);
    }
}

#[test]
fn close_fingerprints_are_found_as_by_comparing_all() {
    use tsumugi_data::dedup::simhash::fingerprint;
    let lines = near_copies(60, &[0, 2, 6, 20]);
    let print = |line: &Value| fingerprint(&shingles(line["text"].as_str().unwrap(), 3, Cutting::Simplified)).unwrap();
    let prints: Vec<u64> = lines.iter().map(print).collect();
    for distance in [0, 3, 8] {
        let ran = run_stage(&format!("kind = 'simhash-duplicates'\nkeep = 'all'\ndistance-max = {distance}"), &lines);
        let mut labels: Vec<usize> = (0..lines.len()).collect();
        for _ in 0..8 {
            for (a, b) in (0..lines.len()).flat_map(|a| (0..a).map(move |b| (a, b))) {
                if (prints[a] ^ prints[b]).count_ones() <= distance {
                    let least = labels[a].min(labels[b]);
                    (labels[a], labels[b]) = (least, least);
                }
            }
        }
        let found: Vec<usize> = (0..lines.len())
            .map(|place| ran.kept[place]["metadata"]["simhash_cluster"].as_u64().map_or(place, |first| first as usize))
            .collect();
        assert_eq!(found, labels, "distance {distance}");
        assert!(labels.iter().enumerate().any(|(place, label)| place != *label));
    }
}

#[test]
fn long_parts_that_stood_before_are_cut_out() {
    let mut stream = Stream::new(Key::from_seed(2));
    let mut prose = |count| words(&mut stream, count).join(" ");
    let (common, own, other) = (prose(60), prose(40), prose(40));
    let lines = [
        line("a", &format!("{own} {common}")),
        line("b", &format!("ünïcöde {common} — {other}")),
        line("c", &common),
        line("d", &other[..150]),
    ];
    let ran = run_stage("kind = 'repeated-substrings'", &lines);
    assert_eq!(ran.kept_ids(), ["a", "b", "d"], "parts of fewer than 200 bytes may be repeated");
    assert_eq!(ran.kept[0]["text"].as_str().unwrap(), format!("{own} {common}"), "the first stays");
    // The blank before it is part of what is repeated.
    assert_eq!(ran.kept[1]["text"].as_str().unwrap(), format!("ünïcöde — {other}"));
    assert_eq!(ran.dropped[0]["dropped"]["rule"], "repeated_substrings");
    let ran = run_stage("kind = 'repeated-substrings'\naction = 'drop'\nshare-min = 0.9", &lines);
    assert_eq!(ran.dropped_ids(), BTreeSet::from(["c"]));
    assert_eq!(ran.kept[1]["signals"]["repeated_bytes"].as_f64().unwrap(), common.len() as f64 + 1.0);
}

/// Documents in two runs, the second against the keys of the first: what both keep is what one run keeps of all.
#[test]
fn what_another_run_kept_is_a_duplicate() {
    let is_copy = |line: &Value| line["id"].as_str().unwrap().ends_with("-copy");
    let (copies, mut texts): (Vec<Value>, Vec<Value>) = near_copies(60, &[0, 1, 60]).into_iter().partition(is_copy);
    let same: Vec<Value> = texts[..20].to_vec();
    let half = texts.len() + 20;
    texts.extend([copies, same].concat());
    for (kind, settings) in [
        ("exact-duplicates", ""),
        ("exact-duplicates", "unit = 'line'"),
        ("near-duplicates", ""),
        ("near-duplicates", "jaccard-min = 0.7"),
        ("simhash-duplicates", ""),
    ] {
        let folder = temporary_folder();
        let run_on = |name: &str, lines: &[Value], more: &str| {
            let input = folder.path().join(format!("{name}.jsonl"));
            fs::write(&input, lines.iter().map(|line| line.to_string() + "\n").collect::<String>()).unwrap();
            let out = folder.path().join(name);
            let text = format!(
                "shard-bytes = 5000\n[[source]]\nname = 'a'\npaths = ['{}']\n[[stage]]\nkind = '{kind}'\n{settings}\n{more}",
                input.display()
            );
            run(&text, &out).map(|_| documents(&out.join("documents")))
        };
        let (first, second) = texts.split_at(half);
        let all = run_on("all", &texts, "").unwrap();
        let mut kept = run_on("first", first, "save-keys = true").unwrap();
        let keys = format!("'{}/first/stages/01-{kind}.keys'", folder.path().display());
        let new = run_on("second", second, &format!("save-keys = true\nagainst = [{keys}]")).unwrap();
        assert!(!new.is_empty() && new.len() < run_on("alone", second, "").unwrap().len(), "{kind} {settings}");
        kept.extend(new);
        let text = |lines: &[Value]| lines.iter().map(|line| line["text"].clone()).collect::<Vec<_>>();
        assert_eq!(text(&kept), text(&all), "{kind} {settings}");
        // A third run of what both had finds nothing new.
        let both = format!("against = [{keys}, '{}/second/stages/01-{kind}.keys']", folder.path().display());
        assert_eq!(run_on("third", &texts, &both).unwrap(), [json!(null); 0], "{kind} {settings}");
        let error = run_on("wrong", first, "against = ['Cargo.toml']").unwrap_err();
        assert!(error.to_string().contains("Cargo.toml: it is no file of keys"), "{error}");
        let other = if kind.starts_with("exact") { "near-duplicates" } else { "exact-duplicates" };
        let text = format!(
            "[[source]]\nname = 'a'\npaths = ['Cargo.toml']\nformat = 'text'\n[[stage]]\nkind = '{other}'\nagainst = [{keys}]"
        );
        let error = run(&text, &folder.path().join("other")).unwrap_err();
        assert!(error.to_string().contains(&format!("it has the keys for \"{kind}\"")), "{error}");
    }
}

const DECONTAMINATE: &str = "kind = 'decontaminate'\nn = 6\nbenchmarks = [{ name = 'b', paths = ['FOLDER/benchmark.jsonl'], fields = ['question', 'choices'] }]\n";

#[test]
fn texts_of_a_benchmark_are_found_and_what_is_too_short_is_told() {
    let hit = "He asked: WHAT is the answer, to the (whole) question? Nobody knew.";
    let mut lines: Vec<Value> =
        (0..4).map(|index| line(&index.to_string(), "What is the answer to it? Nothing at all.")).collect();
    lines.push(line("hit", hit));
    let ran = run_stage(&format!("{DECONTAMINATE}action = 'drop'"), &lines);
    assert_eq!(ran.dropped_ids(), BTreeSet::from(["hit"]));
    assert_eq!(ran.dropped[0]["dropped"]["rule"], "contaminated");
    let report = &ran.report.unwrap()[0];
    assert_eq!((&report["name"], &report["items"], &report["undecidable"]), (&json!("b"), &json!(2), &json!(["q2"])));
    assert_eq!(report["contaminated"], json!([{"id": "q1", "ngrams": 4, "found": 3, "documents": ["hit"]}]));
    let ran = run_stage(&format!("{DECONTAMINATE}action = 'report'"), &lines);
    assert_eq!((ran.kept.len(), &ran.kept[4]["signals"]["benchmark_ngrams"]), (5, &json!(3.0)));
}

#[test]
fn tokens_may_be_compared_and_the_length_follow_the_benchmark() {
    let lines = [line("case", "What is THE answer to it?"), line("same", "So: What is the answer to")];
    let ran = run_stage(&DECONTAMINATE.replace("n = 6", "n = 20\ntokenizer = 'FOLDER/bytes.json'"), &lines);
    assert_eq!(ran.dropped_ids(), BTreeSet::from(["same"]), "bytes are compared as they are");
    let report = &ran.report.unwrap()[0];
    assert_eq!((&report["n"], &report["undecidable"]), (&json!(20), &json!(["q2"])));
    let ran = run_stage(&DECONTAMINATE.replace("n = 6", "n = 'percentile'"), &lines);
    assert_eq!(ran.report.unwrap()[0]["n"], 8);
    let folder = temporary_folder();
    fs::write(folder.path().join("benchmark.jsonl"), "{\"question\": \"a\"}").unwrap();
    for (settings, expected) in [
        ("n = 0", "`n` is 0, but must be from 1 to 256, or \"percentile\""),
        ("n = 'all'", "`n` is \"all\", but"),
        ("tokenizer = 'no/such'", "no/such"),
    ] {
        let stage = DECONTAMINATE.replace("n = 6", settings).replace("FOLDER", &folder.path().display().to_string());
        let text = format!("[[source]]\nname = 'a'\npaths = ['Cargo.toml']\nformat = 'text'\n[[stage]]\n{stage}");
        let error = run(&text, &folder.path().join("out")).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// A gate that lets nothing through.
struct Closed;

impl Gate for Closed {
    fn check(&self, folder: &OpenFolder) -> Result<(), Refusal> {
        let next_step = Some("sign it".into());
        Err(Refusal { path: folder.path().to_owned(), reason: "nobody signed it".into(), next_step })
    }
}

#[test]
fn a_tokenizer_of_a_stage_passes_the_gate_as_any_model() {
    let folder = temporary_folder();
    fs::write(folder.path().join("benchmark.jsonl"), "{\"question\": \"a\"}").unwrap();
    byte_tokenizer(&[]).unwrap().save(folder.path()).unwrap();
    let path = folder.path().display();
    for tokenizer in [format!("{path}"), format!("{path}/tokenizer.json")] {
        let stage = DECONTAMINATE.replace("n = 6", &format!("n = 6\ntokenizer = '{tokenizer}'"));
        let stage = stage.replace("FOLDER", &path.to_string());
        let text = format!("[[source]]\nname = 'a'\npaths = ['Cargo.toml']\nformat = 'text'\n[[stage]]\n{stage}");
        let out = folder.path().join("out");
        let closed = Options { gate: &Closed, ..options(&Silent) };
        let error = corpus::run(&recipe(&text), &out, &closed).unwrap_err().to_string();
        assert!(error.contains("stage 1, `decontaminate`") && error.contains("nobody signed it (sign it)"), "{error}");
        assert!(!out.exists());
        run(&text, &out).unwrap();
        fs::remove_dir_all(&out).unwrap();
    }
}

#[test]
fn a_phrase_of_many_documents_is_no_sign_of_a_benchmark() {
    let lines: Vec<Value> = (0..5)
        .map(|index| line(&index.to_string(), "What is the answer to the next? What is the answer to the next?"))
        .collect();
    assert!(run_stage(&format!("{DECONTAMINATE}documents-max = 4"), &lines).dropped.is_empty());
    let folder = temporary_folder();
    let missing = DECONTAMINATE.replace("FOLDER", &folder.path().display().to_string());
    fs::write(folder.path().join("a.txt"), "text").unwrap();
    let text = format!("[[source]]\nname = 'a'\npaths = ['{}/a.txt']\n[[stage]]\n{missing}", folder.path().display());
    let error = run(&text, &folder.path().join("out")).unwrap_err().to_string();
    assert!(error.contains("stage 1, `decontaminate`") && error.contains("benchmark.jsonl"), "{error}");
}

#[test]
fn what_is_cut_takes_its_surroundings_along() {
    let far = "far away text ".repeat(60);
    let text = format!("{far}He asked: what is the answer to the whole question? {far}");
    let ran = run_stage(
        &format!("{DECONTAMINATE}action = 'cut'"),
        &[line("a", &text), line("b", "What is the answer to the whole question?")],
    );
    assert_eq!((ran.kept_ids(), ran.dropped_ids()), (vec!["a"], BTreeSet::from(["b"])));
    let cut = ran.kept[0]["text"].as_str().unwrap();
    assert!(
        !cut.contains("answer") && cut.len() < text.len() - 400 && cut.len() > text.len() - 480,
        "{} of {}",
        cut.len(),
        text.len()
    );
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let folder = temporary_folder();
    fs::write(folder.path().join("a.txt"), "text").unwrap();
    let wrong: BTreeMap<&str, &str> = BTreeMap::from([
        ("kind = 'exact-duplicates'\nkeep = 'all'", "one must go"),
        ("kind = 'exact-duplicates'\nunit = 'word'", "word"),
        ("kind = 'bloom-duplicates'\nfalse-positive-rate = 0.0", "from 1e-15"),
        ("kind = 'near-duplicates'\nkeep = 'last'", "best:SIGNAL"),
        ("kind = 'near-duplicates'\nhashes = 0", "from 1 to 256"),
        ("kind = 'near-duplicates'\njaccard-min = 1.5", "from 0 to 1"),
        ("kind = 'simhash-duplicates'\ndistance-max = 9", "at most 8"),
        ("kind = 'repeated-substrings'\nbytes-min = 63", "from 64"),
        ("kind = 'repeated-substrings'\nshare-min = 0.5", "for `action"),
        ("kind = 'decontaminate'\nn = 0\nbenchmarks = []", "from 1 to 256"),
    ]);
    for (stage, problem) in wrong {
        let text = format!("[[source]]\nname = 'a'\npaths = ['{}/a.txt']\n[[stage]]\n{stage}", folder.path().display());
        let error = run(&text, &folder.path().join("out")).unwrap_err().to_string();
        assert!(error.contains(problem), "{stage}: {error}");
    }
}
