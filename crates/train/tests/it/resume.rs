//! A run that was stopped goes on to the same bits, with any number of threads.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use tsumugi_base::Hint;
use tsumugi_base::progress::{Event, Observer, Recorder, Silent};
use tsumugi_base::testing::temporary_folder;
use tsumugi_train::recipe::ComputeChoice;
use tsumugi_train::{OptimizerKind, Recipe, checkpoint, run_folder};

use crate::{log, recipe, train};

const STEPS: u64 = 40;

/// Asks to stop when it has been asked so many times.
struct StopAfter(AtomicU64);

impl Observer for StopAfter {
    fn event(&self, _event: &Event) {}

    fn stop_requested(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err()
    }
}

fn weights(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("model.safetensors")).unwrap()
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bits_with_other_threads() {
    let folder = temporary_folder();
    let whole = folder.path().join("whole");
    let trained = train(&recipe(STEPS), &whole, 1, &Silent).unwrap();
    assert!(trained.finished && trained.evaluated.unwrap().loss < 4.0, "it learns: {trained:?}");
    let profiled: Vec<&str> = trained.profile.rows.iter().map(|row| row.0).collect();
    assert!(["linear", "attention", "adamw", "batch"].iter().all(|name| profiled.contains(name)), "{profiled:?}");
    let report = std::fs::read_to_string(whole.join("report.html")).unwrap();
    assert!(report.contains("Time by operation") && report.contains("Learning rate"), "the page has its charts");
    for (index, stops) in [vec![1], vec![7, 7], vec![39], vec![3, 1, 20]].into_iter().enumerate() {
        let pieces = folder.path().join(format!("pieces-{index}"));
        for (round, steps) in stops.into_iter().enumerate() {
            let stopped = train(&recipe(STEPS), &pieces, 1 + round % 2, &StopAfter(AtomicU64::new(steps))).unwrap();
            assert!(!stopped.finished && !pieces.join("config.json").exists());
        }
        assert!(train(&recipe(STEPS), &pieces, 2, &Silent).unwrap().finished);
        assert_eq!(log(&whole), log(&pieces), "pieces {index}");
        assert!(weights(&whole) == weights(&pieces), "pieces {index}: the weights differ");
        assert!(checkpoint::steps(&pieces).is_empty(), "a finished run needs no checkpoints");
    }
}

/// In each type of products; and the type that a run chose by itself is kept wherever it goes on.
#[test]
fn each_type_resumes_to_its_own_bits_and_the_choice_is_kept() {
    let folder = temporary_folder();
    let mut logs = Vec::new();
    for compute in [ComputeChoice::F32, ComputeChoice::Bf16] {
        let said = Recipe { compute: Some(compute), ..recipe(STEPS) };
        let (whole, pieces) =
            (folder.path().join(format!("{compute:?}")), folder.path().join(format!("{compute:?} cut")));
        train(&said, &whole, 1, &Silent).unwrap();
        assert!(!train(&said, &pieces, 2, &StopAfter(AtomicU64::new(9))).unwrap().finished);
        // Nothing is said now: whatever this machine would choose, the run goes on in the type that it was begun with.
        let resumed = train(&recipe(STEPS), &pieces, 1, &Silent).unwrap();
        assert_eq!((resumed.finished, resumed.resolved.compute), (true, compute));
        assert_eq!(log(&whole), log(&pieces), "{compute:?}");
        logs.push(log(&whole));
    }
    assert_ne!(logs[0], logs[1], "the types differ in their last bits");
    let other = Recipe { compute: Some(ComputeChoice::Bf16), ..recipe(STEPS) };
    let error = train(&other, &folder.path().join("F32"), 1, &Silent).unwrap_err().to_string();
    assert!(error.ends_with("compute (there \"f32\", here \"bf16\")"), "{error}");
}

