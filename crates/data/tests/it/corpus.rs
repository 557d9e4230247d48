//! The corpus pipeline: what goes in, what comes out, and that neither threads nor kills change it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tsumugi_base::Hint;
use tsumugi_base::communicator::{Alone, Communicator};
use tsumugi_base::progress::{Event, Observer, Silent};
use tsumugi_base::rng::{Key, Stream};
use tsumugi_base::testing::{ranks, repository_root, temporary_folder};
use tsumugi_data::corpus::{self, CorpusError, Options, Outcome, Recipe};
use tsumugi_data::{TokenShards, pack_text};
use tsumugi_files::NoScan;
use tsumugi_tokenizer::train::byte_tokenizer;

pub fn options(observer: &dyn Observer) -> Options<'_> {
    Options {
        threads: Some(2),
        memory_bytes: Some(1 << 30),
        strict: false,
        command: Vec::new(),
        gate: &NoScan { reason: "the tests wrote it" },
        tokenizer: None,
        ranks: &Alone,
        observer,
    }
}

pub fn recipe(text: &str) -> Recipe {
    let folder = temporary_folder();
    let file = folder.path().join("recipe.toml");
    fs::write(&file, text).unwrap();
    Recipe::read(&file).unwrap()
}

pub fn run(text: &str, out: &Path) -> Result<Outcome, CorpusError> {
    corpus::run(&recipe(text), out, &options(&Silent))
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The documents of a folder of packed files, in order.
pub fn documents(folder: &Path) -> Vec<Value> {
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let lines = |path: &std::path::PathBuf| {
        let bytes = zstd::stream::decode_all(fs::File::open(path).unwrap()).unwrap();
        String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>()
    };
    names.iter().flat_map(lines).collect()
}

pub fn texts(folder: &Path) -> Vec<String> {
    documents(folder).iter().map(|document| document["text"].as_str().unwrap().to_owned()).collect()
}

/// Every file that a run leaves, but for the record of when and where it ran.
fn output(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            match path.is_dir() {
                true => walk(root, &path, found),
                false if name == "run.json" => {}
                false => drop(found.insert(name, fs::read(&path).unwrap())),
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, folder, &mut found);
    found
}

/// Words enough for files of some size: sources, duplicates among them, short ones.
fn write_sources(folder: &Path) {
    let words = ["river", "stone", "night", "water", "light", "house", "field", "winter", "letter", "garden"];
    let mut stream = Stream::new(Key::from_seed(7));
    let mut text = |length: u64| -> String {
        let pick = |stream: &mut Stream| words[stream.below(words.len() as u64) as usize];
        (0..length).map(|_| pick(&mut stream)).collect::<Vec<_>>().join(" ")
    };
    let mut lines = String::new();
    for index in 0..400 {
        let text = if index % 9 == 0 { "the same text in many places".to_owned() } else { text(2 + index % 40) };
        lines.push_str(&json!({"id": format!("line-{index}"), "text": text, "url": "https://example.org"}).to_string());
        lines.push('\n');
    }
    fs::create_dir_all(folder.join("notes/deep")).unwrap();
    fs::write(folder.join("lines.jsonl"), &lines).unwrap();
    fs::write(folder.join("more.jsonl.gz"), gzip(lines[..lines.len() / 2].rsplit_once('\n').unwrap().0.as_bytes()))
        .unwrap();
    for index in 0..40 {
        fs::write(folder.join(format!("notes/deep/{index:03}.txt")), text(30 + index)).unwrap();
    }
}

fn whole_recipe(folder: &Path) -> String {
    format!(
        "seed = 3
        shard-bytes = 4096
        [[source]]
        name = 'lines'
        paths = ['{0}/lines.jsonl', '{0}/*.jsonl.gz']
        weight = 0.5
        [[source]]
        name = 'notes'
        paths = ['{0}/notes']
        license = 'CC0-1.0'
        [[stage]]
        kind = 'length'
        words-min = 5
        [[stage]]
        kind = 'exact-duplicates'
        [[stage]]
        kind = 'threshold'
        signal = 'words'
        max = 60
        [mix]
        temperature = 2.0
        repeats-max = 2.0
        [pack]
        tokenizer = 'bytes'",
        folder.display()
    )
}

fn run_whole(folder: &Path, out: &Path, options: Options<'_>) -> Result<Outcome, CorpusError> {
    run_recipe(&whole_recipe(folder), out, options)
}

fn run_recipe(text: &str, out: &Path, options: Options<'_>) -> Result<Outcome, CorpusError> {
    let tokenizer = byte_tokenizer(&[]).unwrap();
    let options = Options { tokenizer: Some(&tokenizer), ..options };
    corpus::run(&recipe(text), out, &options)
}

#[test]
fn a_whole_run_accounts_for_every_document() {
    let folder = temporary_folder();
    write_sources(folder.path());
    let out = folder.path().join("out");
    let outcome = run_whole(folder.path(), &out, options(&Silent)).unwrap();
    let summary = &outcome.summary;
    let kept = documents(&out.join("documents"));
    let dropped = documents(&out.join("dropped"));
    assert_eq!(summary.kept.documents as usize, kept.len());
    assert_eq!(summary.received.documents as usize, kept.len() + dropped.len());
    assert!(summary.files.len() > 5, "several shards: {}", summary.files.len());
    let rules = |name: &str| dropped.iter().filter(|document| document["dropped"]["rule"] == name).count() as u64;
    for (stage, rule) in [(0, "too_few_words"), (1, "exact_duplicate"), (2, "words_too_high")] {
        let record = &summary.stages[stage].1.rules[rule];
        assert_eq!(record.dropped.documents, rules(rule), "{rule}");
        assert!(record.dropped.documents > 0 && !record.examples.is_empty(), "{rule}");
    }
    // The order is the input's; the first of equal texts stays.
    let ids: Vec<&str> = kept.iter().map(|document| document["id"].as_str().unwrap()).collect();
    assert_eq!(ids[0], "line-0", "the first of the many that are the same");
    let notes: Vec<&&str> = ids.iter().filter(|id| id.starts_with("deep/")).collect();
    assert!(notes.is_sorted() && notes.len() > 10, "{notes:?}");
    assert_eq!(kept[0]["metadata"]["url"], "https://example.org");
    assert_eq!(kept.last().unwrap()["license"], "CC0-1.0");
    assert_eq!(kept[0]["signals"]["words"], 6.0);
    // The mix has what was kept, in another order, and the tokens are those of the mix.
    let mixed = texts(&out.join("mixed"));
    let tokens = TokenShards::open(&out.join("tokens")).unwrap();
    assert_eq!(tokens.documents().len(), mixed.len());
    let direct = pack_text(&mixed, &byte_tokenizer(&[]).unwrap(), &folder.path().join("direct"), &Silent).unwrap();
    assert_eq!(direct.slice(0..direct.len()), tokens.slice(0..tokens.len()));
    assert_eq!(
        fs::read(folder.path().join("direct/index.json")).unwrap(),
        fs::read(out.join("tokens/index.json")).unwrap()
    );
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("exact_duplicate") && page.contains("the same text in many places"));
    let card = fs::read_to_string(out.join("README.md")).unwrap();
    assert!(card.contains("| notes | CC0-1.0 | 40 |"), "{card}");
    assert!(card.contains(&format!("\n{} documents, ", mixed.len())), "what the card names is the mix: {card}");
    assert!(!out.join("work").exists(), "what only a run at work needs is gone");
    assert!(run_whole(folder.path(), &out, options(&Silent)).unwrap().was_finished);
    fs::remove_dir_all(out.join("mixed")).unwrap();
    let error = run_whole(folder.path(), &out, options(&Silent)).unwrap_err();
    assert!(error.to_string().contains("mixed") && error.hint().is_some(), "{error}");
}

