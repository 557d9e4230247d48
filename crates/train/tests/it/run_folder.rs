//! The folder of a run: who may work in it, and what it still takes.

use std::path::Path;

use tsumugi_base::progress::{Event, Recorder, Silent};
use tsumugi_base::run_folder::LockError;
use tsumugi_base::run_record::RunRecord;
use tsumugi_base::testing::temporary_folder;
use tsumugi_train::run_folder::{Begun, begin};
use tsumugi_train::{Recipe, TrainError};

use crate::{recipe, train};

fn record() -> RunRecord {
    RunRecord::begin(Vec::new(), serde_json::json!({ "steps": 1 }), 0)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn one_run_at_a_time() {
    let folder = temporary_folder();
    let opened = begin(folder.path(), &mut record(), "done", &Silent).unwrap();
    assert_eq!(opened.state, Begun::New);
    let error = begin(folder.path(), &mut record(), "done", &Silent).unwrap_err();
    assert!(matches!(error, TrainError::Lock(LockError::InUse { .. })), "{error}");
    drop(opened);
    assert_eq!(begin(folder.path(), &mut record(), "done", &Silent).unwrap().state, Begun::Resumed);
    assert_eq!(names(folder.path()), ["run.json"], "the lock is gone with its run");
}

#[test]
fn what_a_killed_start_left_does_not_refuse_the_next() {
    let folder = temporary_folder();
    std::fs::write(folder.path().join(".run.json.tsumugi-partial-host-1-0"), "{").unwrap();
    assert_eq!(begin(folder.path(), &mut record(), "done", &Silent).unwrap().state, Begun::New);
    let other = temporary_folder();
    std::fs::write(other.path().join("thesis.tex"), "precious").unwrap();
    let error = begin(other.path(), &mut record(), "done", &Silent).unwrap_err();
    assert!(matches!(error, TrainError::NotARun { .. }), "{error}");
    assert_eq!(names(other.path()), ["thesis.tex"]);
}

#[test]
fn a_start_that_failed_does_not_bind_its_folder() {
    let folder = temporary_folder();
    let run = folder.path().join("run");
    // The held-out part of the text is long enough, the training part is not.
    let error = train(&Recipe { context: Some(100_000), ..recipe(1) }, &run, 1, &Silent).unwrap_err();
    let hint = tsumugi_base::Hint::hint(&error).unwrap();
    assert!(hint.contains("a context of at most"), "{error}; {hint}");
    assert!(train(&recipe(1), &run, 1, &Silent).unwrap().finished, "what the hint says works in the same folder");
    let error = train(&recipe(2), &run, 1, &Silent).unwrap_err();
    assert!(error.to_string().ends_with("steps (there 1, here 2)"), "{error}");
}

#[test]
fn other_kernels_are_told() {
    let folder = temporary_folder();
    let with = |kernels: &str| {
        let mut record = record();
        record.versions.insert("kernels".into(), kernels.into());
        record
    };
    drop(begin(folder.path(), &mut with("avx512"), "done", &Silent).unwrap());
    let observer = Recorder::default();
    begin(folder.path(), &mut with("avx2"), "done", &observer).unwrap();
    let told = observer.events();
    assert!(matches!(&told[..], [Event::Warning { message }] if message.contains("avx512")), "{told:?}");
}

#[test]
fn more_memory_than_there_is_is_told_before_anything_is_written() {
    let folder = temporary_folder();
    let run = folder.path().join("run");
    let error = train(&Recipe { layers: Some(1000), width: Some(1 << 18), ..recipe(1) }, &run, 1, &Silent).unwrap_err();
    assert!(matches!(error, TrainError::Memory { .. }), "{error}");
    assert!(!run.exists());
}