/// How memory is used is the one setting that a run may change: its losses stay the same bits.
#[test]
fn recomputation_may_be_switched_when_a_run_goes_on() {
    let folder = temporary_folder();
    let (whole, pieces) = (folder.path().join("whole"), folder.path().join("pieces"));
    let said = |recompute| Recipe { recompute, layers: Some(3), ..recipe(STEPS) };
    train(&said(None), &whole, 1, &Silent).unwrap();
    let recorded = || run_folder::recorded(&pieces, "recompute").unwrap().as_bool().unwrap();
    for (now, then) in [(Some(true), true), (None, true), (Some(false), false), (None, false), (Some(true), true)] {
        let stopped = train(&said(now), &pieces, 1, &StopAfter(AtomicU64::new(5))).unwrap();
        assert_eq!((stopped.finished, stopped.resolved.train.recompute, recorded()), (false, then, then));
        let ran_again = stopped.profile.rows.iter().any(|row| row.1 == "again");
        assert_eq!(ran_again, then, "said {now:?}");
    }
    assert!(train(&said(None), &pieces, 2, &Silent).unwrap().finished);
    assert_eq!(log(&whole), log(&pieces));
    assert!(weights(&whole) == weights(&pieces));
}

#[test]
fn a_run_with_muon_resumes_to_the_same_bits_and_only_with_muon() {
    let folder = temporary_folder();
    let muon = Recipe { optimizer: Some(OptimizerKind::Muon), ..recipe(STEPS) };
    let (whole, pieces) = (folder.path().join("whole"), folder.path().join("pieces"));
    let trained = train(&muon, &whole, 1, &Silent).unwrap();
    assert!(trained.finished && trained.evaluated.unwrap().loss < 4.0, "it learns: {trained:?}");
    assert!(!train(&muon, &pieces, 2, &StopAfter(AtomicU64::new(9))).unwrap().finished);
    let checkpoint = pieces.join("checkpoints/step-00000009");
    let error = train(&recipe(STEPS), &pieces, 1, &Silent).unwrap_err().to_string();
    assert!(error.ends_with("optimizer (there \"muon\", here \"adamw\")"), "{error}");
    // A record that was changed by hand does not get moments of the wrong kind either.
    let record = std::fs::read_to_string(pieces.join("run.json")).unwrap();
    std::fs::write(pieces.join("run.json"), record.replace("\"muon\"", "\"adamw\"")).unwrap();
    let error = train(&recipe(STEPS), &pieces, 1, &Silent).unwrap_err();
    let said = "it has the moments of muon, and this run's optimizer is adamw";
    assert_eq!(error.to_string(), format!("{}: {said}", checkpoint.display()));
    assert_eq!(error.hint().unwrap(), "resume with --optimizer muon, or choose another --out");
    std::fs::write(pieces.join("run.json"), record).unwrap();
    assert!(train(&muon, &pieces, 1, &Silent).unwrap().finished);
    assert_eq!(log(&whole), log(&pieces));
    assert!(weights(&whole) == weights(&pieces), "the weights differ");
}

#[test]
fn an_evaluation_at_the_step_of_a_checkpoint_is_logged_once() {
    let folder = temporary_folder();
    let together = Recipe { checkpoint_every: Some(5), evaluate_every: Some(5), ..recipe(STEPS) };
    let (whole, pieces) = (folder.path().join("whole"), folder.path().join("pieces"));
    train(&together, &whole, 1, &Silent).unwrap();
    for steps in [10, 5, 5] {
        assert!(!train(&together, &pieces, 1, &StopAfter(AtomicU64::new(steps))).unwrap().finished);
    }
    assert!(train(&together, &pieces, 1, &Silent).unwrap().finished);
    assert_eq!(log(&whole), log(&pieces));
}

#[test]
fn other_settings_and_other_data_are_refused_by_name() {
    let folder = temporary_folder();
    train(&recipe(4), folder.path(), 1, &StopAfter(AtomicU64::new(1))).unwrap();
    let mut other = recipe(4);
    other.learning_rate = Some(2e-2);
    let error = train(&other, folder.path(), 1, &Silent).unwrap_err().to_string();
    assert!(error.contains("learning-rate") && !error.contains("batch"), "{error}");
}