#[test]
fn threads_and_memory_do_not_change_a_byte() {
    let folder = temporary_folder();
    write_sources(folder.path());
    let one = folder.path().join("one");
    run_whole(folder.path(), &one, Options { threads: Some(1), ..options(&Silent) }).unwrap();
    let expected = output(&one);
    for (name, threads, memory) in [("four", 4, 1 << 32), ("little", 4, 100 << 20)] {
        let out = folder.path().join(name);
        let options = Options { threads: Some(threads), memory_bytes: Some(memory), ..options(&Silent) };
        run_whole(folder.path(), &out, options).unwrap();
        assert!(output(&out) == expected, "{name}");
    }
    let error = run_whole(
        folder.path(),
        &folder.path().join("none"),
        Options { memory_bytes: Some(1 << 20), ..options(&Silent) },
    );
    let error = error.unwrap_err();
    assert!(
        matches!(error, CorpusError::Memory { .. }) && error.hint().unwrap().contains("--memory at least"),
        "{error}"
    );
}

/// Asks to stop when it was asked so many times.
struct StopAfter(AtomicU64);

impl Observer for StopAfter {
    fn event(&self, _event: &Event) {}

    fn stop_requested(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err()
    }
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bytes() {
    let folder = temporary_folder();
    write_sources(folder.path());
    let whole = folder.path().join("whole");
    run_whole(folder.path(), &whole, options(&Silent)).unwrap();
    let expected = output(&whole);
    let out = folder.path().join("pieces");
    let mut stops = 0;
    loop {
        let observer = StopAfter(AtomicU64::new(150 + 31 * stops));
        let result =
            run_whole(folder.path(), &out, Options { threads: Some(1 + stops as usize % 3), ..options(&observer) });
        match result {
            Ok(outcome) => break assert!(!outcome.was_finished),
            Err(error) => assert!(error.is_stop(), "{error}"),
        }
        stops += 1;
        assert!(stops < 200, "each run comes further");
    }
    assert!(stops >= 5, "it was stopped {stops} times");
    assert!(output(&out) == expected);
}

#[test]
fn what_more_ranks_left_in_a_killed_run_is_removed() {
    let folder = temporary_folder();
    write_sources(folder.path());
    let out = folder.path().join("out");
    let (work, mut stops, mut looked) = (out.join("work/pass-0"), 0, 0);
    let decided = work.join("decided.json");
    while !decided.exists() || looked == 0 {
        if work.exists() && !decided.exists() {
            fs::create_dir_all(work.join("scratch/7")).unwrap();
            fs::write(work.join("scratch/7/sets"), "of a rank that is no more").unwrap();
        }
        let observer = StopAfter(AtomicU64::new(150 + 31 * stops));
        assert!(run_whole(folder.path(), &out, options(&observer)).unwrap_err().is_stop());
        stops += 1;
        if decided.exists() {
            looked += 1;
            assert!(!work.join("scratch").exists());
        }
    }
    assert!(stops > 1, "something was left");
}

#[test]
fn another_recipe_is_refused_with_its_keys() {
    let folder = temporary_folder();
    write_sources(folder.path());
    let out = folder.path().join("out");
    let text = whole_recipe(folder.path());
    // A run that failed before its first shard binds nobody.
    let observer = StopAfter(AtomicU64::new(20));
    let stopped = corpus::run(&recipe(&text), &out, &options(&observer)).unwrap_err();
    assert!(stopped.is_stop());
    assert!(!out.exists(), "the inputs were not even looked at");
    run(&text, &out).unwrap();
    let error = run(&text.replace("words-min = 5", "words-min = 6"), &out).unwrap_err();
    assert!(error.to_string().contains("stage (there "), "{error}");
    fs::write(folder.path().join("lines.jsonl"), "{\"text\": \"other\"}\n").unwrap();
    let error = run(&text, &out).unwrap_err();
    assert!(error.to_string().ends_with("the list or the content of the input files"), "{error}");
    let error = run(&text, &folder.path().join("notes")).unwrap_err();
    assert!(matches!(error, CorpusError::NotARun { .. }), "{error}");
}

#[test]
fn a_recipe_with_a_mistake_says_where() {
    let folder = temporary_folder();
    let file = folder.path().join("recipe.toml");
    let source = "[[source]]\nname = 'a'\npaths = ['.']\n";
    let problem = |text: &str| {
        fs::write(&file, text).unwrap();
        let read = Recipe::read(&file);
        let result = read.and_then(|recipe| corpus::run(&recipe, &folder.path().join("out"), &options(&Silent)));
        let error = result.unwrap_err();
        format!("{error}; {}", error.hint().unwrap_or_default())
    };
    for (text, expected) in [
        ("seed = 1", "missing field `source`"),
        ("sources = 1", "unknown field `sources`"),
        (&format!("{source}weight = 2.0"), "there is no `[mix]` that reads it"),
        (&format!("{source}weight = -1.0\n[mix]"), "must be at least 0"),
        (&format!("{source}{source}"), "two sources are named `a`"),
        (
            &format!("{source}[[stage]]\nkind = 'lenght'"),
            "stage 1: there is no stage `lenght`; the stages are bloom-duplicates, classifier",
        ),
        (&format!("{source}[[stage]]\nwords = 1"), "it has no `kind`"),
        (&format!("{source}[[stage]]\nkind = 'length'\nword-min = 1"), "stage 1, `length`: unknown field `word-min`"),
        (&format!("{source}[[stage]]\nkind = 'threshold'\nsignal = 'x'"), "it has neither `min` nor `max`"),
        (
            &format!("{source}[[stage]]\nkind = 'threshold'\nsignal = 'x'\nmin = nan"),
            "`min` is NaN, but must be finite",
        ),
        (
            &format!("{source}[[stage]]\nkind = 'filters'\nrules = ['fineweb']\nthresholds = {{ x = -inf }}"),
            "`x` is -inf, but must be finite",
        ),
        ("[[source]]\nname = 'a'\npaths = []", "source `a`: `paths` is empty"),
        (&format!("{source}[mix]\ntemperature = 0"), "`mix.temperature` is 0"),
        ("shard-bytes = 1\n[[source]]\nname = 'a'\npaths = ['x']", "`shard-bytes` is 1"),
        ("[[source]]\nname = 'a'\npaths = ['no/such/file']", "source `a`: no file at `no/such/file`"),
    ] {
        let found = problem(text);
        assert!(found.contains(expected), "{text}\n{found}");
    }
}

#[test]
fn signals_count_only_if_a_run_measured_them() {
    let folder = temporary_folder();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let line = json!({"text": "one two three", "signals": {"words": 900.0, "other": "x"}});
    fs::write(folder.path().join("a.jsonl"), format!("{line}\n")).unwrap();
    let stages = "[[stage]]\nkind = 'length'\nwords-max = 100\n";
    let run_on = |paths: &str, settings: &str, name: &str| {
        let out = folder.path().join(name);
        let text = format!("[[source]]\nname = 's'\npaths = ['{paths}']\n{settings}\n{stages}");
        let outcome = run(&text, &out).unwrap();
        (outcome.summary.kept.documents, documents(&out.join("documents")))
    };
    let (kept, found) = run_on(&path("a.jsonl"), "", "plain");
    assert_eq!((kept, &found[0]["signals"]), (1, &json!({"words": 3.0})), "{found:?}");
    assert_eq!(found[0]["metadata"]["signals"]["words"], 900.0, "nothing that came with it is lost");
    assert_eq!(run_on(&path("a.jsonl"), "trust-signals = true", "trusted").0, 0);
    // The output of a run is measured; once a byte of it is changed it is a file like any other.
    let (_, found) = run_on(&path("plain/documents"), "", "again");
    assert_eq!(found[0]["signals"], json!({"words": 3.0}));
    let inputs = |name: &str| fs::read_to_string(folder.path().join(name).join("inputs.jsonl")).unwrap();
    assert!(inputs("again").contains("\"is_measured\":true") && !inputs("plain").contains("is_measured"));
    let packed = fs::read_dir(folder.path().join("plain/documents")).unwrap().next().unwrap().unwrap().path();
    fs::write(&packed, zstd::bulk::compress(format!("{line}\n").as_bytes(), 3).unwrap()).unwrap();
    let (kept, found) = run_on(&path("plain/documents"), "", "changed");
    assert_eq!((kept, &found[0]["signals"]["words"]), (1, &json!(3.0)));
}

#[test]
fn a_run_that_reads_nothing_says_so_each_time() {
    let folder = temporary_folder();
    fs::write(folder.path().join("a.jsonl"), "\n").unwrap();
    let text = format!("[[source]]\nname = 's'\npaths = ['{}/a.jsonl']\n[mix]\n", folder.path().display());
    for _ in 0..2 {
        let error = run(&text, &folder.path().join("out")).unwrap_err();
        assert!(
            error.to_string().ends_with("out: no document was read from 1 files; 0 parts could not be read"),
            "{error}"
        );
        assert!(error.hint().is_some());
    }
    assert!(folder.path().join("out/report.html").exists());
}

#[test]
fn a_stop_is_heard_while_only_faults_come() {
    let folder = temporary_folder();
    fs::write(folder.path().join("a.jsonl"), "no JSON\n".repeat(500)).unwrap();
    let text = format!("[[source]]\nname = 's'\npaths = ['{}/a.jsonl']\n", folder.path().display());
    let observer = StopAfter(AtomicU64::new(100));
    assert!(corpus::run(&recipe(&text), &folder.path().join("out"), &options(&observer)).unwrap_err().is_stop());
}

#[test]
fn a_bucket_of_the_mix_that_is_too_large_is_put_in_order_in_parts() {
    let folder = temporary_folder();
    let text = |index: usize| if index.is_multiple_of(10) { "large ".repeat(150) } else { "small".into() };
    let lines: String =
        (0..300).map(|index| json!({"id": index.to_string(), "text": text(index)}).to_string() + "\n").collect();
    fs::write(folder.path().join("a.jsonl"), lines).unwrap();
    let run_with = |document_bytes_max: u64| {
        let out = folder.path().join(document_bytes_max.to_string());
        let text = format!(
            "shard-bytes = 2048\ndocument-bytes-max = {document_bytes_max}\n[[source]]\nname = 's'\npaths = ['{}/a.jsonl']\n[mix]\nrepeats-max = 1.5",
            folder.path().display()
        );
        (run(&text, &out).unwrap().summary.mixed, output(&out.join("mixed")))
    };
    let (files, in_parts) = run_with(1024);
    let largest = files.iter().map(|file| file.line_bytes["s"]).max().unwrap();
    assert!(largest > 2048 + 1024, "the largest file has {largest} bytes: no bucket was too large");
    assert!(in_parts == run_with(1 << 20).1);
}

/// Texts of which many are near copies of others, in any order.
fn write_near_copies(folder: &Path) {
    let mut stream = Stream::new(Key::from_seed(9));
    let word = |stream: &mut Stream| (0..4).map(|_| char::from(b'a' + stream.below(26) as u8)).collect::<String>();
    let originals: Vec<Vec<String>> = (0..40).map(|_| (0..120).map(|_| word(&mut stream)).collect()).collect();
    let mut lines = String::new();
    for index in 0..200 {
        let mut words = originals[stream.below(40) as usize].clone();
        for _ in 0..stream.below(12) {
            words[stream.below(120) as usize] = word(&mut stream);
        }
        lines += &format!("{}\n", json!({"id": index.to_string(), "text": words.join(" ")}));
    }
    let (others, ours) = lines.split_at(lines.len() / 4);
    fs::write(folder.join("others.jsonl"), others.rsplit_once('\n').unwrap().0).unwrap();
    fs::write(folder.join("ours.jsonl"), ours.split_once('\n').unwrap().1).unwrap();
}

#[test]
fn several_ranks_make_what_one_makes() {
    let folder = temporary_folder();
    write_sources(folder.path());
    write_near_copies(folder.path());
    let source = |name: &str| {
        format!("shard-bytes = 16384\n[[source]]\nname = 'a'\npaths = ['{}/{name}.jsonl']\n", folder.path().display())
    };
    let saved = format!("{}[[stage]]\nkind = 'near-duplicates'\nsave-keys = true\njaccard-min = 0.8", source("others"));
    let others = folder.path().join("others");
    run(&saved, &others).unwrap();
    let near = [
        "hashes = 2".to_owned(),
        "jaccard-min = 0.7\nbuckets = 20\nhashes = 4\nkeep = 'longest'".to_owned(),
        format!("jaccard-min = 0.8\nagainst = ['{}/stages/01-near-duplicates.keys']", others.display()),
    ];
    let mut recipes = vec![whole_recipe(folder.path())];
    recipes.extend(near.map(|settings| source("ours") + "[[stage]]\nkind = 'near-duplicates'\n" + &settings));
    recipes.push(source("ours") + "[[stage]]\nkind = 'simhash-duplicates'\n[[stage]]\nkind = 'repeated-substrings'");
    for (index, text) in recipes.iter().enumerate() {
        let alone = folder.path().join(format!("{index}-alone"));
        let expected = run_recipe(text, &alone, options(&Silent)).unwrap().summary;
        let dropped: u64 =
            expected.stages.iter().flat_map(|(_, stage)| stage.rules.values()).map(|rule| rule.dropped.documents).sum();
        assert!(dropped > 5, "recipe {index} drops {dropped}");
        for size in [2, 3] {
            let together = folder.path().join(format!("{index}-{size}"));
            let run_rank =
                |ranks: &dyn Communicator| run_recipe(text, &together, Options { ranks, ..options(&Silent) });
            for outcome in ranks(size, run_rank) {
                assert_eq!(outcome.unwrap().summary, expected, "recipe {index}, {size} ranks");
            }
            assert!(output(&together) == output(&alone), "recipe {index}, {size} ranks");
        }
    }
}

#[test]
fn the_page_about_corpora_has_every_stage() {
    let page = include_str!("../../../../docs/corpus.md");
    for kind in corpus::stages::ALL {
        assert!(page.contains(&format!("| `{}` |", kind.name)), "docs/corpus.md has no row for `{}`", kind.name);
    }
    let example = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(recipe(example).mix.is_some(), "the example is a recipe");
}

#[test]
fn every_corpus_recipe_of_the_repository_is_read() {
    let mut read = 0;
    for entry in fs::read_dir(repository_root().join("recipes")).unwrap() {
        let file = entry.unwrap().path();
        if file.file_name().unwrap().to_string_lossy().starts_with("corpus-") {
            Recipe::read(&file).unwrap();
            read += 1;
        }
    }
    assert!(read > 0);
}
