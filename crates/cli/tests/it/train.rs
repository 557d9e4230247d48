//! `tsumugi train`: runs, stops, goes on, refuses.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tsumugi_base::rng::{Key, Stream};
use tsumugi_base::testing::temporary_folder;

use crate::support::{Ran, binary, drama, tsumugi};

/// A model of a few thousand weights; seconds would be too long.
const TINY: [&str; 12] =
    ["--depth", "1", "--width", "16", "--heads", "2", "--context", "16", "--batch", "2", "--tokenizer", "bytes"];

fn train(folder: &Path, more: &[&str]) -> Ran {
    tsumugi(folder, &arguments(more))
}

fn arguments<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["train", "--data", "drama.txt"], &TINY[..], more].concat()
}

/// Bytes of the log, in lines of a usual length.
fn logged(folder: &Path) -> usize {
    std::fs::metadata(folder.join("log.jsonl")).map_or(0, |about| about.len() as usize / 130)
}

fn losses(folder: &Path) -> String {
    let text = std::fs::read_to_string(folder.join("log.jsonl")).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let losses = rows.filter(|row| !row["loss"].is_null()).map(|row| format!("{} {}\n", row["step"], row["loss"]));
    losses.collect()
}

/// As a flag, with a value, and as a key of a recipe.
#[test]
fn recomputation_is_planned_and_shows_in_the_step() {
    let folder = temporary_folder();
    let path = folder.path();
    std::fs::write(path.join("recipe.toml"), "recompute = true\n").unwrap();
    let plan =
        |more: &[&str]| tsumugi(path, &[&["plan"], &TINY[..], &["--json", "--threads", "1"], more].concat()).json();
    let kept = plan(&[]);
    for more in [&["--recompute"][..], &["--recompute=true"], &["recipe.toml"]] {
        let recomputed = plan(more);
        assert_eq!(recomputed["memory_bytes"], kept["recompute_memory_bytes"], "{more:?}");
        assert!(recomputed["recompute_memory_bytes"].is_null(), "{more:?}");
    }
    assert_eq!(plan(&["--recompute=false", "recipe.toml"])["memory_bytes"], kept["memory_bytes"]);
    let table = tsumugi(path, &[&["plan"], &TINY[..]].concat()).stdout;
    assert!(table.contains("; with --recompute ") && !table.contains("does not fit"), "{table}");

    std::fs::write(path.join("drama.txt"), drama()).unwrap();
    train(path, &["--steps", "3", "--out", "kept"]);
    let profiled = train(path, &["--steps", "3", "--recompute", "--profile", "--out", "recomputed"]);
    assert!(profiled.stdout.contains("linear again"), "{}", profiled.stdout);
    assert_eq!(losses(&path.join("kept")), losses(&path.join("recomputed")));
}