#[test]
fn a_damaged_checkpoint_is_told_and_the_one_before_it_serves() {
    let folder = temporary_folder();
    let whole = folder.path().join("whole");
    train(&recipe(STEPS), &whole, 1, &Silent).unwrap();
    for (file, len) in [("state.json", 5), ("parameters.safetensors", 300), ("second-moments.safetensors", 0)] {
        let run = folder.path().join(file);
        train(&recipe(STEPS), &run, 1, &StopAfter(AtomicU64::new(16))).unwrap();
        let steps = checkpoint::steps(&run);
        assert_eq!(steps, [14, 16]);
        let newest = run.join("checkpoints/step-00000016");
        let bytes = std::fs::read(newest.join(file)).unwrap();
        std::fs::write(newest.join(file), &bytes[..len]).unwrap();
        let error = train(&recipe(STEPS), &run, 1, &Silent).unwrap_err();
        assert!(error.to_string().contains("step-00000016"), "{error}");
        let hint = error.hint().unwrap();
        assert_eq!(hint, format!("remove {} to resume from the checkpoint before it", newest.display()));
        std::fs::remove_dir_all(&newest).unwrap();
        assert!(train(&recipe(STEPS), &run, 1, &Silent).unwrap().finished);
        assert_eq!(log(&whole), log(&run), "{file}");
    }
}

/// A bit that flipped in a tensor, and a file of the step before.
#[test]
fn a_checkpoint_of_other_content_is_refused() {
    let folder = temporary_folder();
    for file in ["parameters.safetensors", "first-moments.safetensors", "second-moments.safetensors"] {
        let run = folder.path().join(file);
        train(&recipe(STEPS), &run, 1, &StopAfter(AtomicU64::new(16))).unwrap();
        let newest = run.join("checkpoints/step-00000016").join(file);
        let written = std::fs::read(&newest).unwrap();
        let mut flipped = written.clone();
        *flipped.last_mut().unwrap() ^= 1;
        let of_the_step_before = std::fs::read(run.join("checkpoints/step-00000014").join(file)).unwrap();
        for other in [flipped, of_the_step_before] {
            std::fs::write(&newest, other).unwrap();
            let error = train(&recipe(STEPS), &run, 1, &Silent).unwrap_err();
            let wanted = format!("step-00000016: {file} is not the file that was written");
            assert!(error.to_string().contains(&wanted), "{error}");
            assert!(tsumugi_base::Hint::hint(&error).unwrap().starts_with("remove "));
        }
        std::fs::write(&newest, written).unwrap();
        assert!(train(&recipe(STEPS), &run, 1, &Silent).unwrap().finished);
    }
}

#[test]
fn lines_that_the_log_lost_are_told_and_the_run_goes_on_the_same() {
    let folder = temporary_folder();
    let whole = folder.path().join("whole");
    train(&recipe(STEPS), &whole, 1, &Silent).unwrap();
    for lines_left in [None, Some(3), Some(usize::MAX)] {
        let run = folder.path().join(format!("{lines_left:?}"));
        train(&recipe(STEPS), &run, 1, &StopAfter(AtomicU64::new(16))).unwrap();
        let file = run.join("log.jsonl");
        match lines_left {
            None => std::fs::remove_file(&file).unwrap(),
            Some(lines) => {
                let text = std::fs::read_to_string(&file).unwrap();
                let left: String = text.split_inclusive('\n').take(lines).collect();
                std::fs::write(&file, left).unwrap();
            }
        }
        let recorder = Recorder::default();
        assert!(train(&recipe(STEPS), &run, 1, &recorder).unwrap().finished);
        let told = recorder.events().iter().any(
            |event| matches!(event, Event::Warning { message } if message.contains("log.jsonl has lines of only")),
        );
        assert_eq!(told, lines_left != Some(usize::MAX), "{lines_left:?}");
        assert!(weights(&whole) == weights(&run), "{lines_left:?}: the weights differ");
    }
}
