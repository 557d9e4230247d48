//! Steps that would undo the model are not taken, and a run that cannot go on says so.

use tsumugi_base::progress::{Event, Recorder, Silent};
use tsumugi_base::testing::temporary_folder;
use tsumugi_data::{Batch, BatchSource, Segment};
use tsumugi_models::{Decoder, family};
use tsumugi_tensor::Cpu;
use tsumugi_tensor::threads::Pool;
use tsumugi_train::{Job, LogRow, OptimizerKind, Recipe, TrainError, train};

/// Rows whose loss is not a number from one step to another; nothing is trained in `nothing_at`.
struct Broken {
    from: u64,
    to: u64,
    nothing_at: u64,
}

impl BatchSource for Broken {
    fn batch(&self, step: u64, _micro: usize) -> Batch {
        let weight = if (self.from..self.to).contains(&step) {
            f32::NAN
        } else if step == self.nothing_at {
            0.0
        } else {
            1.0
        };
        Batch {
            rows: 8,
            tokens: vec![1; 8],
            targets: vec![2; 8],
            weights: vec![weight; 8],
            positions: (0..8).collect(),
            segments: vec![Segment { start: 0, len: 8 }],
        }
    }

    fn context(&self) -> usize {
        8
    }

    fn sequences(&self) -> u64 {
        1
    }
}

fn run(source: &Broken, observer: &Recorder) -> (Result<(), TrainError>, Vec<LogRow>) {
    let folder = temporary_folder();
    let recipe =
        Recipe { data: Some("none".into()), layers: Some(1), width: Some(64), steps: Some(24), ..Recipe::default() };
    let mut decoder = Decoder::new(family::find("llama").unwrap().tiny());
    decoder.initialize(0, &Pool::new(1));
    let ran = train(Job {
        cpu: &Cpu::detect(Some(1)).unwrap(),
        decoder,
        source,
        held_out: None,
        settings: &recipe.resolve(1 << 20).unwrap().train,
        folder: folder.path(),
        identity: "test",
        stage: "test",
        peak_flops_per_second: None,
        profile: false,
        observer,
        on_evaluation: &mut |_, _| {},
    });
    let ran = ran.map(|trained| {
        assert!(trained.finished);
        let weights = trained.decoder.parameters.buffer();
        assert!(weights.iter().all(|weight| weight.is_finite()), "a step that is not a number was taken");
    });
    (ran, tsumugi_base::jsonl::read(&folder.path().join("log.jsonl")).unwrap())
}

#[test]
fn a_step_that_is_not_a_number_is_skipped_logged_and_told() {
    let observer = Recorder::default();
    let (ran, rows) = run(&Broken { from: 5, to: 8, nothing_at: u64::MAX }, &observer);
    ran.unwrap();
    let skipped = rows.iter().filter_map(|row| match row {
        LogRow::Step { step, skipped: Some(_), .. } => Some(*step),
        _ => None,
    });
    assert_eq!(skipped.collect::<Vec<_>>(), [6, 7, 8]);
    let warnings = observer.events().into_iter().filter(|event| matches!(event, Event::Warning { .. })).count();
    assert_eq!(warnings, 3);
}

#[test]
fn a_run_that_never_recovers_ends_with_advice() {
    let (ran, _) = run(&Broken { from: 5, to: 100, nothing_at: u64::MAX }, &Recorder::default());
    let error = ran.unwrap_err();
    assert!(matches!(error, TrainError::Diverged { .. }), "{error}");
    assert!(tsumugi_base::Hint::hint(&error).unwrap().contains("--learning-rate"));
}

/// No step follows that would see it: neither with held-out text nor without is it saved as finished, however often.
#[test]
fn a_last_update_that_undoes_the_model_is_told() {
    for (optimizer, rate) in [(OptimizerKind::AdamW, 1e38), (OptimizerKind::Muon, 1e38)] {
        let folder = temporary_folder();
        let said =
            Recipe { learning_rate: Some(rate), warmup_steps: Some(0), optimizer: Some(optimizer), ..crate::recipe(1) };
        for _ in 0..2 {
            let error = crate::train(&said, folder.path(), 1, &Silent).unwrap_err();
            assert!(matches!(error, TrainError::Diverged { step: 1, .. }), "{error}");
            assert!(tsumugi_base::Hint::hint(&error).unwrap().contains("--learning-rate"));
            assert!(error.to_string().contains("after the last update"), "{error}");
            assert!(!folder.path().join("config.json").exists());
        }
    }
}

/// Not the learning rate's fault: nothing was updated yet.
#[test]
fn a_first_loss_that_is_no_number_is_the_models() {
    let (ran, _) = run(&Broken { from: 0, to: 1, nothing_at: u64::MAX }, &Recorder::default());
    let error = ran.unwrap_err();
    assert!(matches!(error, TrainError::DamagedModel { .. }), "{error}");
    assert!(tsumugi_base::Hint::hint(&error).unwrap().contains("fetch the model again"));
}

#[test]
fn a_step_with_nothing_to_train_on_is_an_error() {
    let (ran, _) = run(&Broken { from: 0, to: 0, nothing_at: 3 }, &Recorder::default());
    assert_eq!(ran.unwrap_err().to_string(), "step 3 has no token to train on");
}