#[test]
fn a_run_becomes_a_model_and_is_not_done_twice() {
    let folder = temporary_folder();
    let path = folder.path();
    std::fs::write(path.join("drama.txt"), drama()).unwrap();
    let ran = train(path, &["--steps", "4", "--out", "run", "--json"]);
    let said = ran.json();
    assert_eq!((&said["steps"], &said["finished"]), (&4.into(), &true.into()), "{said}");
    assert!(said["held_out_bits_per_byte"].as_f64().unwrap() > 1.0, "{said}");
    assert!(ran.stderr.contains("pre-train: 128 of 128 tokens, step 4/4"), "{}", ran.stderr);
    let generated = tsumugi(path, &["generate", "run", "--prompt", "ROMEO", "--max-tokens", "3", "--json"]).json();
    assert_eq!(generated["prompt_tokens"], 6, "five bytes and what goes before a text");
    assert_eq!(ran.stderr.matches("step 4: held-out loss").count(), 1, "{}", ran.stderr);
    train(path, &["--steps", "4", "--out", "run"]).is("
        exit 0
        ---- stdout
        run is finished: nothing to do
    ");
    let other = train(path, &["--steps", "5", "--out", "run"]);
    assert_eq!((other.code, other.stdout.as_str()), (2, ""));
    assert!(
        other.stderr.contains("error: run holds a run with other settings: ") && other.stderr.contains("steps"),
        "{}",
        other.stderr
    );
    assert!(other.stderr.contains("\n\nhint: "), "{}", other.stderr);
}

#[cfg(unix)]
#[test]
fn a_run_that_is_asked_to_stop_saves_and_goes_on_to_the_same_losses() {
    let folder = temporary_folder();
    let path = folder.path();
    std::fs::write(path.join("drama.txt"), drama()).unwrap();
    let steps =
        ["--steps", "3000", "--evaluate-every", "3000", "--checkpoint-every", "3000", "--threads", "1", "--out"];
    let whole = train(path, &[&steps[..], &["whole"]].concat());
    assert_eq!(whole.code, 0, "{}", whole.stderr);

    let arguments = arguments(&[&steps[..], &["halved"]].concat());
    let child = binary(path, &arguments).spawn().unwrap();
    let log = path.join("halved/log.jsonl");
    let start = Instant::now();
    while std::fs::read_to_string(&log).map_or(0, |text| text.lines().count()) < 5 {
        assert!(start.elapsed() < Duration::from_secs(60), "no step was taken");
        std::thread::sleep(Duration::from_millis(1));
    }
    let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("saving a checkpoint (Ctrl-C again ends it at once)"), "{stderr}");
    assert!(
        stderr.contains("stopped: after step ") && stderr.contains(" of 3,000; the same command goes on"),
        "{stderr}"
    );
    assert!(!path.join("halved/config.json").exists(), "it is not finished");

    let resumed = tsumugi(path, &arguments);
    assert_eq!(resumed.code, 0, "{}", resumed.stderr);
    assert!(losses(&path.join("whole")) == losses(&path.join("halved")), "the losses differ");
}

