//! A classifier learns what tells texts apart, the same on any number of threads, and its file is read with care.

use tsumugi_base::progress::Silent;
use tsumugi_base::testing::temporary_folder;
use tsumugi_data::clean::classifier::{
    Calibration, Classifier, ClassifierError, Evaluation, FeatureSettings, TrainingSettings, read_texts, train,
};
use tsumugi_data::corpus::CorpusError;

const GOOD: [&str; 8] = ["theorem", "proof", "because", "therefore", "number", "energy", "history", "measure"];
const BAD: [&str; 8] = ["click", "casino", "buy", "cheap", "winner", "free", "bonus", "subscribe"];

/// Texts of ten words, seven of which come from one list: no single word decides.
fn texts(own: &[&str], other: &[&str], count: usize) -> Vec<String> {
    let word = |number: usize, place: usize| {
        let draw = (number * 7919 + place * 104_729 + number * place * 31) % 1009;
        if place % 10 < 7 { own[draw % own.len()] } else { other[draw % other.len()] }
    };
    (0..count)
        .map(|number| format!("{} {number}", (0..10).map(|place| word(number, place)).collect::<Vec<_>>().join(" ")))
        .collect()
}

fn settings(threads: usize, seed: u64) -> TrainingSettings {
    let features = FeatureSettings { bucket_bits: 12, ..FeatureSettings::default() };
    TrainingSettings { features, threads, seed, ..TrainingSettings::default() }
}

#[test]
fn it_learns_and_its_file_says_the_same() {
    let (good, bad) = (texts(&GOOD, &BAD, 400), texts(&BAD, &GOOD, 400));
    let trained = train(&good, &bad, &settings(1, 3), &Silent).unwrap();
    let evaluation = trained.evaluation;
    assert!(evaluation.auc > 0.99 && evaluation.f1 > 0.95, "{evaluation:?}");
    assert!(evaluation.calibration_error < 0.1, "{evaluation:?}");
    assert!(evaluation.positive > 20 && evaluation.negative > 20);
    assert!(trained.trained_texts > 580 && trained.trained_texts < 700);
    assert!(trained.classifier.score("the proof of the theorem") > 0.9);
    assert!(trained.classifier.score("cheap casino bonus") < 0.1);
    assert_eq!(train(&good, &bad, &settings(3, 3), &Silent).unwrap(), trained, "threads change nothing");
    assert_ne!(train(&good, &bad, &settings(1, 4), &Silent).unwrap().classifier, trained.classifier);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("quality.safetensors");
    trained.classifier.save(&path).unwrap();
    assert_eq!(Classifier::open(&path).unwrap(), trained.classifier);
}

#[test]
fn noise_is_not_learned() {
    let all = texts(&GOOD, &BAD, 600);
    let (some, others) = all.split_at(300);
    let evaluation = train(some, others, &settings(1, 0), &Silent).unwrap().evaluation;
    assert!((0.25..0.75).contains(&evaluation.auc), "equal texts never lie in two parts: {evaluation:?}");
}

#[test]
fn too_few_texts_are_an_error() {
    let (good, bad) = (vec!["the same".to_owned(); 100], texts(&BAD, &GOOD, 40));
    let error = train(&good, &bad, &settings(1, 0), &Silent).unwrap_err();
    assert_eq!(error.to_string(), "1 positive texts after duplicates, but at least 20 are needed");
}

#[test]
fn a_damaged_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("quality.safetensors");
    let classifier =
        train(&texts(&GOOD, &BAD, 40), &texts(&BAD, &GOOD, 40), &settings(1, 0), &Silent).unwrap().classifier;
    classifier.save(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for place in 0..header {
        for value in [0, b'9', b'"', 0xff] {
            let mut damaged = bytes.clone();
            damaged[place] = value;
            std::fs::write(&path, damaged).unwrap();
            if let Ok(read) = Classifier::open(&path) {
                assert!((0.0..=1.0).contains(&read.score("a text")), "byte {place}");
            }
        }
    }
    std::fs::write(&path, &bytes[..header + 100]).unwrap();
    assert!(Classifier::open(&path).is_err());
    std::fs::write(&path, [&bytes[..header], &[0xff; 4 << 12]].concat()).unwrap();
    assert!(matches!(Classifier::open(&path), Err(ClassifierError::Malformed { .. })), "weights that are no numbers");
}

#[test]
fn measures_are_their_definitions() {
    let scores = [(0.9, true), (0.8, false), (0.7, true), (0.7, false), (0.2, true), (0.1, false)];
    let evaluation = Evaluation::of(&scores, 0.5);
    assert_eq!((evaluation.precision, evaluation.recall), (0.5, 2.0 / 3.0));
    assert!((evaluation.f1 - 4.0 / 7.0).abs() < 1e-12);
    // Of nine pairs the positive wins 3 + 1.5 + 1.
    assert!((evaluation.auc - 5.5 / 9.0).abs() < 1e-12);
    let gap = (0.9f64 - 1.0).abs() + 0.8 + (1.4f64 - 1.0).abs() + 0.8 + 0.1;
    assert!((evaluation.calibration_error - gap / 6.0).abs() < 1e-12);
    assert_eq!(Evaluation::of(&[], 0.5).auc, 0.5);
}

#[test]
fn calibration_finds_the_minimum() {
    let margins: Vec<(f64, bool)> = (0..200).map(|i| (f64::from(i) / 20.0 - 5.0, (i * 37 % 100) < i / 2)).collect();
    let fit = Calibration::fit(&margins);
    let (positive, negative) =
        margins.iter().fold((0.0, 0.0), |(p, n), (_, is)| if *is { (p + 1.0, n) } else { (p, n + 1.0) });
    let target = |is| if is { (positive + 1.0) / (positive + 2.0) } else { 1.0 / (negative + 2.0) };
    let loss = |fit: Calibration| -> f64 {
        let each = margins.iter().map(|(margin, is)| {
            let p = fit.probability(*margin);
            -target(*is) * p.ln() - (1.0 - target(*is)) * (1.0 - p).ln()
        });
        each.sum()
    };
    let least = loss(fit);
    for (slope, intercept) in [(1e-3, 0.0), (-1e-3, 0.0), (0.0, 1e-3), (0.0, -1e-3)] {
        let moved = Calibration { slope: fit.slope + slope, intercept: fit.intercept + intercept };
        assert!(loss(moved) > least, "{fit:?} is a minimum");
    }
}

#[test]
fn texts_that_cannot_be_read_are_named_and_the_rest_is_taken() {
    let folder = temporary_folder();
    let path = folder.path().join("texts.jsonl");
    std::fs::write(&path, "{\"text\":\"one\"}\nnone\n{\"body\":\"two\"}\n{\"text\":\"three\"}\n").unwrap();
    let mut faults = Vec::new();
    let texts = read_texts(&path, &mut |fault| {
        faults.push((fault.offset.unwrap(), fault.problem));
        Ok(())
    });
    assert_eq!(texts.unwrap(), ["one", "three"]);
    assert_eq!((faults[0].0, &*faults[1].1, faults.len()), (15, "it has no field `text`", 2), "{faults:?}");
    assert!(read_texts(&path, &mut |fault| Err(CorpusError::Strict(fault))).is_err());
    let path = folder.path().join("texts");
    std::fs::write(&path, "one\n \ntwo").unwrap();
    assert_eq!(read_texts(&path, &mut |fault| panic!("{fault}")).unwrap(), ["one", "two"]);
    assert!(read_texts(&folder.path().join("missing"), &mut |_| Ok(())).is_err());
}