/// `kill -9` after so many more lines of the log as a seeded generator chooses, or some microseconds after the start: while
/// it starts, steps, evaluates, writes a checkpoint.
#[test]
fn a_run_that_is_killed_again_and_again_ends_with_the_same_losses_and_weights() {
    let folder = temporary_folder();
    let path = folder.path();
    std::fs::write(path.join("drama.txt"), drama()).unwrap();
    let steps = ["--steps", "3000", "--evaluate-every", "100", "--checkpoint-every", "40", "--dropout", "0.1"];
    let whole = train(path, &[&steps[..], &["--threads", "2", "--out", "whole"]].concat());
    assert_eq!(whole.code, 0, "{}", whole.stderr);

    let mut random = Stream::new(Key::from_seed(20));
    let (mut killed, mut finished) = (0, false);
    while !finished {
        assert!(killed < 200, "it never comes to an end");
        let threads = if killed % 2 == 0 { "1" } else { "2" };
        let mut child = binary(path, &arguments(&[&steps[..], &["--threads", threads, "--out", "killed"]].concat()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        if random.below(4) == 0 {
            std::thread::sleep(Duration::from_micros(random.below(30_000)));
        } else {
            let enough = logged(&path.join("killed")) + random.below(500) as usize;
            while logged(&path.join("killed")) < enough && child.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        child.kill().unwrap();
        finished = path.join("killed/config.json").exists();
        child.wait().unwrap();
        killed += usize::from(!finished);
    }
    // It may have been killed between its last file and the removal of its checkpoints.
    assert_eq!(tsumugi(path, &arguments(&[&steps[..], &["--out", "killed"]].concat())).code, 0);
    assert!(killed >= 3, "it was killed {killed} times only: too short a run to prove anything");
    assert!(losses(&path.join("whole")) == losses(&path.join("killed")), "the losses differ after {killed} kills");
    let weights = |run: &str| std::fs::read(path.join(run).join("model.safetensors")).unwrap();
    assert!(weights("whole") == weights("killed"), "the weights differ");
    let names = |run: &str| {
        let entries = std::fs::read_dir(path.join(run)).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(names("whole"), names("killed"), "the same files, and nothing left over");
}

#[test]
fn recipes_are_read_and_flags_go_before_them() {
    let folder = temporary_folder();
    let path = folder.path();
    std::fs::write(path.join("drama.txt"), drama()).unwrap();
    let recipe = "data = \"drama.txt\"\ntokenizer = \"bytes\"\nfamily = \"gpt2\"\ndepth = 1\nwidth = 16\nheads = 2\ncontext = 16\nbatch = 2\nsteps = 3\n";
    std::fs::write(path.join("tiny.toml"), recipe).unwrap();
    let said = tsumugi(path, &["train", "tiny.toml", "--steps", "2", "--seed", "7", "--json"]).json();
    assert_eq!((said["out"].as_str(), said["steps"].as_u64()), (Some("runs/tiny"), Some(2)));
    let record = tsumugi_base::run_record::RunRecord::read(&path.join("runs/tiny/run.json")).unwrap();
    assert_eq!((record.seed, record.recipe["family"].as_str()), (7, Some("gpt2")));
    assert_eq!(record.command[..2], ["train", "tiny.toml"]);

    std::fs::write(path.join("typo.toml"), "detph = 1\n").unwrap();
    let ran = tsumugi(path, &["train", "typo.toml"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(
        ran.stderr.starts_with("error: typo.toml: ") && ran.stderr.contains("unknown field `detph`"),
        "{}",
        ran.stderr
    );
}

#[test]
fn what_cannot_be_trained_on_is_refused_before_anything_is_written() {
    let folder = temporary_folder();
    let path = folder.path();
    let ran = tsumugi(path, &["train", "--depth", "1", "--out", "run"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.starts_with("error: `data` is missing, but a text file"), "{}", ran.stderr);
    for (name, bytes, problem) in
        [("empty.txt", &b""[..], "is empty"), ("binary.txt", &b"a\0b"[..], "is not a text file")]
    {
        std::fs::write(path.join(name), bytes).unwrap();
        let ran = tsumugi(path, &["train", "--depth", "1", "--data", name, "--out", "run"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
        assert!(ran.stderr.starts_with(&format!("error: {name} {problem}")), "{}", ran.stderr);
        assert!(ran.stderr.contains("\n\nhint: "), "{}", ran.stderr);
    }
    let ran = tsumugi(path, &["train", "--depth", "1", "--data", "missing.txt", "--out", "run"]);
    assert!(ran.code == 2 && ran.stderr.starts_with("error: cannot read missing.txt: no such file"), "{}", ran.stderr);
    assert!(!path.join("run").exists());
}

#[test]
fn a_text_shorter_than_one_context() {
    let folder = temporary_folder();
    let path = folder.path();
    std::fs::write(path.join("drama.txt"), "Too short.\nFar too short.\nNot even a page.\n").unwrap();
    let ran = train(path, &["--steps", "1", "--out", "run"]);
    assert_eq!(ran.code, 0, "16 positions fit into it; {}", ran.stderr);
    let flags = [
        "train",
        "--data",
        "drama.txt",
        "--depth",
        "1",
        "--width",
        "16",
        "--heads",
        "2",
        "--context",
        "64",
        "--tokenizer",
        "bytes",
    ];
    let ran = tsumugi(path, &[&flags[..], &["--out", "long"]].concat());
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.contains("but one context of 64 needs 65"), "{}", ran.stderr);
    assert!(ran.stderr.contains("\n\nhint: give a longer text, or a context of at most"), "{}", ran.stderr);
    assert!(!path.join("long/model.safetensors").exists());
}

#[test]
fn a_finished_run_that_lost_its_weights_is_told_and_one_that_did_not_says_what_it_measured() {
    let folder = temporary_folder();
    let path = folder.path();
    std::fs::write(path.join("drama.txt"), drama()).unwrap();
    let first = train(path, &["--steps", "4", "--out", "run", "--json"]).json();
    let again = train(path, &["--steps", "4", "--out", "run", "--json"]).json();
    assert_eq!(first["held_out_loss"], again["held_out_loss"]);
    let weights = path.join("run/model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..100]).unwrap();
    for lost in [false, true] {
        if lost {
            std::fs::remove_file(&weights).unwrap();
        }
        let ran = train(path, &["--steps", "4", "--out", "run"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
        assert!(ran.stderr.starts_with("error: run"), "{}", ran.stderr);
    }
}

#[test]
fn a_run_that_ends_in_numbers_that_are_none_has_failed() {
    let folder = temporary_folder();
    let path = folder.path();
    std::fs::write(path.join("drama.txt"), drama()).unwrap();
    let ran = train(path, &["--steps", "6", "--learning-rate", "1e30", "--warmup-steps", "0", "--out", "run"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("not finite") && ran.stderr.contains("hint: lower --learning-rate"), "{}", ran.stderr);
    assert!(!path.join("run/config.json").exists());
}
